// tts serve: serves the stages to other programs. Runs until a signal ends it.

import { CONTEXT_POSITIONS, LIMITS, loadConfig, PROMPT_POSITIONS, threadsFor } from "../config.ts";
import { TtsError } from "../errors.ts";
import { assertNpuFolder } from "../formats/npu-folder.ts";
import { resolveModel } from "../models/resolve.ts";
import { assertWhole } from "../ranges.ts";
import { ENGINE_COMMAND, runEngine } from "../serve/remote/index.ts";
import {
  runStage,
  type SocketsOptions,
  STAGE_COMMAND,
  STAGES,
  serveSockets,
} from "../serve/sockets/index.ts";
import { type CommandData, defineCommand } from "./shared/command.ts";
import { announcing } from "./shared/engine.ts";
import { clearProgress, log, withFlags } from "./shared/log.ts";
import { MACHINE_OPTIONS, readMachine } from "./shared/machine-options.ts";
import { COMMON, choice, number, type Options, type Values } from "./shared/options.ts";

/** With two, a client that pauses does not stop another. A lane of a 0.6B model takes 117 MB. */
const LANES = 2;
const SOCKET_MODE = "0600";
const PATIENCE_SECONDS = 10;
const MOST_PATIENCE_SECONDS = 86_400;

const options = {
  sockets: {
    type: "string",
    valueHint: "DIR",
    description: "Open the sockets in this folder; it is made if it does not exist.",
    group: "Server",
  },
  stage: {
    type: "string",
    valueHint: STAGES.join("|"),
    description: "Serve this stage alone. Default: all three.",
    group: "Server",
  },
  "socket-mode": {
    type: "string",
    valueHint: "MODE",
    description: `Permissions of the sockets, such as 0660. Default: ${SOCKET_MODE}, you alone.`,
    group: "Server",
  },
  lanes: {
    type: "string",
    valueHint: "N",
    description: `Sentences that talker and vocoder work on at once; further clients wait. Default: ${LANES}.`,
    group: "Server",
  },
  patience: {
    type: "string",
    valueHint: "SECONDS",
    description: `A client that keeps the server waiting longer than this loses its place if others wait for it. Default: ${PATIENCE_SECONDS}.`,
    group: "Server",
  },
  model: {
    type: "string",
    alias: "m",
    valueHint: "DIR|NAME",
    description: "An official checkpoint directory, a bundle, or a known name. Default: starter.",
    group: "Voice",
  },
  greedy: {
    type: "boolean",
    description: "Always take the likeliest code, in talker and code predictor, whatever a client asks for.",
    group: "Sampling",
  },
  seed: {
    type: "string",
    valueHint: "N",
    description:
      "Seed of every sentence that names none, and of every connection to the code predictor. A sentence with a connection of its own gets the codes of tts --seed N. Default: a new seed each time.",
    group: "Sampling",
  },
  "max-frames": {
    type: "string",
    valueHint: "N",
    description: "Reserve memory for sentences of up to N frames of 80 ms.",
    group: "Sampling",
  },
  ...MACHINE_OPTIONS,
  ...COMMON,
} as const satisfies Options;
type Arguments = Values<typeof options>;

export const command = defineCommand({
  brief: "serve the stages to other programs",
  synopsis: "serve --sockets DIR [OPTIONS]",
  description: [
    "Serves talker, code predictor and vocoder to other programs, on the Unix sockets talker.sock, predictor.sock and vocoder.sock in DIR. Each stage is a process of its own: one that dies or hangs is replaced, and the others go on.",
    "Runs until a signal ends it, and then removes the sockets.",
  ],
  examples: [
    ["tts serve --sockets /run/user/1000/tts -m 0.6b-custom", "all three stages"],
    ["tts serve --sockets ~/tts --stage vocoder --cpus 7", "the vocoder alone, on a core of its own"],
  ],
  sections: {
    WIRE: [
      "Everything is little endian; H is the width of the model (hidden in the shape of bundle.json).",
      'talker.sock\nThe client sends u32 length and that many bytes of JSON: {"text", "language"}, and optionally speaker, instruct, maxFrames, seed, greedy, rawText, normalize. The text is one sentence, given to the model whole, and read as tts reads it. For every frame the server sends i32 code_0 and f32[H] hidden state, and waits for f32[H], the complete next input: the sum of the embeddings of the frame\'s 16 codes and of tts_pad. After the feedback for the last frame the server sends i32 -1, and the connection may go on with another sentence. i32 -2 is an error, after which the server closes the connection.',
      "predictor.sock\nThe client sends f32[H] hidden state and i32 code_0, and gets 15 x i32, as often as it likes. An error closes the connection.",
      "vocoder.sock\nThe client sends i32 n, up to 10000, and i64[n*16] codes, and gets i32 samples and i16[samples], as often as it likes; every request starts afresh. An error closes the connection.",
      "A stage has up to 64 clients at once. A further one takes the place of the client that has been idle longest, if that is longer than --patience; else it is sent away.",
      "A line on standard error says what was wrong with a request. A connection that ends early was refused, or its stage has died: connect again, the stage comes back by itself.",
    ],
    ENVIRONMENT: [
      "TTS_STAGE_TIMEOUT\nA stage's process is replaced when it gives no sign of life for this many seconds. Default: 120.",
    ],
  },
  options,
  run: serve,
});

/** What starts these processes also gives them a channel. */
const HIDDEN = new Map<string, () => Promise<void>>([
  [STAGE_COMMAND[1], runStage],
  [ENGINE_COMMAND[1], runEngine],
]);

async function serve(args: Arguments, { positionals }: CommandData): Promise<void> {
  const hidden = process.send === undefined ? undefined : HIDDEN.get(positionals.join());
  if (hidden !== undefined) return hidden();
  if (positionals.length > 0)
    throw new TtsError("USAGE", `serve takes no ${JSON.stringify(positionals[0])}`, "see tts serve --help");
  const settings = readSettings(args);
  const { config, bundle } = await prepareModel(args, settings.stages.includes("talker"));
  const tell = {
    info: (line: string) => log.info(withFlags(line)),
    warn: (line: string) => log.warn(withFlags(line)),
    debug: (line: string) => log.debug(withFlags(line)),
  };
  await serveSockets({ ...settings, config, bundle }, tell);
}

/** @throws TtsError USAGE */
function readSettings(args: Arguments): Omit<SocketsOptions, "config" | "bundle"> {
  const directory = args.sockets ?? "";
  if (directory === "")
    throw new TtsError(
      "USAGE",
      "tts serve needs --sockets DIR",
      "it serves the stages on Unix sockets in that folder; see tts serve --help",
    );
  const stage = choice(args, "stage", STAGES);
  const seed = number(args, "seed");
  if (seed !== undefined) assertWhole("--seed", seed, 0, Number.MAX_SAFE_INTEGER);
  const patience = number(args, "patience") ?? PATIENCE_SECONDS;
  assertWhole("--patience", patience, 1, MOST_PATIENCE_SECONDS);
  return {
    directory,
    stages: stage === undefined ? STAGES : [stage],
    mode: readMode(args["socket-mode"] ?? SOCKET_MODE),
    patienceMs: 1000 * patience,
    greedy: args.greedy === true,
    seed,
  };
}

/** The user may always read and write; nobody needs to execute a socket. */
function readMode(mode: string): number {
  if (/^0?6[06][06]$/.test(mode)) return Number.parseInt(mode, 8);
  throw new TtsError("USAGE", `--socket-mode is "${mode}"`, "write 0600, 0660 or 0666");
}

/** Runs once, before any stage starts, because the stages open only what is there. */
async function prepareModel(
  args: Arguments,
  speaks: boolean,
): Promise<Pick<SocketsOptions, "config" | "bundle">> {
  const machine = readMachine(args);
  const maxFrames = number(args, "max-frames") ?? 1;
  assertWhole("--max-frames", maxFrames, 1, LIMITS.contextPositions - PROMPT_POSITIONS);
  const contextPositions = Math.max(CONTEXT_POSITIONS, maxFrames + PROMPT_POSITIONS);
  const general = loadConfig({ ...machine, lanes: number(args, "lanes") ?? LANES, contextPositions });
  assertNpuFolder(general);
  const { directory, manifest } = await resolveModel({
    model: args.model,
    config: general,
    onProgress: announcing(args.model),
    everyByte: true, // for a long time nobody looks again
  });
  clearProgress();
  if (speaks && manifest.prompt.modelType === "base") {
    const hint = "serve a CustomVoice or VoiceDesign model, or --stage predictor and --stage vocoder alone";
    throw new TtsError(
      "MODEL_UNSUITABLE",
      `${manifest.name} is a Base model: the talker's requests have no place for a cloned voice`,
      hint,
    );
  }
  const config =
    machine.threads === undefined ? { ...general, ...threadsFor(manifest.shape.hidden, general) } : general;
  return { config, bundle: directory };
}
