// The options of tts render: those of speaking to a file, and where the hub is.

import { FLEET_OPTION } from "../shared/fleet-options.ts";
import { MACHINE_OPTIONS } from "../shared/machine-options.ts";
import { COMMON, type Options, type Values } from "../shared/options.ts";
import { PLAY_OPTIONS } from "../shared/play-options.ts";
import { JSON_OPTION, OUTPUT_OPTIONS, readOutput, TRIM_OPTION } from "../shared/sound-output.ts";
import { SAMPLING_OPTIONS, TEXT_OPTIONS, VOICE_OPTIONS } from "../shared/speak-options.ts";

const { lead, loudness, rate, speed, volume } = PLAY_OPTIONS;
const { format, output } = OUTPUT_OPTIONS;

export const RENDER_OPTIONS = {
  output: {
    ...output,
    description:
      "Where the sound goes; - is standard output. The suffix chooses the format. Default: output.wav.",
  },
  format,
  speed,
  loudness: {
    ...loudness,
    description: loudness.description.replace("-16 for playing, the voice as it is for a file", "as it is"),
  },
  volume: {
    ...volume,
    description: "0 to 1, or a percentage such as 50%, of the full level. Default: 1.",
    group: "Output",
  },
  rate,
  lead: {
    ...lead,
    description: "Milliseconds of silence before the sound. Default: 0.",
    group: "Output",
  },
  ...TRIM_OPTION,
  ...JSON_OPTION,
  ...TEXT_OPTIONS,
  ...VOICE_OPTIONS,
  ...SAMPLING_OPTIONS,
  seed: {
    ...SAMPLING_OPTIONS.seed,
    description:
      "Another number gives other sound. Default: one that the text itself gives, so that the same command gives the same sound.",
  },
  ...FLEET_OPTION,
  lanes: {
    type: "string",
    valueHint: "N",
    description:
      "Sentences spoken at the same time on this machine. Default: 4 for a long text, if that does not change the sound, else 1.",
    group: "Machine",
  },
  ...MACHINE_OPTIONS,
  ...COMMON,
} as const satisfies Options;

export type RenderValues = Values<typeof RENDER_OPTIONS>;

/** @throws TtsError USAGE */
export const readRenderOutput = (args: RenderValues) =>
  readOutput({ ...args, play: false, player: undefined, device: undefined, start: undefined });
