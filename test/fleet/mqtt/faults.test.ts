// What goes wrong between bridges and Debian's mosquitto: connections that break, bridges that die, a broker
// that is away or refuses; every message is said once all the same.

import { afterEach, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { scratchFolder } from "../../_support.ts";
import { describeWith, TestServer } from "../_servers.ts";
import {
  closeAll,
  eventually,
  HOST,
  Listener,
  lines,
  openBridge,
  PlayedFleet,
  ready,
  Wire,
} from "./_bridge.ts";

/** Else mosquitto, started by root, cannot read the files of a test. */
const AS_ROOT = "user root\n";
const HALL = { attic: ["hall"], cellar: ["hall"] };
const FEW = Array.from({ length: 6 }, (_, i) => `late ${i}`);
const MANY = Array.from({ length: 20 }, (_, i) => `message ${i}`);

describeWith(["mosquitto"], "a bridge in trouble", () => {
  const servers: TestServer[] = [];
  const broker = async (options?: string) => {
    const server = await TestServer.mosquitto(options);
    servers.push(server);
    return server;
  };
  afterEach(async () => {
    await closeAll();
    await Promise.all(servers.splice(0).map((server) => server.kill()));
  });

  test("of two bridges one says each message, and the other says those of one that dies", async () => {
    const server = await broker();
    const wire = await Wire.open(server.port);
    const listener = await Listener.open(server.port);
    const [attic, cellar] = [new PlayedFleet(HALL), new PlayedFleet(HALL)];
    await openBridge(attic, server.port);
    await openBridge(cellar, wire.port, { name: "cellar" });
    await Promise.all([ready(listener), ready(listener, "cellar")]);
    const device = "homeassistant/device/tts-hall/config";
    const both = [{ topic: "tts/_bridge/attic" }, { topic: "tts/_bridge/cellar" }];
    await eventually(() => expect(listener.json(device).availability).toEqual(both));
    for (const [i, text] of MANY.entries()) await listener.say(i % 4 < 2 ? "hall" : "all", text);
    await eventually(() => expect(attic.texts.length + cellar.texts.length).toBe(MANY.length));
    expect([...attic.texts, ...cellar.texts].toSorted()).toEqual(MANY.toSorted());
    expect(Math.min(attic.texts.length, cellar.texts.length)).toBeGreaterThan(5);

    // the broker has given some of them to the one that has gone
    wire.loses = "everything";
    for (const [i, text] of FEW.entries()) await listener.say(i % 4 < 2 ? "hall" : "all", text);
    await eventually(() => expect(attic.texts.length).toBeGreaterThan(MANY.length / 2));
    wire.isClosed = true;
    wire.cut();
    await eventually(() => expect(attic.texts.slice(-FEW.length).toSorted()).toEqual(FEW));
    expect(cellar.texts.length + attic.texts.length).toBe(MANY.length + FEW.length);
    expect(listener.heard.get("tts/_bridge/cellar")).toBe("offline");
    await eventually(() => expect(listener.json(device).availability).toEqual(both.slice(0, 1)));
  });

  test("a message that the broker gives again, because it has heard no receipt, is said once", async () => {
    const server = await broker();
    const wire = await Wire.open(server.port);
    const listener = await Listener.open(server.port);
    const fleet = new PlayedFleet(HALL);
    await openBridge(fleet, wire.port);
    await ready(listener);
    wire.loses = "answers";
    await listener.say("hall", "Once.");
    await eventually(() => expect(fleet.texts).toEqual(["Once."]));
    wire.cut();
    await eventually(() => expect(listener.heard.get("tts/_bridge/attic")).toBe("offline"));
    await listener.say("hall", "Meanwhile.");
    wire.loses = "nothing";
    await ready(listener);
    await listener.say("hall", "Once.");
    await eventually(() => expect(fleet.texts).toEqual(["Once.", "Meanwhile.", "Once."]));
  });

  test("a broker that is killed and comes back is waited for, in two lines", async () => {
    const server = await broker();
    const fleet = new PlayedFleet({ attic: ["hall"] });
    const bridge = await openBridge(fleet, server.port);
    const before = await Listener.open(server.port);
    await ready(before);
    await before.say("hall", "Before.");
    await eventually(() => expect(before.outcome("hall").outcome).toBe("accepted"));
    await server.kill();
    await eventually(() => expect(lines.length).toBe(1));
    const rooms = ["hall"];
    bridge.hear({
      ...{ id: "id-000001", rooms, reason: "", seconds: 1, lateMs: 0, at: 0 },
      board: "attic",
      what: "said",
    });
    await server.start();
    const listener = await Listener.open(server.port);
    await ready(listener);
    const url = `mqtt://${HOST}:${server.port}`;
    expect(lines).toEqual([`the broker at ${url} has gone; waiting for it`, `the broker at ${url} is there`]);
    // it has lost everything, and what boards said meanwhile
    await eventually(() => expect(listener.outcome("hall").outcome).toBe("said"));
    await eventually(() => expect(listener.json("tts/hall/status").state).toBe("ready"));
    await listener.say("hall", "Again.");
    await eventually(() => expect(fleet.texts).toEqual(["Before.", "Again."]));
  });

  test("a broker that is not there yet is waited for, and a bridge ends without it", async () => {
    const server = await broker();
    await server.kill();
    await openBridge(new PlayedFleet(HALL), server.port);
    expect(lines).toEqual([expect.stringMatching(/ does not answer \(.*ECONNREFUSED.*\); waiting for it$/)]);
    await closeAll();
  });

  test("a wrong password is refused at once; one that is changed later is told once, and tried again", async () => {
    const folder = (await broker()).folder;
    const passwords = join(folder, "passwords");
    const setPassword = (password: string) => {
      Bun.spawnSync(["mosquitto_passwd", "-c", "-b", passwords, "anna", password]);
    };
    setPassword("secret-1");
    const server = await broker(`${AS_ROOT}allow_anonymous false\npassword_file ${passwords}`);
    const fleet = new PlayedFleet(HALL);
    const settings = { user: "anna", password: "secret-2" };
    const url = `mqtt://${HOST}:${server.port}`;
    const refusal = `the broker at ${url} does not let us in; check {mqtt} with its user and password`;
    await expect(openBridge(fleet, server.port, { settings })).rejects.toMatchObject({
      code: "FLEET_REFUSED",
      message: `the broker at ${url} does not let us in`,
    });
    expect(lines).toEqual([]);
    await openBridge(fleet, server.port, { settings: { ...settings, password: "secret-1" } });
    setPassword("secret-3");
    await server.kill();
    await server.start();
    await eventually(() => expect(lines.at(-1)).toBe(`${refusal}; trying again`));
    expect(lines.join()).not.toContain("secret");
  });

  test("what is no broker of MQTT 5 is said so", async () => {
    const answers = { http: "HTTP/1.1 400 Bad Request\r\n\r\n", old: "\x20\x02\x00\x01" };
    const refusals = Object.values(answers).map(async (answer) => {
      const server = Bun.listen({
        ...{ hostname: HOST, port: 0 },
        socket: { data: (socket) => void socket.end(Buffer.from(answer, "latin1")) },
      });
      const { message } = await openBridge(new PlayedFleet(HALL), server.port).catch((error) => error);
      server.stop(true);
      return message;
    });
    expect(await Promise.all(refusals)).toEqual([
      expect.stringMatching(/does not speak MQTT \(.*\)$/),
      expect.stringMatching(/does not speak MQTT 5$/),
    ]);
  });

  test("a bridge without the hub says that it is not there, and leaves the messages to the other", async () => {
    const server = await broker();
    const listener = await Listener.open(server.port);
    const [attic, cellar] = [new PlayedFleet(HALL), new PlayedFleet(HALL)];
    await openBridge(attic, server.port);
    await openBridge(cellar, server.port, { name: "cellar" });
    await Promise.all([ready(listener), ready(listener, "cellar")]);
    attic.isThere = false;
    await eventually(() => expect(listener.heard.get("tts/_bridge/attic")).toBe("offline"));
    for (const text of FEW) await listener.say("hall", text);
    await eventually(() => expect(cellar.texts).toEqual(FEW));
    expect(attic.texts).toEqual([]);
    attic.isThere = true;
    await ready(listener);
  });

  test("a broker that lets a bridge in, but not write, is named in a line", async () => {
    const acl = join((await broker()).folder, "acl");
    writeFileSync(acl, "topic read #\ntopic write tts/hall/say\n");
    const server = await broker(`${AS_ROOT}allow_anonymous true\nacl_file ${acl}`);
    await openBridge(new PlayedFleet(HALL), server.port, { discovery: "" });
    const start = `the broker at mqtt://${HOST}:${server.port} does not let us write to `;
    await eventually(() =>
      expect(lines).toContain(`${start}tts/_bridge/attic: Publish error: Not authorized`),
    );
  });
});

describeWith(["mosquitto", "openssl"], "a bridge over TLS", () => {
  afterEach(closeAll);

  test("trusts the authority that is named, and no other", async () => {
    const folder = scratchFolder();
    const [key, certificate] = [join(folder, "mqtt-key.pem"), join(folder, "mqtt-cert.pem")];
    const names = ["-subj", "/CN=localhost", "-addext", `subjectAltName=IP:${HOST}`];
    const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    Bun.spawnSync(["openssl", "req", "-x509", ...kind, "-keyout", key, "-out", certificate, ...names]);
    const server = await TestServer.mosquitto(
      `${AS_ROOT}allow_anonymous true\ncertfile ${certificate}\nkeyfile ${key}`,
    );
    const url = `mqtts://${HOST}:${server.port}`;
    const fleet = new PlayedFleet(HALL);
    await expect(openBridge(fleet, server.port, { settings: { url } })).rejects.toMatchObject({
      code: "FLEET_REFUSED",
      hint: "give its authority as ca in config.json",
    });
    await openBridge(fleet, server.port, { settings: { url, ca: certificate } });
    await closeAll();
    await server.kill();
  });
});
