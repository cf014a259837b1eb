// Cancelling a job whose prompt is being computed: only the talker's native calls for that job stop.

import { describe, expect, test } from "bun:test";
import { createSignalMemory, MAX_JOBS, Signals } from "../../src/pipeline/signals.ts";

function pair() {
  const memory = createSignalMemory();
  return {
    talker: new Signals(memory),
    main: new Signals(memory),
    isAborting: () => new Uint8Array(memory.promptStop)[0] === 1,
  };
}

describe("a prompt", () => {
  test("that is computed is ended by a cancel of its job, and what follows is not", () => {
    const { isAborting, main, talker } = pair();
    talker.beginPrompt(7);
    main.cancel(7);
    expect([isAborting(), talker.isCancelled(7)]).toEqual([true, true]);
    talker.endPrompt(7);
    expect(isAborting()).toBe(false);
  });

  test("is not ended by a cancel of another job, even of one in the same slot", () => {
    const { isAborting, main, talker } = pair();
    talker.beginPrompt(7);
    main.cancel(8);
    main.cancel(7 + MAX_JOBS);
    expect(isAborting()).toBe(false);
    talker.endPrompt(7);
    expect(isAborting()).toBe(false);
  });

  test("that has ended leaves nothing for a late cancel to stop", () => {
    const { isAborting, main, talker } = pair();
    talker.beginPrompt(7);
    talker.endPrompt(7);
    main.cancel(7);
    expect([isAborting(), talker.isCancelled(7)]).toEqual([false, true]);
  });

  test("is ended by a stop for good", () => {
    const { isAborting, main, talker } = pair();
    talker.beginPrompt(7);
    main.cancel(7);
    main.stop();
    talker.endPrompt(7);
    expect([isAborting(), talker.stopped]).toEqual([true, true]);
  });
});
