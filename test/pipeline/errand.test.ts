// Work that a worker does once: its answer, its failure by name, and every way to end early. Real workers.

import { describe, expect, test } from "bun:test";
import type { Worker } from "node:worker_threads";
import { loadConfig } from "../../src/config.ts";
import { answerErrand, runErrand } from "../../src/pipeline/errand.ts";
import type { MeasureJob } from "../../src/pipeline/messages.ts";
import { bundleOf } from "../_support.ts";

const TITLE = { title: "the measurement of the code predictor" };
const job = (directory = bundleOf("starter").directory): MeasureJob => ({
  directory,
  config: loadConfig({}, {}),
});

/** The next worker that is started. */
const nextWorker = () => new Promise<Worker>((resolve) => process.once("worker", resolve));
const exitOf = (worker: Worker) => new Promise((resolve) => worker.once("exit", resolve));

describe("an errand", () => {
  test("gives its answer, and its worker ends", async () => {
    const worker = nextWorker();
    const answer = runErrand<Record<string, number>>("measure", job(), TITLE);
    const exited = exitOf(await worker);
    expect(Object.keys(await answer).toSorted()).toEqual(["predictorMs", "predictorPassMs", "talkerMs"]);
    await exited;
  });

  test("fails as its work does, with the code", async () => {
    await expect(runErrand("measure", job("/no/such/bundle"), TITLE)).rejects.toMatchObject({
      code: "BUNDLE_INVALID",
    });
  });

  test("whose worker dies fails with its title", async () => {
    const worker = nextWorker();
    const answer = runErrand("measure", job(), TITLE);
    await (await worker).terminate();
    await expect(answer).rejects.toMatchObject({
      code: "STAGE_DIED",
      message: "the measurement of the code predictor ended without a result",
    });
  });

  test("is given up by a signal, with its reason, and by the clock; its worker ends, too", async () => {
    const reason = new Error("enough");
    const controller = new AbortController();
    const workers = [nextWorker()];
    const aborted = runErrand("measure", job(), { ...TITLE, signal: controller.signal });
    await workers[0];
    controller.abort(reason);
    await expect(aborted).rejects.toBe(reason);
    await expect(runErrand("measure", job(), { ...TITLE, signal: controller.signal })).rejects.toBe(reason);
    await expect(runErrand("measure", job(), { ...TITLE, timeoutMs: 1 })).rejects.toMatchObject({
      code: "STAGE_TIMEOUT",
      message: "the measurement of the code predictor was not done after 0.001 s",
    });
  });

  test("on a main thread only runs, and its errors propagate", () => {
    let done = false;
    answerErrand((onProgress) => {
      onProgress({ step: "one", done: 0, total: 1 });
      done = true;
    });
    expect(done).toBe(true);
    expect(() =>
      answerErrand(() => {
        throw new RangeError("no");
      }),
    ).toThrow(RangeError);
  });
});
