// tts join as a bridge, with a real hub and a real broker: from a message to the player and back.

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { chmodSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { newFolder, shell } from "../../cli/_tts.ts";
import { describeWith, TestServer } from "../_servers.ts";
import { closeAll, eventually, HOST, Listener, ready } from "./_bridge.ts";

describeWith(["nats-server", "mosquitto"], "tts join --mqtt", () => {
  let [hub, broker]: TestServer[] = [];
  let folder = "";
  beforeAll(async () => {
    [hub, broker, folder] = [await TestServer.nats(), await TestServer.mosquitto(), newFolder()];
    writeFileSync(join(folder, "player"), `#!/bin/sh\ncat >${folder}/played\n`);
    chmodSync(join(folder, "player"), 0o755);
  });
  afterEach(closeAll);
  afterAll(() => Promise.all([hub.kill(), broker.kill()]));

  const board = (more: string) =>
    shell(`exec $TTS join -m "$STARTER" --fleet nats://${HOST}:${hub.port} --name attic ${more}`, folder);

  test("speaks what is said to its room, and tells that it has", async () => {
    const listener = await Listener.open(broker.port);
    const url = `mqtt://anna:secret@${HOST}:${broker.port}`;
    const running = board(`--rooms hall --player ./player --mqtt ${url} & echo $! >pid; wait $!`);
    await ready(listener);
    await eventually(() => expect(listener.json("tts/hall/status").boards).toEqual(["attic"]));
    await listener.say("hall", { text: "Dinner is ready.", id: "mine" });
    await eventually(() => expect(listener.outcome("hall")).toMatchObject({ outcome: "said", id: "mine" }));
    expect(statSync(join(folder, "played")).size).toBeGreaterThan(24_000);

    await hub.kill();
    await eventually(() => expect(listener.heard.get("tts/_bridge/attic")).toBe("offline"));
    await listener.say("hall", "Is anybody there?");
    await eventually(() => expect(listener.outcome("hall").reason).toMatch(/^the hub at .*; /));
    await hub.start();
    await ready(listener);
    await listener.say("hall", { text: "Dinner is over.", id: "after" });
    await eventually(() => expect(listener.outcome("hall")).toMatchObject({ outcome: "said", id: "after" }));

    await shell("kill $(cat pid)", folder);
    const { status, stderr } = await running;
    expect([status, stderr.includes("secret")]).toEqual([0, false]);
    expect(stderr).toContain(`MQTT mqtt://${HOST}:${broker.port}`);
    await eventually(() => expect(listener.heard.get("tts/_bridge/attic")).toBe("offline"));
  });

  test("a broker that refuses is status 7, and an address that is none status 2", async () => {
    const strict = await TestServer.mosquitto("allow_anonymous false");
    const refused = await board(`--play-only --mqtt mqtt://anna:secret@${HOST}:${strict.port}`);
    expect([refused.status, refused.stderr]).toEqual([
      7,
      `tts: the broker at mqtt://${HOST}:${strict.port} does not let us in; check --mqtt with its user and password\n`,
    ]);
    const wrong = await board("--mqtt http://anna:50%@broker");
    expect([wrong.status, wrong.stderr]).toEqual([
      2,
      'tts: "http://…@broker" is no address of a server; give --mqtt such as mqtt://broker:1883, or mqtts://broker:8883\n',
    ]);
    expect(await board("--mqtt-discovery 'home/#'")).toMatchObject({
      status: 2,
      stderr: 'tts: --mqtt-discovery is "home/#"; give the start of a topic, such as homeassistant, or off\n',
    });
    await strict.kill();
  });
});
