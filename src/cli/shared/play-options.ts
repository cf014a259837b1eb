// The options of playing: which player, when it starts, and what its sound is changed by.

import { RATES_HZ } from "../../audio/encode/formats.ts";
import type { SoundShape } from "../../audio/filters/chain.ts";
import { SPEED_RANGE } from "../../audio/filters/speed.ts";
import { PLAYER_NAMES } from "../../audio/play/players.ts";
import { START_CHOICES, type StartChoice } from "../../audio/play/start.ts";
import { TtsError } from "../../errors.ts";
import { choice, number, type Options, type Values } from "./options.ts";

const group = "Playing";
/** What broadcasters and players call normal speech is between -24 and -16. */
const LOUDNESS_RANGE = { least: -40, most: -8 } as const;

export const PLAY_OPTIONS = {
  play: {
    type: "boolean",
    description:
      "Play the sound while it is made, without the silence before its first word. No file is written unless -o names one.",
    group,
  },
  player: {
    type: "string",
    valueHint: `${PLAYER_NAMES.join("|")}|COMMAND`,
    description:
      "What plays: a name, or a command that reads raw 16-bit little-endian mono samples; {rate} and {device} in it are replaced, and no shell sees it. Default: the first of these that is installed and whose sound server runs.",
    group,
  },
  device: {
    type: "string",
    valueHint: "DEVICE",
    description:
      "Where it plays, as the player calls it (aplay -L, pactl list short sinks, wpctl status). Default: the player's own.",
    group,
  },
  start: {
    type: "string",
    valueHint: START_CHOICES.join("|"),
    description:
      "When playing starts on a machine slower than real time: at once, as early as it then never breaks off, or with all the sound there; --verbose says when. Default: safe.",
    group,
  },
  volume: {
    type: "string",
    valueHint: "V",
    description: "0 to 1, or a percentage such as 50%, of the full level; also for a file. Default: 1.",
    group,
  },
  lead: {
    type: "string",
    valueHint: "MS",
    description:
      "Milliseconds of silence before the sound, for outputs that wake up late and cut the first word. Default: 200 for playing, 0 for a file.",
    group,
  },
  loudness: {
    type: "string",
    valueHint: "LUFS",
    description: `Bring the voice to this loudness (EBU R128), ${LOUDNESS_RANGE.least} to ${LOUDNESS_RANGE.most}, with one gain for all it says and true peaks below -1 dB. The voice is measured once, with three sentences. Default: -16 for playing, the voice as it is for a file.`,
    group: "Output",
  },
  speed: {
    type: "string",
    valueHint: "X",
    description: `Speak faster or slower at the same pitch, ${SPEED_RANGE.least} to ${SPEED_RANGE.most}. Default: 1.`,
    group: "Output",
  },
  rate: {
    type: "string",
    valueHint: RATES_HZ.join("|"),
    description: "Samples per second, also for a file. Default: 24000, as models speak.",
    group: "Output",
  },
} as const satisfies Options;

export interface PlaySettings {
  player?: string;
  device?: string;
  start: StartChoice;
}

/** What playing adds to the sound where nothing else is asked for. */
export const PLAYED: SoundShape = { trimStart: true, leadMs: 200, loudness: -16 };
const LEAD_MS_RANGE = { least: 0, most: 10_000 } as const;

/** @throws TtsError USAGE; null: nothing is played */
export function readPlay(args: Values<typeof PLAY_OPTIONS>): PlaySettings | null {
  const start = choice(args, "start", START_CHOICES) ?? "safe";
  const { device, player } = args;
  if (args.play === true) return { device, player, start };
  for (const name of ["player", "device", "start"] as const)
    if (args[name] !== undefined)
      throw new TtsError("USAGE", `--${name} is for playing`, "add --play, or leave it out");
  return null;
}

/** @throws TtsError USAGE. Only what was asked for is set. */
export function readShape(args: Values<typeof PLAY_OPTIONS>): SoundShape {
  const rate = choice(args, "rate", RATES_HZ.map(String));
  const within = (name: "lead" | "loudness" | "speed", { least, most }: { least: number; most: number }) => {
    const value = number(args, name);
    if (value === undefined || (value >= least && value <= most)) return value;
    throw new TtsError("USAGE", `--${name} is ${value}`, `give ${least} to ${most}`);
  };
  const [leadMs, loudness] = [within("lead", LEAD_MS_RANGE), within("loudness", LOUDNESS_RANGE)];
  const speed = within("speed", SPEED_RANGE);
  return {
    ...(speed === undefined ? {} : { speed }),
    ...(loudness === undefined ? {} : { loudness }),
    ...(args.volume === undefined ? {} : { volume: readVolume("volume", args.volume) }),
    ...(rate === undefined ? {} : { rateHz: Number(rate) }),
    ...(leadMs === undefined ? {} : { leadMs }),
  };
}

/** @throws TtsError USAGE */
export function readVolume(name: string, text: string): number {
  const [, digits, percent] = /^\s*(\d*\.?\d+|\d+\.)\s*(%?)\s*$/.exec(text) ?? [];
  const volume = Number(digits) / (percent === "%" ? 100 : 1);
  if (volume >= 0 && volume <= 1) return volume;
  throw new TtsError("USAGE", `--${name} is "${text}"`, "give 0 to 1, or a percentage such as 50%");
}
