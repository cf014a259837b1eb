// Who is there, with a real hub: the list ends and is whole however often boards write meanwhile.

import { expect, test } from "bun:test";
import { HubClock } from "../../src/fleet/clock.ts";
import { hasGone, listBoards, ping } from "../../src/fleet/directory.ts";
import { boardSubject } from "../../src/fleet/names.ts";
import { House } from "./_house.ts";
import { describeWith } from "./_servers.ts";

const [BOARDS, LISTS] = [40, 60];

describeWith(["nats-server"], "who is there", () => {
  test("the list of boards is whole while all of them write", async () => {
    await using house = await House.open();
    const [hub, other] = [await house.hub(), await house.hub()];
    expect(await listBoards(hub, Date.now())).toEqual([]);
    const { board } = await house.board("real");
    const names = Array.from({ length: BOARDS }, (_, i) => `board-${i + 10}`);
    const tell = (name: string) =>
      hub.boards.put(name, JSON.stringify({ ...board.state, name, at: Date.now() }));
    await Promise.all(names.map(tell));
    let isOver = false;
    const writing = (async () => {
      for (let i = 0; !isOver; i++) await tell(names[i % BOARDS]);
    })();
    for (let i = 0; i < LISTS; i++) {
      const boards = await listBoards(other, Date.now());
      expect(boards.map(({ name }) => name)).toEqual([...names, "real"]);
    }
    isOver = true;
    await writing;
    await hub.boards.put("stranger", "no state");
    await hub.boards.delete(names[0]);
    const left = (await listBoards(hub, Date.now())).map(({ name }) => name);
    expect(left).toEqual([...names.slice(1), "real"]);
    expect(await listBoards(hub, Date.now() + 60_000)).toEqual([]); // all have been silent for long
  });

  test("the hub's clock is read by many of one name at once, and one that cannot be read is not taken", async () => {
    await using house = await House.open();
    const hubs = await Promise.all(Array.from({ length: 12 }, () => house.hub()));
    const clocks = hubs.map(() => new HubClock());
    await Promise.all(clocks.map((clock, i) => clock.look(hubs[i], "pi")));
    for (const { offset } of clocks) {
      expect(Math.abs(offset.offsetMs)).toBeLessThan(1_000);
      expect(offset.errorMs).toBeLessThan(1_000);
    }
    const [hub] = hubs;
    const forgetful = { ...hub.manager.streams, getMessage: async () => null } as typeof hub.manager.streams;
    const lost = {
      streams: hub.streams,
      manager: { ...hub.manager, streams: forgetful } as typeof hub.manager,
    };
    await expect(clocks[0].look(lost, "pi")).rejects.toThrow("its clock cannot be read");
    expect(Math.abs(clocks[0].offset.offsetMs)).toBeLessThan(1_000);
  });

  test("a ping tells who listens, who has gone, and who gives no answer", async () => {
    await using house = await House.open();
    const hub = await house.hub();
    await house.board("real", { rooms: ["attic"] });
    hub.connection.subscribe(boardSubject("mute"));
    hub.connection.subscribe(boardSubject("mad"), { callback: (_, message) => void message.respond("{}") });
    await hub.connection.flush();
    expect((await ping(hub, "real"))?.rooms).toEqual(["attic"]);
    const [gone, mute, mad] = await Promise.all(["gone", "mute", "mad"].map((name) => ping(hub, name)));
    expect([gone, mute, mad]).toEqual([null, null, null]);
    const are = await Promise.all(["real", "gone", "mute", "mad"].map((name) => hasGone(hub, name)));
    expect(are).toEqual([false, true, false, false]);
  });
});
