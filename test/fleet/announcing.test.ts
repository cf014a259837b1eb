// Announcing in rooms, with a real hub and boards in this process: who says what how often, who makes the
// sound, and what is refused to its sender.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { phraseKey } from "../../src/announce/phrases.ts";
import type { TtsError } from "../../src/errors.ts";
import { assertTaken, type Sender } from "../../src/fleet/announcing.ts";
import type { Hub } from "../../src/fleet/hub.ts";
import { rejectionOf } from "../_support.ts";
import { House, makerOf, messageOf, publish, type TestBoard, until } from "./_house.ts";
import { describeWith } from "./_servers.ts";

const timeOf = (ms: number) => new Date(ms).toTimeString().slice(0, 8);

describeWith(["nats-server"], "announcing in rooms", () => {
  let house: House;
  let hub: Hub;
  let desk: Sender;
  let boards: Record<"attic" | "both" | "hall", TestBoard>;
  const made: string[] = [];

  beforeAll(async () => {
    house = await House.open();
    await house.listen();
    hub = await house.hub();
    boards = {
      hall: await house.board("hall", { rooms: ["hallway"], model: null }),
      attic: await house.board("attic", { rooms: ["attic"], model: null }),
      both: await house.board("both", { rooms: ["hallway", "attic"], model: null }),
    };
    const maker = await house.board("maker", {
      rooms: [],
      model: { make: async (order) => makerOf(maker.cache, made)(order) },
    });
    desk = await house.sender();
  });
  afterAll(() => house[Symbol.asyncDispose]());

  const over = (id: string, count: number) =>
    until(() => house.outcomes.filter((outcome) => outcome.id === id).length >= count, `${id} is over`);

  test.each([
    [["hallway"], ["both", "hall"]],
    [["attic"], ["attic", "both"]],
    [
      ["hallway", "attic"],
      ["attic", "both", "hall"],
    ],
    [["all"], ["attic", "both", "hall"]],
    [
      ["all", "attic"],
      ["attic", "both", "hall"],
    ],
  ])("in %p it is said once by each of %p, together, and all is acknowledged", async (rooms, names) => {
    const report = await desk.announce({ rooms, text: "Dinner is ready." });
    expect(report.boards.map(({ board, state }) => `${board} ${state}`).toSorted()).toEqual(
      names.map((name) => `${name} accepted`),
    );
    expect(() => assertTaken(report)).not.toThrow();
    await over(report.id, names.length);
    await until(async () => {
      const all = Object.values(boards).map(({ board, name }) =>
        house.pending(hub, name, [...board.state.rooms, "all"]),
      );
      return (await Promise.all(all)).every((count) => count === 0);
    }, "all is acknowledged");
    expect(house.saidBy(report.id)).toEqual(names);
    const outcomes = house.outcomes.filter(({ id }) => id === report.id);
    expect(outcomes.map(({ board, what }) => `${board} ${what}`).toSorted()).toEqual(
      names.map((name) => `${name} said`),
    );
    const began = house.said.filter(({ id }) => id === report.id).map(({ beganMs }) => beganMs);
    expect(Math.min(...began)).toBeGreaterThanOrEqual(report.moment - 1);
  });

  test("a board without a room says nothing, and the sound of a text is asked for only from it", () => {
    expect(house.said.filter(({ board }) => board === "maker")).toEqual([]);
    expect(new Set(made)).toEqual(new Set(["Dinner is ready."]));
  });

  test.each([
    ["ROOM_EMPTY", "did you mean hallway?", { rooms: ["halway"], text: "x" }],
    ["ROOM_EMPTY", "there are attic, hallway, all", { rooms: ["hallway", "moon"], text: "x" }],
    ["TEXT_EMPTY", "no text", { rooms: ["hallway"], text: " \n" }],
    ["TEXT_TOO_LONG", "10001 bytes", { rooms: ["hallway"], text: "x".repeat(10_001) }],
    ["USAGE", "0 rooms", { rooms: [], text: "x" }],
    ["USAGE", "17 rooms", { rooms: Array(17).fill("hallway"), text: "x" }],
    ["USAGE", "25:00", { rooms: ["hallway"], text: "x", by: "25:00" }],
    ["MODEL_UNSUITABLE", "they have starter", { rooms: ["hallway"], text: "x", model: "none" }],
    [
      "USAGE",
      "nothing is said",
      { rooms: ["hallway"], text: "x", by: timeOf(Date.now() - 90_000), maxLateMs: 60_000 },
    ],
  ])("the sender hears %s in one line: %s", async (code, message, request) => {
    const error = await rejectionOf(desk.announce(request));
    expect([String(error.code), error.exitStatus]).toEqual([code, 2]);
    expect(error.inOneLine).toContain(message);
  });

  test("one for later begins at its time, and one whose time has just passed at once", async () => {
    const later = new Date(Date.now() + 2_000);
    later.setMilliseconds(0);
    const [soon, late] = await Promise.all([
      desk.announce({ rooms: ["attic"], text: "Later.", by: timeOf(later.getTime()), maxLateMs: 0 }),
      desk.announce({ rooms: ["attic"], text: "Late.", by: timeOf(Date.now() - 5_000), maxLateMs: 60_000 }),
    ]);
    expect(Math.abs(soon.moment - later.getTime())).toBeLessThan(1_000);
    expect(soon.moment % 1_000).toBe(0);
    await Promise.all([over(soon.id, 2), over(late.id, 2)]);
    for (const { id, moment } of [soon, late])
      for (const said of house.said.filter((one) => one.id === id))
        expect(said.beganMs).toBeGreaterThanOrEqual(moment - 1);
    expect(late.moment).toBeLessThan(soon.moment + 1_000);
  });

  test("reasons come back: quiet hours, the same text again, a sender that sends too much", async () => {
    const { attic, both } = boards;
    attic.say.reason = "quiet hours are 22:00-07:00";
    attic.say.what = "quiet";
    both.say.what = "repeated";
    const report = await desk.announce({ rooms: ["attic"], text: "Reasons." });
    expect(report.boards.find(({ board }) => board === "attic")).toMatchObject({
      state: "accepted",
      reason: "quiet hours are 22:00-07:00",
    });
    await over(report.id, 2);
    const outcomes = house.outcomes.filter(({ id }) => id === report.id);
    expect(outcomes.map(({ board, what }) => `${board} ${what}`).toSorted()).toEqual([
      "attic quiet",
      "both repeated",
    ]);
    expect(house.saidBy(report.id)).toEqual([]);
    attic.say.reason = "";
    attic.say.what = both.say.what = "said";

    const loud = await house.board("loud", { rooms: ["cellar"], limits: { senderBurst: 2 } });
    const reports = await Promise.all(
      [1, 2, 3].map((n) => desk.announce({ rooms: ["cellar"], text: `Number ${n}.` })),
    );
    const refused = reports.flatMap(({ boards }) => boards).filter(({ state }) => state === "refused");
    expect(refused.map(({ reason }) => reason)).toEqual([
      "desk has sent 2 announcements, and more than 60 a minute since",
    ]);
    const fault = reports.flatMap((one) => faultOf(one))[0];
    expect([fault.code, fault.exitStatus]).toEqual(["BOARDS_REFUSED", 7]);
    const other = await house.sender("other");
    assertTaken(await other.announce({ rooms: ["cellar"], text: "Another sender." }));
    await loud.board.leave();
  });

  const faultOf = (report: Parameters<typeof assertTaken>[0]) => {
    try {
      assertTaken(report);
      return [];
    } catch (error) {
      return [error as TtsError];
    }
  };

  test("a board that holds many for later takes no more, and says so; it hears the next one for now", async () => {
    const full = await house.board("full", { rooms: ["study"], limits: { held: 3 } });
    const [phrase] = (await desk.prepare({ rooms: ["study"], text: "Full." })).phrases;
    const moment = Date.now() + 3_600_000;
    const forLater = () => messageOf(phrase, { rooms: ["study"], moment, latest: moment });
    for (let i = 0; i < 3; i++) await publish(hub, forLater());
    await until(() => full.board.state.waiting === 3, "three are held");
    const report = await desk.announce({ rooms: ["study"], text: "Fire." });
    expect(report.boards).toEqual([
      { board: "full", state: "refused", reason: "3 announcements wait already" },
    ]);
    await full.board.leave();
  });

  test("what a stranger writes is left out, and shown as the board's last error", async () => {
    const [phrase] = (await desk.prepare({ rooms: ["attic"], text: "Strange." })).phrases;
    const { streams } = hub;
    const { attic } = boards;
    await streams.publish("tts.say.attic.desk", "{");
    await streams.publish(
      "tts.say.attic.desk",
      JSON.stringify({ ...messageOf(phrase), rooms: ["attic"], speed: 9 }),
    );
    await streams.publish("tts.say.attic.stranger", JSON.stringify(messageOf(phrase, { rooms: ["attic"] })));
    hub.connection.publish("tts.board.attic", "nonsense");
    hub.connection.publish("tts.board.attic", "{}", { reply: "nobody.there" });
    await until(() => attic.told.lines.some((line) => line.includes("came as")), "the last one is left out");
    expect(attic.board.state.lastError).toContain(
      "an announcement of desk for attic came as tts.say.attic.stranger",
    );
    expect(attic.told.lines.some((line) => line.includes("speed is 9"))).toBe(true);
    await until(async () => (await house.pending(hub, "attic", ["attic", "all"])) === 0, "none comes again");
    expect(house.said.filter(({ id }) => id === phraseKey({ text: "Strange." }))).toEqual([]);
  });

  test("a board's name is its own", async () => {
    const error = await rejectionOf(house.board("hall"));
    expect(error.inOneLine).toContain("a board called hall is there already, in hallway");
  });
});
