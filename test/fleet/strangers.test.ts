// What a stranger at the hub may try: other sound under a known name, sound without an end, moments that
// never come, work for nobody, and the rights of a board.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { PhraseCache, phraseFile, phraseKey, sumOfFile } from "../../src/announce/phrases.ts";
import type { Hub } from "../../src/fleet/hub.ts";
import { type SayMessage, writeOrder, writeSay } from "../../src/fleet/messages.ts";
import { boardSubject, SAY_STREAM, saySubject } from "../../src/fleet/names.ts";
import { SharedPhrases } from "../../src/fleet/phrases.ts";
import { SAMPLE_RATE_HZ } from "../../src/types.ts";
import { rejectionOf } from "../_support.ts";
import { House, messageOf, newFolder, publish, until } from "./_house.ts";
import { describeWith } from "./_servers.ts";

const HOUR_MS = 3_600_000;

describeWith(["nats-server"], "a stranger at the hub", () => {
  let house: House;
  let hub: Hub;
  beforeAll(async () => {
    house = await House.open();
    hub = await house.hub();
    await house.listen();
  });
  afterAll(() => house[Symbol.asyncDispose]());

  /** A phrase of the stranger's at the hub. @returns KEY.SUM */
  async function put(key: string, seconds: number): Promise<string> {
    const bytes = phraseFile(key, { samples: new Float32Array(seconds * SAMPLE_RATE_HZ), words: [] }, false);
    await hub.phrases.putBlob({ name: key }, bytes);
    return `${key}.${sumOfFile(bytes)}`;
  }
  /** Publishes it, and waits for what becomes of it. */
  async function outcomeOf(message: SayMessage) {
    await publish(hub, message);
    await until(() => house.outcomes.some(({ id }) => id === message.id), "its outcome is told");
    return house.outcomes.find(({ id }) => id === message.id)!;
  }

  test("cannot put other sound in the place of what is announced, or into what this machine alone says", async () => {
    const key = phraseKey({ text: "Dinner is ready." });
    const [own, others] = [new PhraseCache(newFolder()), new PhraseCache(newFolder())];
    own.put(key, { samples: new Float32Array(SAMPLE_RATE_HZ), words: [] }, false);
    const phrases = new SharedPhrases(hub, own, others);
    const { phrase } = await phrases.share(key);
    const forged = await put(key, 7);
    const elsewhere = new SharedPhrases(hub, new PhraseCache(newFolder()), others);
    const error = await rejectionOf(elsewhere.fetch(phrase));
    expect([error.code, error.message]).toEqual([
      "FLEET_REFUSED",
      `the hub has a damaged sound ${key.slice(0, 12)}`,
    ]);
    expect((await phrases.fetch(forged)).samples).toHaveLength(7 * SAMPLE_RATE_HZ); // it was asked for
    expect((await phrases.fetch(phrase)).samples).toHaveLength(SAMPLE_RATE_HZ);
    expect(own.get(key)!.samples).toHaveLength(SAMPLE_RATE_HZ);
    await phrases.share(key); // of the same size or not, it is put right
    expect((await elsewhere.fetch(phrase)).samples).toHaveLength(SAMPLE_RATE_HZ);
  });

  test("cannot make a board speak for hours, or hold what is for the year 9999", async () => {
    const board = await house.board("pi");
    const minute = await put(phraseKey({ text: "a minute" }), 60);
    const endless = messageOf(minute, { phrases: Array(61).fill(minute), priority: "urgent" });
    expect(await outcomeOf(endless)).toMatchObject({
      what: "refused",
      reason: "it would sound for 61 min, and may for 60 min",
    });
    expect(await outcomeOf(messageOf(minute, { repeat: 20, phrases: Array(4).fill(minute) }))).toMatchObject({
      what: "refused",
    });
    const moment = Date.UTC(9999, 0);
    const { reason, what } = await outcomeOf(messageOf(minute, { moment, latest: moment }));
    expect([what, reason.replace(/^it is [\d.]+/, "it is N")]).toEqual([
      "refused",
      "it is N hours ahead, and may be 12",
    ]);
    await board.board.leave();
  });

  test("cannot take the places that urgent ones have", async () => {
    const board = await house.board("full", { limits: { held: 4, heldForUrgent: 2 } });
    const phrase = await put(phraseKey({ text: "short" }), 1);
    const moment = Date.now() + HOUR_MS;
    const forLater = () => messageOf(phrase, { moment, latest: moment });
    for (let i = 0; i < 2; i++) await publish(hub, forLater());
    await until(() => board.board.state.waiting === 2, "two are held");
    expect(await outcomeOf(forLater())).toMatchObject({
      what: "refused",
      reason: "2 announcements wait already",
    });
    expect(await outcomeOf(messageOf(phrase, { priority: "urgent" }))).toMatchObject({ what: "said" });
    await board.board.leave();
  });

  test("cannot keep a board at work for nobody, nor use what a board may do and others may not", async () => {
    const ended: unknown[] = [];
    const make = (_: unknown, signal?: AbortSignal) =>
      new Promise<never>((_, reject) => {
        signal!.addEventListener("abort", () => {
          ended.push(signal!.reason.message);
          reject(signal!.reason);
        });
      });
    const board = await house.board("maker", { model: { make } });
    const order = writeOrder({ text: "For nobody.", moment: Date.now(), settings: {} });
    const asker = await house.hub();
    const inbox = asker.connection.subscribe("_INBOX.stranger");
    asker.connection.publish(boardSubject("maker"), order, { reply: "_INBOX.stranger" });
    await until(() => board.board.state.making === 1, "it makes the sound");
    inbox.unsubscribe();
    await until(() => board.board.state.making === 0, "it stops");
    expect(ended).toEqual(["whoever asked has gone"]);

    const message = messageOf(`${"a".repeat(64)}.${"b".repeat(64)}`, { rooms: ["nowhere"] });
    await hub.streams.publish(saySubject("nowhere", "desk"), writeSay(message));
    const kept = async () => (await hub.manager.streams.info(SAY_STREAM)).state.messages;
    const before = await kept();
    const reply = `$JS.API.STREAM.PURGE.${SAY_STREAM}`;
    hub.connection.publish(boardSubject("maker"), writeOrder("ping"), { reply });
    expect(
      (await hub.connection.request(boardSubject("maker"), writeOrder("ping"))).data.length,
    ).toBeGreaterThan(0);
    expect(await kept()).toBe(before);
    await board.board.leave();
  });
});
