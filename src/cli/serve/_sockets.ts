// tts serve --sockets: the stages as servers on Unix sockets. Runs until a signal ends it.

import { loadConfig, threadsFor } from "../../config.ts";
import { TtsError } from "../../errors.ts";
import { assertNpuFolder } from "../../formats/npu-folder.ts";
import { resolveModel } from "../../models/resolve.ts";
import { assertWhole } from "../../ranges.ts";
import { type SocketsOptions, STAGES, serveSockets } from "../../serve/sockets/index.ts";
import type { Tell } from "../../types.ts";
import { announcing } from "../shared/engine.ts";
import { clearProgress } from "../shared/log.ts";
import { readMachine } from "../shared/machine-options.ts";
import { choice, number } from "../shared/options.ts";
import { contextOf, LANES, PATIENCE_SECONDS, type ServeValues, SOCKET_MODE } from "./_options.ts";

const MOST_PATIENCE_SECONDS = 86_400;

export async function serveStages(args: ServeValues, tell: Tell): Promise<void> {
  const settings = readSettings(args);
  const { config, bundle } = await prepareModel(args, settings.stages.includes("talker"));
  await serveSockets({ ...settings, config, bundle }, tell);
}

/** @throws TtsError USAGE */
function readSettings(args: ServeValues): Omit<SocketsOptions, "config" | "bundle"> {
  const directory = args.sockets ?? "";
  if (directory === "") throw new TtsError("USAGE", "--sockets is empty", "name the folder of the sockets");
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
  args: ServeValues,
  speaks: boolean,
): Promise<Pick<SocketsOptions, "config" | "bundle">> {
  const machine = readMachine(args);
  const lanes = number(args, "lanes") ?? LANES;
  const general = loadConfig({ ...machine, lanes, contextPositions: contextOf(args) });
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
