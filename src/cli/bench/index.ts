// tts bench: measures speaking on this machine. Prints medians, never judges them.

import { TtsError } from "../../errors.ts";
import { isStdout, openOutput, printText } from "../../io/output.ts";
import { columnsOf } from "../../io/terminal.ts";
import { coreTime, describeMachine, othersShare, processMs } from "../../machine/load.ts";
import { measureBandwidth } from "../../machine/memory-speed.ts";
import { defineCommand } from "../shared/command.ts";
import { log } from "../shared/log.ts";
import type { Values } from "../shared/options.ts";
import { deliver } from "../shared/sound-output.ts";
import { changesOf, readResult, sameRun } from "./_compare.ts";
import { type BenchMachine, figuresOf, type Result } from "./_figures.ts";
import { type BenchOptions, OPTIONS, readOptions } from "./_options.ts";
import { reportOf } from "./_report.ts";
import { measure, prepareModels, type Subject } from "./_run.ts";
import { syntheticCheckpoint } from "./_synthetic.ts";
import { traceOf } from "./_trace.ts";

/** How long the machine is watched before the measurement. */
const WATCH_MS = 400;
/** Other programs disturb from this share of all cores' time on. */
const BUSY_SHARE = 0.1;
const PLAIN_WIDTH = 80;

export const command = defineCommand({
  brief: "measure this machine",
  synopsis: "bench [OPTIONS]",
  description: [
    "Speaks the same sentence several times and prints medians: the real-time factor, the time to the first sound, and for each stage milliseconds, weights and arithmetic per frame. It also prints what share of this machine's memory speed they take.",
    "Options that take a LIST, and --weights and --predictor-weights, take several values with commas between them. Every combination is measured, in turn, round by round. Machines are noisy: figures of one result can be compared; figures of different days are less comparable.",
    "Bytes are those of the weights that a frame needs; talker and code predictor read theirs once for all lanes. Arithmetic is counted from the model's definition. KV caches come on top.",
  ],
  examples: [
    ["tts bench", "the starter voice"],
    [
      "tts bench --synthetic 0.6b --weights q4_0",
      "how fast a 0.6B model would be on this machine, without fetching one",
    ],
    ["tts bench -m 0.6b-custom --lanes 1,2,4 --threads 1,2", "six configurations side by side"],
    ["tts bench --json > before.json", "keep the figures; later: tts bench --compare before.json"],
  ],
  options: OPTIONS,
  run: bench,
});

async function bench(args: Values<typeof OPTIONS>): Promise<void> {
  const options = readOptions(args);
  const { compare, trace } = options;
  if (trace !== undefined && isStdout(trace))
    throw new TtsError("USAGE", "--trace cannot be standard output", "name a file");
  const before = compare === undefined ? null : await readResult(compare);
  if (trace === undefined) return report((await run(options)).result);
  const { result } = await deliver(openOutput(trace), async (output) => {
    const done = await run(options);
    await output.write(Buffer.from(traceOf(done.subjects)));
    return done;
  });
  return report(result);

  function report(result: Result): Promise<void> {
    if (!options.json) return printText(reportOf(result, columnsOf(1, PLAIN_WIDTH), before, compare ?? ""));
    return printText(`${JSON.stringify(before === null ? result : withChanges(result, before))}\n`);
  }
}

/** The result for --json: every run with its changes, or with null if `before` has no such run. */
function withChanges({ machine, runs }: Result, before: Result): unknown {
  const changes = runs.map((run) => {
    const then = sameRun(run, before);
    return then === undefined ? null : changesOf(run, then);
  });
  return { machine, runs: runs.map((run, i) => ({ ...run, changes: changes[i] })) };
}

async function run(options: BenchOptions): Promise<{ result: Result; subjects: Subject[] }> {
  const { frames, repeat, settings, synthetic } = options;
  const model = synthetic === undefined ? options.model : await syntheticCheckpoint(synthetic);
  const configurations = await prepareModels(model, settings);
  const busyBefore = await watch();
  const bandwidths = new Map<number, number>();
  for (const threads of new Set(configurations.map(({ setting }) => setting.threads)))
    bandwidths.set(threads, await measureBandwidth(threads));
  const [from, ownMs] = [coreTime(), processMs()];
  const subjects = await measure(configurations, { frames, repeat });
  const busyDuring = othersShare(from, coreTime(), processMs() - ownMs);
  warnIfBusy(busyDuring, "while it was measured");
  const digits = (share: number) => Number(share.toFixed(3));
  const described: BenchMachine = {
    ...describeMachine(),
    bandwidthGbPerSecond: Object.fromEntries(
      [...bandwidths].map(([threads, speed]) => [threads, Number((speed / 1e9).toFixed(2))]),
    ),
    busyBefore: digits(busyBefore),
    busyDuring: digits(busyDuring),
  };
  const runs = subjects.map((subject) =>
    figuresOf(subject, frames, bandwidths.get(subject.setting.threads)!),
  );
  return { result: { machine: described, runs }, subjects };
}

async function watch(): Promise<number> {
  const [from, ownMs] = [coreTime(), processMs()];
  await Bun.sleep(WATCH_MS);
  const share = othersShare(from, coreTime(), processMs() - ownMs);
  warnIfBusy(share, "before the measurement");
  return share;
}

function warnIfBusy(share: number, when: string): void {
  if (share < BUSY_SHARE) return;
  log.warn(`other programs used ${(100 * share).toFixed(0)} % of all cores ${when}: figures may be too high`);
}
