// The options that say what computes, and on which cores: the same for every command that opens a model.

import {
  type ConfigFlags,
  PREDICTOR_CHOICES,
  SPECULATE_CHOICES,
  TALKER_CHOICES,
  VOCODER_CHOICES,
} from "../../config.ts";
import { parseCores, type WantedCores } from "../../cores.ts";
import { choice, number, type Options, type Values } from "./options.ts";

const group = "Machine";

/** For commands that need only a vocoder. */
export const VOCODER_OPTIONS = {
  vocoder: {
    type: "string",
    valueHint: VOCODER_CHOICES.join("|"),
    description:
      "What runs the vocoder. auto takes an NPU if it works and the model was built for it, else ort, which is the processor. Default: auto.",
    group,
  },
  npu: {
    type: "string",
    valueHint: "FOLDER",
    description:
      "Folder of models for an NPU, made by tts convert --target and the vendor's toolkit. Default: npu in the model's bundle.",
    group,
  },
  "vocoder-cpus": { type: "string", valueHint: "LIST", description: "Cores of the vocoder.", group },
} as const satisfies Options;

export const MACHINE_OPTIONS = {
  talker: {
    type: "string",
    valueHint: TALKER_CHOICES.join("|"),
    description:
      "What runs the talker. auto takes what was faster when the model was converted. Default: auto.",
    group,
  },
  predictor: {
    type: "string",
    valueHint: PREDICTOR_CHOICES.join("|"),
    description:
      "What runs the code predictor. auto takes an NPU if it works and the model was built for it, else the faster of ort and llama. Default: auto.",
    group,
  },
  speculate: {
    type: "string",
    valueHint: SPECULATE_CHOICES.join("|"),
    description:
      "Whether the code predictor guesses codes ahead and verifies several in one call, which changes no code. auto: as far as it pays; on: always; both only where conversion has proven it for this model, and for one sentence at a time. Default: auto.",
    group,
  },
  ...VOCODER_OPTIONS,
  threads: {
    type: "string",
    valueHint: "N",
    description:
      "Most threads for talker and code predictor; fewer compute while the vocoder or other programs do. Default: all fast cores, at most 4.",
    group,
  },
  cpus: {
    type: "string",
    valueHint: "LIST",
    description:
      "Cores to compute on, such as 4-7; each stage keeps to its share of them. Default: the fast ones where cores are unequal, else any.",
    group,
  },
  "talker-cpus": { type: "string", valueHint: "LIST", description: "Cores of the talker.", group },
  "predictor-cpus": { type: "string", valueHint: "LIST", description: "Cores of the code predictor.", group },
} as const satisfies Options;

type MachineValues = Values<typeof MACHINE_OPTIONS>;
/** A command with only a vocoder has no options for the cores of other stages. */
type VocoderValues = Values<typeof VOCODER_OPTIONS> &
  Partial<Pick<MachineValues, "cpus" | "talker-cpus" | "predictor-cpus">>;

/** @throws TtsError USAGE */
export function readVocoder(args: VocoderValues): Pick<ConfigFlags, "vocoder" | "npu" | "cpus"> {
  return { vocoder: choice(args, "vocoder", VOCODER_CHOICES), npu: args.npu, cpus: readCores(args) };
}

/** @throws TtsError USAGE */
export function readMachine(
  args: MachineValues,
): Pick<ConfigFlags, "talker" | "predictor" | "speculate" | "vocoder" | "npu" | "threads" | "cpus"> {
  return {
    ...readVocoder(args),
    talker: choice(args, "talker", TALKER_CHOICES),
    predictor: choice(args, "predictor", PREDICTOR_CHOICES),
    speculate: choice(args, "speculate", SPECULATE_CHOICES),
    threads: number(args, "threads"),
  };
}

function readCores(args: VocoderValues): WantedCores {
  const cores = (list: string | undefined) => (list === undefined ? undefined : parseCores(list));
  return {
    all: cores(args.cpus),
    talker: cores(args["talker-cpus"]),
    predictor: cores(args["predictor-cpus"]),
    vocoder: cores(args["vocoder-cpus"]),
  };
}
