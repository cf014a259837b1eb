// Which stage is late and which is not: stages that owe nothing, stages that wait for busy ones, and programs
// that were stopped meanwhile.

import { describe, expect, test } from "bun:test";
import { open } from "../../src/engine.ts";
import { countDown, Watch } from "../../src/pipeline/patience.ts";
import { createTimelineMemory, Timeline } from "../../src/stages/timeline.ts";
import type { StageName } from "../../src/types.ts";
import { bundleOf, patient } from "../_support.ts";

const PATIENCE_MS = 10_000;
/** Looks come at least this often while somebody waits. */
const LOOK_MS = 500;

describe("a stage that runs", () => {
  /** A watch, and a function that returns its finding after some milliseconds of looking. */
  function watched(owing: Set<StageName>) {
    const timeline = new Timeline(createTimelineMemory());
    const watch = new Watch(timeline, (stage) => owing.has(stage), PATIENCE_MS);
    let now = 0;
    const after = (milliseconds: number, meanwhile = () => {}) => {
      let late: StageName | null = null;
      for (const end = now + milliseconds; now < end && late === null; ) {
        now += LOOK_MS;
        meanwhile();
        late = watch.look(now);
      }
      return late;
    };
    const rest = (milliseconds: number) => {
      now += milliseconds;
    };
    return { after, rest, timeline };
  }

  test("is late if it owes something and gives no sign", () => {
    expect(watched(new Set(["predictor"])).after(2 * PATIENCE_MS)).toBe("predictor");
  });

  test("is not late if it owes nothing or gives signs", () => {
    expect(watched(new Set()).after(3 * PATIENCE_MS)).toBeNull();
    const { after, timeline } = watched(new Set(["talker"]));
    expect(after(3 * PATIENCE_MS, () => timeline.tracks.talker.live())).toBeNull();
    expect(after(2 * PATIENCE_MS)).toBe("talker");
  });

  test("does not live by the signs of another one", () => {
    const { after, timeline } = watched(new Set(["talker", "vocoder"]));
    expect(after(2 * PATIENCE_MS, () => timeline.tracks.vocoder.live())).toBe("talker");
  });

  test("is not charged for time in which nobody looked", () => {
    const { after, rest } = watched(new Set(["talker"]));
    for (let i = 0; i < 5; i++) {
      expect(after(PATIENCE_MS - LOOK_MS)).toBeNull();
      rest(PATIENCE_MS);
    }
  });
});

test("a countdown does not count what its process slept", async () => {
  let [rung, ticks] = [false, 0];
  const { promise, resolve } = Promise.withResolvers<void>();
  countDown(2_000, () => {
    rung = true;
    resolve();
  });
  Bun.sleepSync(2_100);
  while (ticks++ < 10) await new Promise((turn) => setImmediate(turn));
  expect(rung).toBe(false);
  await promise;
});

test("a speech behind others that nobody fetches does not make the talker late", async () => {
  const [{ directory }, patienceMs] = [bundleOf("starter"), patient(1_000)];
  const engine = await open({ model: directory, lanes: 4, stageTimeoutMs: patienceMs });
  try {
    const options = { greedy: true, maxFrames: 3 };
    const long = "Good morning, and good evening to everybody. ".repeat(200);
    const paused = [engine.speak(long, options), engine.speak(long, options)].map((speech) =>
      speech[Symbol.asyncIterator](),
    );
    for (const speech of paused) expect((await speech.next()).done).toBe(false);
    const third = Array.fromAsync(engine.speak("Hello.", options));
    const waited = await Promise.race([
      third.then(() => "spoken"),
      Bun.sleep(2.5 * patienceMs).then(() => "waiting"),
    ]);
    expect(waited).toBe("waiting"); // there must be no room, or the test proves nothing
    for (const speech of paused) await speech.return?.();
    expect((await third).length).toBeGreaterThan(0);
  } finally {
    await engine.close();
  }
});
