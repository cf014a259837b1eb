// Many announcements to many boards, some of which come twice, while the hub is killed once.

import { PhraseCache } from "../../src/announce/phrases.ts";
import { SharedPhrases } from "../../src/fleet/phrases.ts";
import { House, makerOf, messageOf, newFolder, publish, until } from "./_house.ts";

const TWICE = 10;

export interface Crowd {
  /** Pairs of a board and an announcement. */
  said: number;
  /** The same, each counted once. */
  different: number;
  seconds: number;
}

export async function crowdOf(boards: number, announcements: number): Promise<Crowd> {
  await using house = await House.open();
  const limits = { held: announcements, senderBurst: announcements, beatMs: 5_000 };
  const names = Array.from({ length: boards }, (_, i) => `board-${i}`);
  await Promise.all(names.map((name) => house.board(name, { model: null, limits })));
  const hub = await house.hub();
  const cache = new PhraseCache(newFolder());
  const { keys } = await makerOf(cache)({ text: "All of you.", moment: 0, settings: {} });
  const { phrase } = await new SharedPhrases(hub, cache, cache).share(keys[0]);

  const startMs = performance.now();
  let back = Promise.resolve();
  for (let i = 0; i < announcements; i++) {
    const message = messageOf(phrase);
    if (i === Math.floor(announcements / 2)) back = house.server.kill().then(() => house.server.start());
    const send = (copy: string) =>
      publish(hub, message, `${message.id}.${copy}`).then(
        () => true,
        () => false, // the hub is away: it is sent again
      );
    await until(() => send("a"), "the hub takes it");
    if (i % TWICE === 0) await until(() => send("b"), "the hub takes it twice");
  }
  await back;
  await until(() => house.said.length >= boards * announcements, "all is said");
  await until(async () => {
    const counts = await Promise.all(names.map((name) => house.pending(hub, name, ["hallway"])));
    return counts.every((count) => count === 0);
  }, "all is acknowledged");
  return {
    said: house.said.length,
    different: new Set(house.said.map(({ board, id }) => `${board} ${id}`)).size,
    seconds: (performance.now() - startMs) / 1_000,
  };
}
