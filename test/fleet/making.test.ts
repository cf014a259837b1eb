// Who makes the sound of an announcement, with a real hub: one board, once; another one where that dies; the
// sender where no board can.

import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { PhraseCache, phraseKey } from "../../src/announce/phrases.ts";
import { TtsError } from "../../src/errors.ts";
import { assertTaken } from "../../src/fleet/announcing.ts";
import type { MakeSound } from "../../src/fleet/making.ts";
import { rejectionOf } from "../_support.ts";
import { House, makerOf, newFolder, until } from "./_house.ts";
import { describeWith } from "./_servers.ts";

describeWith(["nats-server"], "who makes the sound", () => {
  let house: House;
  const made: string[] = [];
  beforeAll(async () => {
    house = await House.open();
    await house.board("player", { model: null });
  });
  beforeEach(() => void made.splice(0));
  afterAll(() => house[Symbol.asyncDispose]());

  /** Makes nothing, ever. @param onAsked called when it is asked to */
  const never =
    (name: string, onAsked = () => {}): MakeSound =>
    () => {
      made.push(name);
      onAsked();
      return new Promise(() => {});
    };
  /** Makes it at once. */
  const able = (name: string): MakeSound => {
    const cache = new PhraseCache(newFolder());
    return (order) => {
      made.push(name);
      return makerOf(cache)(order);
    };
  };

  test("the fastest board makes it, the next one where that dies, and the next where that fails", async () => {
    const fails: MakeSound = async () => {
      made.push("third");
      throw new TtsError("STAGE_DIED", "the talker ended by itself");
    };
    const dying = await house.board("first", {
      rooms: [],
      model: { rtf: () => 0.1, make: never("first", () => void dying.die()) },
    });
    const away = await house.board("second", { rooms: [], model: { rtf: () => 0.2, make: never("second") } });
    const failing = await house.board("third", { rooms: [], model: { rtf: () => 0.3, make: fails } });
    // its phrases lie elsewhere than where it looks for them
    const forgetful = await house.board("fourth", {
      rooms: [],
      model: { rtf: () => 0.4, make: able("fourth") },
    });
    const last = await house.board("last", { rooms: [], model: { rtf: () => null } });
    await away.die(); // the hub still knows it
    const desk = await house.sender();
    const report = await desk.announce({ rooms: ["hallway"], text: "Who?" });
    assertTaken(report);
    expect(made).toEqual(["first", "third", "fourth"]);
    expect(desk.told.lines.filter((line) => /first|third|fourth/.test(line))).toEqual([
      "first makes the sound",
      "first: the board first has gone while it made the sound",
      "third makes the sound",
      "third: the talker ended by itself",
      "fourth makes the sound",
      "fourth: the phrase cache does not keep what was made; free some of its disk",
    ]);
    expect([failing, last].map(({ board }) => board.state.lastError)).toEqual([
      "the talker ended by itself",
      "",
    ]);
    await Promise.all([failing, forgetful, last].map(({ board }) => board.leave()));
    await until(() => house.saidBy(report.id).length === 1, "it is said");
  });

  test("a text that is wrong is wrong everywhere: no other board is asked", async () => {
    const refuses = (name: string): MakeSound => {
      return async () => {
        made.push(name);
        throw new TtsError("VOICE_UNKNOWN", "there is no voice x");
      };
    };
    const boards = await Promise.all(
      ["a", "b"].map((name) => house.board(name, { rooms: [], model: { make: refuses(name) } })),
    );
    const desk = await house.sender();
    const error = await rejectionOf(desk.announce({ rooms: ["hallway"], text: "x", voice: "x" }));
    expect([error.code, error.inOneLine, made.length]).toEqual(["VOICE_UNKNOWN", "there is no voice x", 1]);
    expect(boards.map(({ board }) => board.state.lastError)).toEqual(["", ""]); // the sender's fault
    await Promise.all(boards.map(({ board }) => board.leave()));
  });

  test("where no board can, the sender makes it, and the second time nobody brings it to the hub", async () => {
    const alone = await house.sender("alone");
    const request = { rooms: ["hallway"], text: "Alone." };
    const error = await rejectionOf(alone.announce(request));
    expect([error.code, error.exitStatus]).toEqual(["MODEL_UNSUITABLE", 2]);
    expect(error.inOneLine).toContain("no board has a model that could speak");

    const cache = new PhraseCache(newFolder());
    const desk = await house.sender("desk", { cache, make: makerOf(cache, made) });
    const { phrases } = await house.hub();
    const firstReport = await desk.announce(request);
    const first = await phrases.info(phraseKey({ text: "Alone." }));
    const secondReport = await desk.announce(request);
    const second = await phrases.info(phraseKey({ text: "Alone." }));
    expect(made).toEqual(["Alone.", "Alone."]); // the second time it comes from the phrase cache
    expect(second).toMatchObject({ nuid: first!.nuid, mtime: first!.mtime });
    await until(
      () => [firstReport, secondReport].every(({ id }) => house.saidBy(id).length === 1),
      "both are said",
    );
  });

  test("who asked and gave up hears no more of it", async () => {
    const board = await house.board("slow", { rooms: [], model: { make: never("slow") } });
    const desk = await house.sender();
    const controller = new AbortController();
    const work = desk.announce({ rooms: ["hallway"], text: "x" }, controller.signal);
    await until(() => made.length === 1, "it is asked");
    controller.abort(new TtsError("CANCELLED", "enough"));
    expect((await rejectionOf(work)).code).toBe("CANCELLED");
    expect(board.board.state.making).toBe(1);
    await board.die();
  });

  test("a board makes so many sounds at once, and refuses more", async () => {
    const board = await house.board("busy", { rooms: [], model: { make: never("busy") } });
    const desk = await house.sender("desk", { limits: { makingSilenceMs: 400 } });
    const work = Array.from({ length: 9 }, () =>
      rejectionOf(desk.prepare({ rooms: ["hallway"], text: "x" })),
    );
    const messages = (await Promise.all(work)).map(({ inOneLine }) => inOneLine);
    expect(messages).toContain("it makes 8 sounds already; try again soon");
    expect(made).toHaveLength(8);
    await board.die();
  });
});
