// Connections to the Wyoming server: half-open, malformed, slow and too many ones, its places, and its end.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { type Engine, open } from "../../../src/engine.ts";
import { serveWyoming, type Where } from "../../../src/serve/wyoming/index.ts";
import { bundleOf, patient, ROOT, rejectionOf, scratchFolder } from "../../_support.ts";
import { bytesOf, Client, soundOf, typesOf } from "./_client.ts";
import { endAll, serve } from "./_server.ts";

const SHORT = "Dinner is ready.";
const LONG = "Please close the windows and turn off the lights. ".repeat(8);
const quietly = { info() {}, warn() {}, debug() {} };

let engine: Engine;
beforeAll(async () => {
  engine = await open({ model: bundleOf("starter").directory, greedy: true });
});
afterAll(() => engine.close());
afterEach(endAll);

test("a client that sends no more is still answered, whole", async () => {
  const served = await serve(engine);
  const one = await served.client();
  one.socket.end(Buffer.concat([bytesOf("describe"), bytesOf("synthesize", { text: SHORT })]));
  expect(typesOf(await one.toTheEnd())).toEqual(["info", "audio-start", "audio-chunk", "audio-stop"]);
});

test("a client that sends a stream and no more is answered with one group", async () => {
  const served = await serve(engine);
  const one = await served.client();
  const stream = [bytesOf("synthesize-start", {}), bytesOf("synthesize-chunk", { text: SHORT })];
  one.socket.end(Buffer.concat([...stream, bytesOf("synthesize-stop")]));
  const types = (await one.toTheEnd()).map(({ type }) => type).filter((type) => type !== "audio-chunk");
  expect(types).toEqual(["audio-start", "audio-stop", "synthesize-stopped"]);
});

test("an exchange may be cut at every byte", async () => {
  const served = await serve(engine);
  const bytes = Buffer.concat([bytesOf("ping", { text: "Ä☃" }), bytesOf("describe")]);
  for (const cut of bytes.keys()) {
    const one = await served.client();
    one.write(bytes.subarray(0, cut));
    await Bun.sleep(1);
    const heard = await one.write(bytes.subarray(cut)).until("info");
    expect([cut, heard[0].data.text, ...typesOf(heard)]).toEqual([cut, "Ä☃", "pong", "info"]);
    one.leave();
  }
});

test("what is no event is refused, and others are served", async () => {
  const served = await serve(engine);
  for (const bytes of [
    "\n",
    "GET / HTTP/1.1\r\n\r\n",
    '{"type":"describe","data_length":1e12}\n',
    "x".repeat(70_000),
  ]) {
    const one = await served.client();
    expect(await one.write(bytes).toTheEnd()).toMatchObject([
      { type: "error", data: { code: "request-invalid" } },
    ]);
  }
  const [info] = await (await served.client()).say("describe").until("info");
  expect(info.type).toBe("info");
});

test("a client that does not read holds nobody up, and gets all once it reads", async () => {
  const served = await serve(engine);
  const slow = await served.client();
  slow.socket.pause();
  slow.say("synthesize", { text: LONG });
  const quick = await served.client();
  expect(typesOf(await quick.say("synthesize", { text: SHORT }).until("audio-stop"))).toContain("audio-stop");
  for (let i = 0; i < 20_000; i++) if (!slow.socket.write(bytesOf("describe"))) break;
  slow.socket.resume();
  expect(soundOf(await slow.until("audio-stop")).length).toBeGreaterThan(24_000 * 2 * 10);
});

test("connections are bounded; a place is free when one ends, or was idle for long", async () => {
  const patienceMs = patient(300);
  const served = await serve(engine, { limits: { connections: 3, patienceMs } });
  const all = [await served.client(), await served.client(), await served.client()];
  const isIn = async () => {
    const one = await served.client();
    const [first] = await one.say("describe").until("info");
    all.push(one);
    return first.type === "info" || first.data.text;
  };
  await all[2].say("describe").until("info");
  expect(await isIn()).toBe("too many connections");
  all[0].leave();
  await Bun.sleep(50);
  expect(await isIn()).toBe(true);
  expect(await isIn()).toBe("too many connections");
  await Bun.sleep(patienceMs);
  expect(await isIn()).toBe(true);
  expect(await all[1].next()).toBeNull();
  for (const one of all) one.leave();
});

test("who says nothing, leaves a stream open or does not read is sent away, and holds no place", async () => {
  const served = await serve(engine, { limits: { idleMs: 300, stallMs: 300, sweepMs: 20 } });
  const [idle, open, deaf] = [await served.client(), await served.client(), await served.client()];
  open.say("synthesize-start", {}).say("synthesize-chunk", { text: "Dinner is" });
  deaf.socket.pause();
  deaf.say("synthesize", { text: LONG.repeat(20) });
  expect(await idle.toTheEnd()).toEqual([]);
  expect((await open.toTheEnd()).at(-1)).toMatchObject({ type: "error", data: { code: "ended" } });
  for (let i = 0; i < 1_000 && served.service.load.sounding + served.service.load.waiting > 0; i++)
    await Bun.sleep(20);
  expect(served.service.load).toEqual({ sounding: 0, waiting: 0 });
  deaf.leave();
});

test("a full server says so, and still describes itself", async () => {
  const served = await serve(engine, { places: 1 });
  const [one, two] = [await served.client(), await served.client()];
  await one.say("synthesize", { text: LONG }).until("audio-chunk");
  expect(await two.say("describe").say("synthesize", { text: SHORT }).toTheEnd()).toMatchObject([
    { type: "info" },
    { type: "error", data: { code: "busy" } },
  ]);
  one.leave();
});

test("at its end what sounds is finished, and nobody new comes in", async () => {
  const served = await serve(engine);
  const [one, idle] = [await served.client(), await served.client()];
  await idle.say("describe").until("info");
  one.say("synthesize", { text: SHORT });
  await one.until("audio-chunk");
  const stopped = served.server.stop();
  expect(await idle.next()).toBeNull();
  expect((await one.toTheEnd()).at(-1)!.type).toBe("audio-stop");
  await stopped;
  expect(await Client.to(served.server).catch(({ code }) => code)).toBe("ECONNREFUSED");
});

describe("a place", () => {
  const refusal = async (where: Where) => {
    const { service } = await serve(engine);
    return await rejectionOf(serveWyoming(service, where, { tell: quietly }));
  };

  test("that is taken, or cannot be, is named in one line", async () => {
    const { port } = (await serve(engine)).server;
    expect(await refusal({ host: "127.0.0.1", port })).toMatchObject({
      code: "OUTPUT_FAILED",
      inOneLine: `cannot serve Wyoming on tcp://127.0.0.1:${port}: another program has it; end that program, or choose another`,
    });
    expect((await refusal({ host: "192.0.2.77", port: 0 })).message).toContain("no such address");
    const path = join(scratchFolder(), "nowhere", "wyoming.sock");
    expect((await refusal({ socket: path })).message).toContain("its folder does not exist");
  });

  test("may be a Unix socket, also one that a killed server left, but not that of a living one", async () => {
    const path = join(scratchFolder(), "wyoming.sock");
    const dead = Bun.spawnSync([
      process.execPath,
      "-e",
      `require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 9))`,
    ]);
    expect([dead.signalCode, existsSync(path)]).toEqual(["SIGKILL", true]);
    const { service } = await serve(engine);
    const server = await serveWyoming(service, { socket: path }, { tell: quietly });
    expect(server.where).toBe(`unix://${path}`);
    const one = await Client.to({ path });
    expect(typesOf(await one.say("synthesize", { text: SHORT }).until("audio-stop"))).toContain("audio-stop");
    expect((await refusal({ socket: path })).message).toContain("another program has it");
    await server.stop();
    expect(existsSync(path)).toBe(false);
  });

  test("may be a socket that a parent listens on", async () => {
    const given = createServer();
    await new Promise<void>((resolve) => given.listen(0, "127.0.0.1", resolve));
    const { fd } = (given as unknown as { _handle: { fd: number } })._handle;
    const source = (path: string) => JSON.stringify(join(ROOT, "src/serve", path));
    const program = `
      const [{ Service }, { serveWyoming }] = [await import(${source("service.ts")}), await import(${source("wyoming/index.ts")})];
      const service = new Service({ engine: null, close: async () => {} }, { voicesDir: "/nowhere" });
      await serveWyoming(service, { fd: 3 }, { tell: { info() {}, warn() {}, debug() {} } });`;
    const child = Bun.spawn([process.execPath, "-e", program], {
      stdio: ["ignore", "inherit", "inherit", fd],
    });
    const { port } = given.address() as { port: number };
    await new Promise((resolve) => given.close(resolve)); // the child has it, and is the only one
    const one = await Client.to({ port });
    expect(await one.say("describe").until("info")).toMatchObject([{ type: "info" }]);
    child.kill();
    await child.exited;
  });
});

test("the local network is not told of a server that only this machine can reach", async () => {
  const { told } = await serve(engine, { zeroconf: { name: "Here" } });
  expect(told).toEqual([
    "warn only this machine can reach the Wyoming server: the local network is not told of it",
  ]);
});
