// What a fleet does when something fails: the hub is killed, loses its disk or has none left, boards are
// killed, messages come twice. Nothing is lost that could still be said, and nothing is said twice.

import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { JetStreamApiCodes, JetStreamApiError } from "@nats-io/jetstream";
import { PhraseCache, phraseKey } from "../../src/announce/phrases.ts";
import { assertTaken, type FleetReport, type Sender } from "../../src/fleet/announcing.ts";
import { connectHub, type Hub, unlessThere } from "../../src/fleet/hub.ts";
import { PHRASE_BUCKET, SAY_STREAM } from "../../src/fleet/names.ts";
import { SharedPhrases } from "../../src/fleet/phrases.ts";
import { failureOf, rejectionOf } from "../_support.ts";
import {
  House,
  makerOf,
  messageOf,
  newFolder,
  publish,
  SHORT,
  settingsOf,
  type TestBoard,
  until,
} from "./_house.ts";
import { describeWith, freePort } from "./_servers.ts";

/** A local time of day, at least so far ahead. */
function timeIn(ms: number): string {
  return new Date(Math.ceil((Date.now() + ms) / 1_000) * 1_000).toTimeString().slice(0, 8);
}

describeWith(["nats-server"], "what fails in a fleet", () => {
  let house: House;
  beforeEach(async () => {
    house = await House.open();
  });
  afterEach(() => house[Symbol.asyncDispose]());

  const request = (text = "Hello.") => ({ rooms: ["hallway"], text });
  const said = (id: string, names: readonly string[]) =>
    until(() => house.saidBy(id).length >= names.length, `${names} have said it`).then(() =>
      expect(house.saidBy(id)).toEqual([...names]),
    );
  /** Nothing comes again, and nothing was left. */
  async function isSettled(hub: Hub, boards: readonly string[]): Promise<void> {
    await until(async () => {
      const counts = await Promise.all(boards.map((name) => house.pending(hub, name, ["hallway", "all"])));
      return counts.every((count) => count === 0);
    }, "all is acknowledged");
  }
  /** A phrase at the hub, for messages that a test writes itself. */
  async function phraseAt(hub: Hub): Promise<string> {
    const cache = new PhraseCache(newFolder());
    const { keys } = await makerOf(cache)({ text: "By hand.", moment: 0, settings: {} });
    return (await new SharedPhrases(hub, cache, cache).share(keys[0])).phrase;
  }
  /** Once the boards hear it again. */
  async function announceAgain(sender: Sender, names: readonly string[]): Promise<FleetReport> {
    let report: FleetReport | undefined;
    await until(async () => {
      report = await sender.announce(request("Again.")).catch(() => undefined);
      return report?.boards.length === names.length;
    }, "the boards are back");
    assertTaken(report!);
    await said(report!.id, names);
    return report!;
  }

  test("without a hub a sender hears so, and a hub that ends in the middle is told too", async () => {
    const nowhere = settingsOf(await freePort());
    const error = await rejectionOf(connectHub(nowhere, { name: "desk" }));
    expect([error.code, error.exitStatus]).toEqual(["FLEET_UNREACHABLE", 7]);
    expect(error.inOneLine).toContain(`the hub at ${nowhere.url} does not answer`);

    await house.board("pi", { model: { make: () => house.server.kill().then(() => new Promise(() => {})) } });
    const desk = await house.sender();
    const ended = await rejectionOf(desk.announce(request()));
    expect([ended.code, ended.exitStatus]).toEqual(["FLEET_UNREACHABLE", 7]);
    expect(house.said).toEqual([]);
  });

  test("a hub that is killed and comes back: boards hear again, and what was taken is said once", async () => {
    const boards = [await house.board("one"), await house.board("two")];
    const later = { ...request("Later."), by: timeIn(2_500) };
    const report = await (await house.sender()).announce(later);
    assertTaken(report);
    await house.server.kill();
    await Bun.sleep(200);
    await house.server.start();
    await said(report.id, ["one", "two"]);
    const hub = await house.hub();
    await announceAgain(await house.sender(), ["one", "two"]);
    await isSettled(hub, ["one", "two"]);
    expect(house.saidBy(report.id)).toEqual(["one", "two"]);
    for (const { told } of boards)
      expect(told.lines.map((line) => line.replace(/127\S+/, "HUB"))).toEqual(
        expect.arrayContaining([
          "the hub at nats://HUB has gone; waiting for it",
          "the hub at nats://HUB is back",
        ]),
      );
  });

  test("what was taken is said while the hub is away", async () => {
    await house.board("pi");
    const report = await (await house.sender()).announce({ ...request(), by: timeIn(800) });
    await house.server.kill();
    await said(report.id, ["pi"]);
    await house.server.start();
    await isSettled(await house.hub(), ["pi"]); // it comes again, and is not said
    expect(house.saidBy(report.id)).toEqual(["pi"]);
  });

  test("a hub that comes back with an empty disk gets all it needs from its boards", async () => {
    await house.board("pi");
    assertTaken(await (await house.sender()).announce(request()));
    await house.server.kill();
    const store = join(house.server.folder, "store");
    rmSync(store, { recursive: true });
    mkdirSync(store);
    await house.server.start();
    await announceAgain(await house.sender(), ["pi"]);
    await isSettled(await house.hub(), ["pi"]);
  });

  test("a board whose consumers somebody has deleted hears again, and what was sent meanwhile too", async () => {
    await house.board("pi");
    const hub = await house.hub();
    const phrase = await phraseAt(hub);
    const { consumers } = hub.manager;
    await Promise.all(["hallway", "all"].map((room) => consumers.delete(SAY_STREAM, `pi__${room}`)));
    const message = messageOf(phrase);
    await publish(hub, message);
    await said(message.id, ["pi"]);
    await isSettled(hub, ["pi"]);
  });

  test("a board that is killed while it speaks does not say it again", async () => {
    const folder = newFolder();
    const killed = await house.board("pi", { folder });
    killed.say.lengthMs = 60_000;
    const report = await (await house.sender()).announce(request());
    await said(report.id, ["pi"]);
    await killed.die();
    await house.board("pi", { folder });
    await isSettled(await house.hub(), ["pi"]); // it has come again
    expect(house.saidBy(report.id)).toEqual(["pi"]);
  });

  test("a board that is killed before the time says it when it is back, and one that leaves too", async () => {
    const ends: ((board: TestBoard) => Promise<void>)[] = [
      (board) => board.die(),
      ({ board }) => board.leave(),
    ];
    await Promise.all(
      ends.map(async (end, i) => {
        const [name, folder] = [`board-${i}`, newFolder()];
        // the hub would wait too long by itself
        const parts = { folder, rooms: [name], limits: { ackMs: 60_000, workingMs: 20_000 } };
        const board = await house.board(name, parts);
        const sender = await house.sender(`desk-${i}`);
        const report = await sender.announce({ rooms: [name], text: "Later.", by: timeIn(1_500) });
        assertTaken(report);
        await end(board);
        await house.board(name, parts);
        await said(report.id, [name]);
        expect(house.said.find(({ id }) => id === report.id)!.beganMs).toBeGreaterThanOrEqual(report.moment);
      }),
    );
  });

  test("a board that was off says what is still due, and drops what is stale for a stated reason", async () => {
    const folder = newFolder();
    await (await house.board("pi", { folder })).board.leave();
    await house.listen();
    const hub = await house.hub();
    const phrase = await phraseAt(hub);
    const nowMs = Date.now();
    const stale = Array.from({ length: 40 }, () =>
      messageOf(phrase, { moment: nowMs - 100_000, latest: nowMs - 40_000 }),
    );
    // one without a time of its own, which its room has heard
    stale.push(
      messageOf(phrase, { moment: nowMs - 6_000, freshUntil: nowMs - 1_000, latest: nowMs + 54_000 }),
    );
    const due = messageOf(phrase, { moment: nowMs - 100_000, latest: nowMs + 60_000 });
    for (const message of [...stale, due]) await publish(hub, message);
    await house.board("pi", { folder, limits: { senderBurst: 5 } });
    await said(due.id, ["pi"]); // although its sender has sent much
    await isSettled(hub, ["pi"]);
    await until(() => house.outcomes.length === stale.length + 1, "all outcomes are told");
    const ofStale = house.outcomes.filter(({ id }) => id !== due.id);
    expect(new Set(ofStale.map(({ reason, what }) => `${what}: ${reason.replace(/\d+/g, "N")}`))).toEqual(
      new Set(["late: it came N.N s after its time"]),
    );
    expect(house.said).toHaveLength(1);
  });

  test("a sound that cannot be fetched now is fetched when it can be", async () => {
    const board = await house.board("pi");
    const { direct } = board.hub.manager;
    const read = direct.getMessage.bind(direct);
    let failures = 2;
    direct.getMessage = (...args) => (failures-- > 0 ? Promise.reject(new Error("timeout")) : read(...args));
    const hub = await house.hub();
    const message = messageOf(await phraseAt(hub));
    await publish(hub, message);
    await said(message.id, ["pi"]);
    expect(failures).toBeLessThan(0);
    await isSettled(hub, ["pi"]);
    expect(house.saidBy(message.id)).toEqual(["pi"]);
  });

  test("what comes twice is said once, also while it is being said for long", async () => {
    const board = await house.board("pi");
    board.say.lengthMs = 2 * SHORT.ackMs;
    await house.listen();
    const hub = await house.hub();
    const message = messageOf(await phraseAt(hub));
    await publish(hub, message, "a");
    await publish(hub, message, "b");
    await said(message.id, ["pi"]);
    await publish(hub, message, "c");
    await isSettled(hub, ["pi"]);
    await publish(hub, message, "d");
    await isSettled(hub, ["pi"]);
    expect(house.saidBy(message.id)).toEqual(["pi"]);
    expect(house.outcomes.map(({ id, what }) => [id, what])).toEqual([[message.id, "said"]]);
    const { state } = await hub.manager.streams.info(SAY_STREAM);
    expect(state.messages).toBe(4);
  });

  test("a refusal stays one where the message comes by two rooms", async () => {
    await house.board("pi", { rooms: ["hallway", "attic"], limits: { senderBurst: 0 } });
    const report = await (await house.sender()).announce({ rooms: ["hallway", "attic"], text: "x" });
    await Bun.sleep(100); // its other message
    expect(report.boards.map(({ state }) => state)).toEqual(["refused"]);
    expect(failureOf(() => assertTaken(report)).code).toBe("BOARDS_REFUSED");
  });

  test("a board whose clock is off by minutes begins with the others, and states by how much", async () => {
    const off = await house.board("off", { wallMs: () => Date.now() + 7 * 60_000 });
    const right = await house.board("right");
    expect(Math.abs(off.board.state.clock.offsetMs - 420_000)).toBeLessThan(1_000);
    expect(Math.abs(right.board.state.clock.offsetMs)).toBeLessThan(1_000);
    const report = await (await house.sender()).announce(request());
    await said(report.id, ["off", "right"]);
    const [a, b] = house.said.map(({ beganMs }) => beganMs);
    expect(Math.abs(a - b)).toBeLessThan(1_000); // the figure itself is measured by make fleet-load
    expect(house.said.every(({ beganMs }) => beganMs >= report.moment)).toBe(true);
  });

  test("a board whose phrase is not at the hub says why it says nothing", async () => {
    const board = await house.board("pi");
    await house.listen();
    const hub = await house.hub();
    await publish(hub, messageOf(`${phraseKey({ text: "nowhere" })}.${"0".repeat(64)}`));
    await until(() => house.outcomes.length === 1, "the outcome is told");
    expect(house.outcomes[0]).toMatchObject({ what: "failed" });
    expect(house.outcomes[0].reason).toContain("the hub has no sound");
    expect(board.board.state.lastError).toContain("the hub has no sound");
    await isSettled(hub, ["pi"]);
  });
});

test("what two machines make at the same moment is there for both, and what neither can make is told", async () => {
  const missing = new JetStreamApiError({
    code: 404,
    err_code: JetStreamApiCodes.StreamNotFound,
    description: "",
  });
  const overlap = new Error("subjects overlap with an existing stream");
  const race = (isThere: boolean) => {
    let looks = 0;
    const look = async () => {
      if (++looks === 1 || !isThere) throw missing;
    };
    return unlessThere(JetStreamApiCodes.StreamNotFound, look, () => Promise.reject(overlap));
  };
  await race(true);
  await expect(race(false)).rejects.toBe(overlap);
});

describeWith(["nats-server"], "a hub with a small disk", () => {
  test("when it is full the sender hears so in one line; boards stay, and it goes on when there is room", async () => {
    await using house = await House.open("", "max_file_store: 64MB");
    const board = await house.board("pi");
    const hub = await house.hub();
    const desk = await house.sender();
    let fillers = 0;
    for (const bytes of [2 ** 20, 2 ** 16, 2 ** 12])
      for (let isFull = false; !isFull; ) {
        const put = hub.phrases.putBlob({ name: `filler-${fillers++}` }, new Uint8Array(bytes));
        isFull = (await put.catch(() => null)) === null;
      }
    const loud = () => desk.announce({ rooms: ["hallway"], text: "Full." });
    const error = await rejectionOf(loud());
    expect([error.code, error.exitStatus]).toEqual(["FLEET_REFUSED", 7]);
    expect(error.inOneLine).toMatch(/^the hub at \S+ has no room left \(.*\); free some of its disk/);
    expect(board.board.state.lastError).toContain("has no room left");
    await hub.manager.streams.purge(`OBJ_${PHRASE_BUCKET}`);
    assertTaken(await loud());
  });
});
