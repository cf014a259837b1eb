// The bridge at Debian's mosquitto: what is said to rooms is announced once, and the broker keeps what became
// of it, who is there, and what Home Assistant needs to know.

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { describeWith, TestServer } from "../_servers.ts";
import { closeAll, eventually, Listener, lines, openBridge, PlayedFleet, ready } from "./_bridge.ts";

describeWith(["mosquitto"], "a bridge to MQTT", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await TestServer.mosquitto();
  });
  afterEach(closeAll);
  afterAll(() => server.kill());

  const setUp = async (fleet = new PlayedFleet({ attic: ["hall"], cellar: ["hall", "ground-floor"] })) => {
    const listener = await Listener.open(server.port);
    const bridge = await openBridge(fleet, server.port);
    await ready(listener);
    return { bridge, fleet, listener };
  };

  test("what is said to a room is announced there, as text or as JSON", async () => {
    const { fleet, listener } = await setUp();
    await listener.say("hall", "Dinner is ready, it is {time}.");
    await listener.say("all", {
      text: "Good morning.",
      by: "07:00",
      priority: "high",
      repeat: 2,
      chime: true,
    });
    await eventually(() => expect(fleet.asked.length).toBe(2));
    expect(fleet.asked.toSorted((a, b) => b.rooms[0].localeCompare(a.rooms[0]))).toEqual([
      { rooms: ["hall"], text: "Dinner is ready, it is {time}." },
      { rooms: ["all"], text: "Good morning.", by: "07:00", priority: "high", repeat: 2, chime: "own" },
    ]);
  });

  test("the broker keeps what became of it: accepted, then said or not, board by board", async () => {
    const { bridge, listener } = await setUp();
    await listener.say("hall", { text: "Hello.", id: "mine" });
    const accepted = { attic: "accepted", cellar: "accepted" };
    await eventually(() =>
      expect(listener.outcome("hall")).toMatchObject({ outcome: "accepted", boards: accepted, id: "mine" }),
    );
    const outcome = { id: "id-000001", rooms: ["hall"], seconds: 1, lateMs: 0, at: 0 };
    bridge.hear({ ...outcome, board: "cellar", what: "quiet", reason: "quiet hours are 22:00-07:00" });
    bridge.hear({ ...outcome, board: "attic", what: "said", reason: "" });
    await eventually(() =>
      expect(listener.outcome("hall")).toMatchObject({
        outcome: "said",
        reason: "cellar: quiet hours are 22:00-07:00",
        boards: { attic: "said", cellar: "quiet" },
      }),
    );
    expect(new Date(listener.outcome("hall").at as string).getTime()).toBeGreaterThan(Date.now() - 60_000);
    const late = await Listener.open(server.port, "tts/hall/outcome");
    await eventually(() => expect(late.outcome("hall").outcome).toBe("said"));
  });

  test("what cannot be said is refused with one line, and the bridge goes on", async () => {
    const { fleet, listener } = await setUp();
    await listener.say("hall", { text: "x", volume: 1 });
    await eventually(() => expect(listener.outcome("hall").outcome).toBe("refused"));
    expect(listener.outcome("hall").reason).toMatch(
      /^tts\/hall\/say: there is no "volume".*; send a text, or JSON/,
    );
    await listener.say("nowhere", "Is anybody there?");
    await eventually(() => expect(listener.outcome("nowhere").outcome).toBe("refused"));
    expect(listener.outcome("nowhere").reason).toBe("no board is in the room nowhere; try max_late");
    await listener.say("hall", Buffer.from([0xff, 0xfe]));
    await eventually(() => expect(listener.outcome("hall").reason).toMatch(/not UTF-8/));
    await listener.say("hall", "x".repeat(70_000));
    await eventually(() => expect(listener.outcome("hall").reason).toMatch(/has 70000 bytes/));
    await listener.say("hall", "x".repeat(300_000)); // the broker itself does not give it on
    await listener.client.publishAsync("tts/Not A Room/say", "x", { qos: 1 });
    await listener.client.publishAsync("tts/_bridge/say", "x", { qos: 1 });
    await listener.say("hall", "Good.");
    await eventually(() => expect(listener.outcome("hall").outcome).toBe("accepted"));
    expect(fleet.texts).toEqual(["Is anybody there?", "Good."]);
    // a room that never was leaves nothing at the broker
    const late = await Listener.open(server.port, "tts/+/outcome");
    await eventually(() => expect(late.heard.has("tts/hall/outcome")).toBe(true));
    expect(late.heard.has("tts/nowhere/outcome")).toBe(false);
  });

  test("a message that the broker keeps by mistake is said once", async () => {
    const { bridge, fleet, listener } = await setUp();
    await listener.say("hall", "Kept.", true);
    await eventually(() => expect(fleet.texts).toEqual(["Kept."]));
    await bridge.close();
    await eventually(() => expect(listener.heard.get("tts/_bridge/attic")).toBe("offline"));
    await openBridge(fleet, server.port);
    await ready(listener);
    await listener.say("hall", "New.");
    await eventually(() => expect(fleet.texts).toEqual(["Kept.", "New."]));
    await listener.say("hall", "", true); // takes it away, and is refused
  });

  test("a room's messages keep their order, urgent ones wait for nobody, and too many are refused", async () => {
    const { fleet, listener } = await setUp();
    const { promise, resolve } = Promise.withResolvers<void>();
    fleet.taking = () => promise;
    for (let i = 0; i < 8; i++) await listener.say("hall", `${i}`);
    await listener.say("hall", { text: "Fire!", priority: "urgent" });
    await eventually(() => expect(fleet.texts).toEqual(["0", "Fire!"]));
    for (let i = 0; i < 3; i++) await listener.say("hall", `more ${i}`);
    await eventually(() =>
      expect(listener.outcome("hall").reason).toMatch(/^more than 30 messages a minute for hall; /),
    );
    resolve();
    await eventually(() => expect(fleet.texts.slice(2)).toEqual([..."1234567", "more 0"]));
    fleet.taking = async () => {};
  });

  test("the broker keeps who is in which room, and Home Assistant a device for each", async () => {
    const { fleet, listener } = await setUp();
    await eventually(() => expect(listener.heard.size).toBeGreaterThan(6));
    expect(listener.json("tts/hall/status")).toMatchObject({
      state: "ready",
      boards: ["attic", "cellar"],
      waiting: 0,
    });
    expect(listener.json("tts/ground-floor/status")).toMatchObject({ state: "ready", boards: ["cellar"] });
    expect(listener.json("homeassistant/device/tts-ground-floor/config")).toMatchObject({
      device: { identifiers: ["tts-ground-floor"], suggested_area: "Ground floor" },
      availability: [{ topic: "tts/_bridge/attic" }],
      components: { say: { platform: "notify", command_topic: "tts/ground-floor/say" } },
    });
    expect(listener.json("homeassistant/device/tts-all/config")).toMatchObject({
      origin: { name: "qwen3-tts-edge" },
    });

    fleet.present = fleet.present.slice(0, 1); // the cellar goes
    await eventually(() =>
      expect(listener.json("tts/ground-floor/status")).toMatchObject({ state: "empty", boards: [] }),
    );
    const value_template = "{{ 'online' if value_json.boards else 'offline' }}";
    expect(listener.json("homeassistant/device/tts-ground-floor/config")).toMatchObject({
      components: { say: { availability: [{ topic: "tts/ground-floor/status", value_template }] } },
    });

    // it begins anew, and wants to hear it again
    const before = listener.all.length;
    await listener.client.publishAsync("homeassistant/status", "online", { qos: 1 });
    await eventually(() =>
      expect(listener.all.slice(before).map(({ topic }) => topic)).toContain(
        "homeassistant/device/tts-hall/config",
      ),
    );
  });

  test("a room that has had no board for a week is forgotten, also by Home Assistant", async () => {
    const { fleet, listener } = await setUp();
    await eventually(() =>
      expect(listener.heard.has("homeassistant/device/tts-ground-floor/config")).toBe(true),
    );
    const topic = "tts/ground-floor/status";
    const before = listener.heard.get(topic)!;
    fleet.present = [];
    await eventually(() => expect(listener.json(topic).state).toBe("empty"));
    await listener.client.publishAsync(topic, before, { qos: 1 }); // what was written before comes back late
    await eventually(() => expect(listener.heard.get(topic)).toBe(before));
    fleet.nowMs = () => Date.now() + 8 * 86_400_000;
    await eventually(() =>
      expect(listener.heard.get("homeassistant/device/tts-ground-floor/config")).toBe(""),
    );
    expect(listener.heard.get(topic)).toBe("");
    expect(listener.json("tts/all/status").state).toBe("empty");
  });

  test("without discovery nothing is told to Home Assistant", async () => {
    const listener = await Listener.open(server.port, "other/#");
    const states = await Listener.open(server.port, "tts/#");
    await openBridge(new PlayedFleet({ attic: ["hall"] }), server.port, { discovery: "" });
    await eventually(() => expect(states.json("tts/hall/status").state).toBe("ready"));
    await closeAll();
    const again = await Listener.open(server.port, "other/#");
    await openBridge(new PlayedFleet({ attic: ["hall"] }), server.port, { discovery: "other" });
    await eventually(() => expect(again.heard.has("other/device/tts-hall/config")).toBe(true));
    expect([listener.heard.size, lines]).toEqual([0, []]);
  });
});
