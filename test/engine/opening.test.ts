// The trace of a start: every thread says what it opened, on one clock.

import { expect, test } from "bun:test";
import { monotonicMs } from "../../ffi/libc.ts";
import { open } from "../../src/engine.ts";
import { bundleOf } from "../_support.ts";

test("an engine tells what each thread opened, and when", async () => {
  const { directory } = bundleOf("starter");
  const beforeMs = monotonicMs();
  await using engine = await open({ model: directory, predictor: "llama" });
  const afterMs = monotonicMs();
  const stepsOf = (thread: string) => engine.opening.filter((step) => step.thread === thread);
  const names = (thread: string) => stepsOf(thread).map(({ what }) => what);
  expect(names("engine").toSorted()).toEqual(["bundle", "open", "reading rules", "threads started"]);
  expect(names("talker")).toEqual(["thread and modules", "libllama", "talker.gguf", "context"]);
  expect(names("predictor")).toEqual(["thread and modules", "libllama", "predictor.gguf", "context"]);
  expect(names("vocoder")).toEqual(["thread and modules", "ONNX Runtime", "vocoder.onnx"]);
  for (const { endMs, startMs } of engine.opening) {
    expect(startMs).toBeGreaterThanOrEqual(beforeMs);
    expect(endMs).toBeGreaterThanOrEqual(startMs);
    expect(endMs).toBeLessThanOrEqual(afterMs);
  }
  for (const thread of ["talker", "predictor", "vocoder"]) {
    const steps = stepsOf(thread);
    for (let i = 1; i < steps.length; i++)
      expect(steps[i].startMs).toBeGreaterThanOrEqual(steps[i - 1].endMs);
  }
});

test("an engine that only decodes opens one thread, and no reading rules", async () => {
  await using engine = await open({ model: bundleOf("starter").directory, use: "decode" });
  expect([...new Set(engine.opening.map(({ thread }) => thread))].toSorted()).toEqual(["engine", "vocoder"]);
  expect(engine.opening.map(({ what }) => what)).not.toContain("reading rules");
});
