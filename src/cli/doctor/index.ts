// tts doctor: says what this machine has, how fast each model will be on it, and what stands in the way. It
// uses no network and changes nothing.

import { loadConfig } from "../../config.ts";
import { TtsError } from "../../errors.ts";
import { printText } from "../../io/output.ts";
import { type CommandData, defineCommand } from "../shared/command.ts";
import { COMMON, type Options, type Values } from "../shared/options.ts";
import { collectFacts } from "./_facts.ts";
import { problemsOf } from "./_problems.ts";
import { reportOf } from "./_report.ts";

const options = {
  json: {
    type: "boolean",
    description: "Print everything as one JSON object, with sizes in bytes and times in milliseconds.",
    group: "Output",
  },
  npu: {
    type: "string",
    valueHint: "FOLDER",
    description:
      "Also examine this folder of models for an NPU. Those in the bundles of the cache are examined anyway.",
    group: "Output",
  },
  ...COMMON,
} as const satisfies Options;

export const command = defineCommand({
  brief: "examine this machine",
  synopsis: "doctor [OPTIONS]",
  description: [
    "Says what this machine has: cores, memory and how fast it is, the native libraries, NPUs, folders, players and models. Predicts how fast each model will be before it is fetched, and prints what to do about each problem.",
    "It takes a few seconds, because it measures memory and processor. Each library is tried in a process of its own, so that a crash is only reported. Nothing is fetched, and nothing is left behind except what the single binary unpacks at its first start.",
    "Of models that were built for an NPU it names chip and toolkit, and counts what share of the vocoder they take. No NPU was measured for that: the shortest time is the vendor's peak or the memory's speed, and operators that the toolkit leaves to the CPU come on top, as do those between its layers.",
    "RTF is computing time divided by the duration of the sound: below 1 is faster than real time. The forecast is for the sentence of tts bench in one lane; tts bench --synthetic measures what it predicts.",
  ],
  examples: [
    ["tts doctor", "the report"],
    ["tts doctor --json | jq '.forecasts[] | {models, rtf, fitsMemory}'", "what will run here"],
    ["tts doctor --npu ~/ryan-rknn", "also whether these models suit this board, and what the NPU would do"],
    ["tts doctor --verbose", "also why each kind of NPU was not found"],
  ],
  sections: {
    "EXIT STATUS": [
      "0 this machine can speak; else the status of the first serious problem: 4 a library is missing or does not work, 5 the folder of models cannot be written.",
    ],
  },
  options,
  run: doctor,
});

async function doctor(
  { json, npu, verbose }: Values<typeof options>,
  { positionals }: CommandData,
): Promise<void> {
  if (positionals.length > 0)
    throw new TtsError("USAGE", `doctor takes no argument, but got "${positionals[0]}"`, "write tts doctor");
  const facts = await collectFacts(loadConfig({ npu }));
  const problems = problemsOf(facts);
  const serious = problems.find((problem) => problem.serious);
  await printText(
    json
      ? `${JSON.stringify({ ready: serious === undefined, problems, ...facts }, null, 1)}\n`
      : reportOf(facts, problems, verbose === true),
  );
  if (serious !== undefined)
    throw new TtsError(serious.code, `this machine cannot speak yet: ${serious.what}`, serious.todo);
}
