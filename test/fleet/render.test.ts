// Books by many boards at a real hub: the sound is that of one machine, whatever happens to boards and hub.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SpeakOptions } from "../../src/engine.ts";
import type { Hub } from "../../src/fleet/hub.ts";
import { WORK_STREAM, workSubject } from "../../src/fleet/names.ts";
import { noticeSubject, writeWork } from "../../src/fleet/render/job.ts";
import type { Renderer } from "../../src/fleet/render/make.ts";
import { patient } from "../_support.ts";
import {
  boardOn,
  enter,
  KIND,
  LIMITS,
  newShelves,
  rendered,
  SILENT,
  TestEngine,
  wholeSound,
} from "./_render.ts";
import { describeWith, TestServer } from "./_servers.ts";

const COUNT = 30;
/** This machine soon speaks as well. */
const IMPATIENT = { ...LIMITS, boardMs: 1_000 };

describe("without a hub", () => {
  test("a book is made here", async () => {
    const { outcome, sound } = await rendered();
    expect(sound).toEqual(wholeSound());
    expect(outcome).toMatchObject({ sentences: COUNT, frames: COUNT, found: 0 });
    expect([...outcome.made]).toEqual([["", COUNT]]);
  });

  test("a render that was ended goes on where it stopped, whatever was damaged meanwhile", async () => {
    const home = newShelves();
    const ending = new AbortController();
    const first = new TestEngine(1);
    const ended = rendered({
      ...{ home, engine: first, signal: ending.signal },
      onSentence: (count) => void (count === 12 && ending.abort(new Error("ended"))),
    });
    expect(ended).rejects.toThrow("ended");
    await ended.catch(() => {});
    const [folder] = readdirSync(home);
    const kept = readdirSync(join(home, folder));
    expect(kept.length).toBeGreaterThanOrEqual(12);
    writeFileSync(join(home, folder, kept[3]), "not a sentence");
    const second = new TestEngine();
    const { outcome, sound } = await rendered({ home, engine: second });
    expect(sound).toEqual(wholeSound());
    expect(second.made).toBe(COUNT - kept.length + 1);
    expect(outcome.found).toBe(kept.length - 1);
    expect(readdirSync(home)).toEqual([]);
    expect(readdirSync(home)).toEqual([]);
  });

  test("a sentence that cannot be made ends the render with its error", async () => {
    const engine = new TestEngine(0, (sentence) => sentence.includes("17"));
    expect(rendered({ engine })).rejects.toThrow("no room");
  });

  test("a shelf without room costs nothing", async () => {
    expect((await rendered({ home: "/proc/nowhere" })).sound).toEqual(wholeSound());
  });
});

describeWith(["nats-server"], "with a hub", () => {
  let server: TestServer;
  let hub: Hub;
  beforeAll(async () => {
    server = await TestServer.nats();
    hub = await enter(server.port, "test");
  });
  afterAll(async () => {
    await hub.close();
    await server.kill();
  });
  const isEmpty = async () => {
    const { state } = await hub.manager.streams.info(WORK_STREAM);
    return state.messages;
  };

  test("idle boards share the sentences, and nothing is left at the hub", async () => {
    const engines = [new TestEngine(3), new TestEngine(3)];
    const boards = engines.map((engine, i) => boardOn(hub, `board-${i}`, engine));
    const here = new TestEngine();
    const { outcome, sound } = await rendered({ hub, engine: here });
    await Promise.all(boards.map((board) => board.stop()));
    expect(sound).toEqual(wholeSound());
    expect([engines[0].made + engines[1].made, here.made]).toEqual([COUNT, 0]);
    expect(Math.min(...outcome.made.values())).toBeGreaterThan(3);
    expect(await isEmpty()).toBe(0);
    const { state } = await hub.manager.streams.info("TTS_SOUND");
    expect(state.messages).toBe(0);
  });

  test("a sentence that comes twice, and messages that nobody sends, change nothing", async () => {
    const engine = new TestEngine(5);
    const board = boardOn(hub, "board", engine);
    const { sound } = await rendered({
      hub,
      async onSentence(count) {
        if (count > 1) return;
        const { job } = await rendered({ seed: 7 }); // its name is that of the book
        const work = (data: string) => hub.streams.publish(workSubject(KIND, job.id), data);
        for (let sentence = 0; sentence < 20; sentence++)
          await work(writeWork(job.id, { section: 0, sentence }));
        for (const data of [
          "{",
          "[]",
          "{}",
          "x".repeat(9_000),
          writeWork("f".repeat(32), { section: 0, sentence: 1 }),
        ])
          await work(data);
        for (const data of ["{", '{"board":"../x"}', '{"section":-1}'])
          hub.connection.publish(noticeSubject(job.id), data);
      },
    });
    await board.stop();
    expect(sound).toEqual(wholeSound());
    expect(engine.made).toBeGreaterThanOrEqual(COUNT);
  });

  test(
    "a sentence is found although its notice was lost",
    async () => {
      const deaf = { ...hub, connection: { isClosed: () => true } } as unknown as Hub;
      const engine = new TestEngine();
      const board = boardOn(deaf, "deaf", engine);
      const here = new TestEngine(0, () => true);
      const { outcome, sound } = await rendered({ hub, engine: here });
      await board.stop();
      expect(sound).toEqual(wholeSound());
      expect([...outcome.made]).toEqual([["deaf", COUNT]]);
    },
    patient(20_000),
  );

  test("without a board this machine speaks, and says why", async () => {
    const lines: string[] = [];
    const tell = { ...SILENT, info: (line: string) => lines.push(line) };
    const { sound } = await rendered({ hub, limits: IMPATIENT, tell, strangers: async () => ["attic"] });
    expect(sound).toEqual(wholeSound());
    expect(lines).toEqual([
      "no board took a sentence in 1 s: this machine speaks",
      "not asked: attic (of another kind, by program, model, pronunciations or processor)",
    ]);
    expect(await isEmpty()).toBe(0);
  });

  test("what boards cannot make is made here", async () => {
    const board = boardOn(
      hub,
      "weak",
      new TestEngine(
        0,
        (one) => /1[3-5]/.test(one),
        (one) => /2[12]/.test(one),
      ),
    );
    const { outcome, sound } = await rendered({ hub });
    await board.stop();
    expect(sound).toEqual(wholeSound());
    expect([...outcome.made].toSorted()).toEqual([
      ["", 5],
      ["weak", COUNT - 5],
    ]);
  });

  test("a sentence that a board says nothing more of is made here", async () => {
    const engine = new TestEngine();
    const hanging = (signal?: AbortSignal) => ({
      async *[Symbol.asyncIterator]() {
        await new Promise((resolve) => signal?.addEventListener("abort", resolve));
      },
      summary: () => ({ stop: "cancelled", repairs: [], frames: 0 }),
    });
    const speak = (text: string, options: SpeakOptions) =>
      options.sentences!.from === 5 ? hanging(options.signal) : engine.speak(text, options);
    const board = boardOn(hub, "board", { speak: speak as Renderer["speak"] }, { lanes: 3 });
    const { outcome, sound } = await rendered({ hub, limits: { ...LIMITS, lostMs: 300 } });
    await board.stop();
    expect(sound).toEqual(wholeSound());
    expect(outcome.made.get("")).toBe(3); // one of each section
  });

  test("a board that leaves gives back what it has, and takes nothing while it has better to do", async () => {
    const [leaver, other] = [new TestEngine(100), new TestEngine()];
    const board = boardOn(hub, "leaver", leaver);
    let isBusy = true;
    const busy = boardOn(hub, "busy", other, { isUrgent: () => isBusy });
    let left: Promise<void> | null = null;
    const { outcome, sound } = await rendered({
      hub,
      onSentence(count) {
        if (count === 2) {
          expect(other.made).toBe(0);
          isBusy = false;
          left = board.stop();
        }
      },
    });
    await Promise.all([left, busy.stop()]);
    expect(sound).toEqual(wholeSound());
    expect(outcome.made.get("busy")!).toBeGreaterThan(20);
  });

  test("a full queue takes sentences as it empties", async () => {
    const config = (await hub.manager.streams.info(WORK_STREAM)).config;
    await hub.manager.streams.update(WORK_STREAM, { ...config, max_msgs: 2 });
    const board = boardOn(hub, "board", new TestEngine());
    const { sound } = await rendered({ hub });
    await board.stop();
    await hub.manager.streams.update(WORK_STREAM, config);
    expect(sound).toEqual(wholeSound());
  });

  test.each([
    ["is killed and comes back", false],
    ["comes back with an empty disk", true],
  ])(
    "a hub that %s loses no sentence",
    async (_what, isEmpty) => {
      const engine = new TestEngine(10);
      const own = await enter(server.port, "board");
      const board = boardOn(own, "board", engine);
      const { outcome, sound } = await rendered({
        hub,
        async onSentence(count) {
          if (count !== 8) return;
          await server.kill();
          if (isEmpty) rmSync(join(server.folder, "store"), { recursive: true });
          await server.start();
        },
      });
      await board.stop();
      await own.close();
      expect(sound).toEqual(wholeSound());
      expect(outcome.made.get("board")).toBeGreaterThan(COUNT - 4);
    },
    patient(30_000),
  );

  test(
    "a hub that never comes back leaves the rest to this machine",
    async () => {
      const own = await enter(server.port, "board");
      const board = boardOn(own, "board", new TestEngine(5));
      const { outcome, sound } = await rendered({
        hub,
        limits: IMPATIENT,
        onSentence: (count) => (count === 8 ? server.kill() : undefined),
      });
      await board.stop();
      await own.close();
      expect(sound).toEqual(wholeSound());
      expect(outcome.made.get("")!).toBeGreaterThan(0);
    },
    patient(30_000),
  );
});
