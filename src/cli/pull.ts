// tts pull: brings a model onto this machine and makes it ready to speak.

import { existsSync, statSync } from "node:fs";
import { loadConfig, loadHubConfig } from "../config.ts";
import { TtsError } from "../errors.ts";
import { isBundle, weightsInWords } from "../formats/bundle.ts";
import { isTerminal } from "../io/terminal.ts";
import { KNOWN_MODELS, nameOf } from "../models/catalog.ts";
import { type Downloaded, pull } from "../models/pull.ts";
import { resolveModel, SHIPPED } from "../models/resolve.ts";
import { type CommandData, defineCommand } from "./shared/command.ts";
import { clearProgress, duration, log, showConversion, showProgress, size } from "./shared/log.ts";
import {
  COMMON,
  type Options,
  readWeights,
  USUAL_WEIGHTS,
  type Values,
  weightOptions,
} from "./shared/options.ts";

const options = {
  ...weightOptions(USUAL_WEIGHTS, "Model"),
  revision: {
    type: "string",
    valueHint: "NAME",
    description: "Branch, tag or commit. Default: the commit whose checksums this program knows, else main.",
    group: "Model",
  },
  "no-convert": { type: "boolean", description: "Only fetch; the first use converts.", group: "Model" },
  ...COMMON,
} as const satisfies Options;

export const command = defineCommand({
  brief: "fetch a model and convert it",
  synopsis: "pull NAME|HUB-ID|DIR [OPTIONS]",
  description: [
    `Fetches a model from a hub and converts it. NAME is one of ${Object.keys(KNOWN_MODELS).join(", ")} (see tts models); HUB-ID is organisation/name; a checkpoint directory DIR is only converted.`,
    "It fetches only the files that are needed, and checks each by size and SHA-256. A pull that was interrupted, even by a power cut, goes on where it stopped when you call it again. Files that another program has left in the hub's cache are used from there.",
  ],
  examples: [
    ["tts pull 0.6b-custom", 'then: tts "Hello." -m 0.6b-custom -s ryan'],
    ["tts pull Qwen/Qwen3-TTS-12Hz-1.7B-Base --weights q8_0", "by its id on the hub, in 8 bits"],
    ["HF_ENDPOINT=https://hub.example tts pull 0.6b-base", "from another server"],
  ],
  sections: {
    FILES: [
      "~/.cache/qwen3-tts/checkpoints\nFetched checkpoints, one folder per model and revision. TTS_CACHE moves it.",
    ],
    ENVIRONMENT: [
      "HF_ENDPOINT\nAddress of the hub instead of https://huggingface.co.",
      "HF_TOKEN\nToken for models that are private or whose terms you had to accept. Default: the content of the file HF_TOKEN_PATH, else of $HF_HOME/token.",
      "HF_HOME, HF_HUB_CACHE\nWhere other programs keep the hub's files.",
      "HF_HUB_OFFLINE\n1: use only what is on this machine.",
    ],
    "EXIT STATUS": [
      "0 done; 2 wrong options; 3 no such model, or files that are not what they should be; 5 disk full or not writable; 7 the hub cannot be reached or refuses; 130 interrupted; 1 anything else.",
    ],
  },
  options,
  run: pullCommand,
});

async function pullCommand(args: Values<typeof options>, { positionals }: CommandData): Promise<void> {
  if (positionals.length !== 1)
    throw new TtsError("USAGE", "pull needs one model", "write tts pull NAME; see tts models");
  const [model] = positionals;
  const { revision } = args;
  const [weights, convert] = [readWeights(args), args.convert !== false];
  const isFolder = existsSync(model) && statSync(model).isDirectory();
  if (isFolder || SHIPPED.includes(model)) {
    if (!convert || revision !== undefined)
      throw new TtsError("USAGE", `${model} is here, not on a hub`, "leave --no-convert and --revision out");
    return convertLocal(model, weights);
  }
  const config = loadConfig();
  const progress = new DownloadLine();
  const before = performance.now();
  const { bundle, fetched, pulled } = await pull({
    ...{ config, hub: loadHubConfig(), model, revision, convert, ...weights },
    onDownload: (now) => progress.show(now),
    onProgress: showConversion,
    onNote: (note) => log.info(note),
  });
  clearProgress();
  const seconds = (performance.now() - before) / 1000;
  const ready = bundle === null ? "not converted yet" : `${weightsInWords(bundle.manifest.weights)} weights`;
  const came = fetched === 0 ? "all was here already" : `${size(fetched, GB_DIGITS)} fetched`;
  log.info(`${nameOf(pulled.hub)}: ${pulled.directory}, ${ready}; ${came}, ${seconds.toFixed(1)} s`);
}

async function convertLocal(model: string, weights: ReturnType<typeof readWeights>): Promise<void> {
  if (existsSync(model) && isBundle(model)) {
    log.info(`${model} is a bundle: nothing to do`);
    return;
  }
  const { directory } = await resolveModel({
    ...{ config: loadConfig(), model, ...weights },
    onProgress: showConversion,
  });
  clearProgress();
  log.info(`${model}: ${directory}`);
}

/** Speed is measured over this time. */
const WINDOW_MS = 10_000;
const SPEED_FROM_MS = 500;
const REDRAW_MS = 100;
/** Without a terminal there is no bar; a line this often shows that the pull goes on. */
const LINE_MS = 30_000;
/** Two, so that the user sees the figure grow. */
const GB_DIGITS = 2;

/** The progress line: how much is here, how fast the rest comes, and how long it will take. */
class DownloadLine {
  /** [time in ms, bytes fetched] within WINDOW_MS */
  private readonly samples: [number, number][] = [[performance.now(), 0]];
  private drawn = 0;
  private said = performance.now();

  show({ done, total, fetched }: Downloaded): void {
    const now = performance.now();
    if (now - this.drawn < REDRAW_MS && done < total) return;
    this.drawn = now;
    this.samples.push([now, fetched]);
    while (now - this.samples[0][0] > WINDOW_MS) this.samples.shift();
    const line = `${size(done, GB_DIGITS)} of ${size(total, GB_DIGITS)}${done < total ? this.speed(total - done) : ", checking"}`;
    showProgress(line, done, total);
    if (isTerminal(2) || now - this.said < LINE_MS) return;
    this.said = now;
    log.info(line);
  }

  private speed(left: number): string {
    const [[firstTime, firstBytes], [time, bytes]] = [this.samples[0], this.samples[this.samples.length - 1]];
    const perSecond = ((bytes - firstBytes) * 1000) / (time - firstTime);
    if (!(perSecond > 0) || time - firstTime < SPEED_FROM_MS) return "";
    return `, ${size(perSecond, GB_DIGITS)}/s, ${duration(left / perSecond)} left`;
  }
}
