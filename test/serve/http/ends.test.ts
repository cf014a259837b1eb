// How speeches and servers end: clients that vanish or do not read, failures before and after the first
// sound, and a server that is told to end.

import { describe, expect, test } from "bun:test";
import { connect as connectSocket } from "node:net";
import { join } from "node:path";
import { TtsError } from "../../../src/errors.ts";
import { failureOf, patient, scratchFolder } from "../../_support.ts";
import { ENDLESS, post, scripted, serveEngine, stopAfterAll } from "./_server.ts";

stopAfterAll();
const PCM = { input: "a", response_format: "pcm" };

async function until(is: () => boolean, withinMs = 2_000): Promise<void> {
  for (let waitedMs = 0; !is() && waitedMs < patient(withinMs); waitedMs += 5) await Bun.sleep(5);
  expect(is()).toBe(true);
}

describe("a client that goes", () => {
  test("while it hears the speech, ends it", async () => {
    const engine = await scripted({ pieces: ENDLESS, everyMs: 5 });
    const { service, url } = serveEngine(engine);
    for (const fields of [PCM, { ...PCM, stream_format: "sse" }]) {
      const abort = new AbortController();
      const response = await post(url, fields, { signal: abort.signal });
      const before = engine.cancelled;
      expect(service.load).toEqual({ sounding: 1, waiting: 0 });
      abort.abort();
      await until(() => engine.cancelled > before && service.load.sounding === 0);
      await response.body?.cancel().catch(() => {});
    }
  });

  test("while it waits, too", async () => {
    const engine = await scripted({ everyMs: 60_000 });
    const { service, url } = serveEngine(engine);
    const abort = new AbortController();
    const asked = post(url, PCM, { signal: abort.signal }).catch(() => null);
    await until(() => service.load.waiting === 1);
    abort.abort();
    await asked;
    await until(() => engine.cancelled === 1);
  });
});

describe("a client that does not read", () => {
  const request = `${JSON.stringify(PCM)}`;
  const head = `POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${request.length}\r\n\r\n`;

  test("is waited for, and nothing piles up; after a while it loses the speech", async () => {
    const engine = await scripted({ pieces: ENDLESS });
    const { service, url } = serveEngine(engine, { limits: { stallMs: 400 } });
    const socket = connectSocket(Number(new URL(url).port), "127.0.0.1");
    socket.pause();
    socket.on("error", () => {});
    socket.write(head + request);
    let seen = -1;
    await until(() => {
      const isStill = engine.pulled > 0 && engine.pulled === seen;
      seen = engine.pulled;
      return isStill;
    });
    // what the system keeps of a connection
    expect(engine.pulled * 3_840).toBeLessThan(20e6);
    // others are not held up
    const other = await post(serveEngine(await scripted({})).url, PCM);
    expect((await other.arrayBuffer()).byteLength).toBe(2 * 3_840);
    await until(() => engine.cancelled === 1 && service.load.sounding === 0);
    socket.destroy();
  });

  test("over a WebSocket, too", async () => {
    const engine = await scripted({ pieces: ENDLESS });
    const { url } = serveEngine(engine, { limits: { stallMs: 400 } });
    const socket = connectSocket(Number(new URL(url).port), "127.0.0.1");
    socket.on("error", () => {});
    socket.write(
      "GET /v1/audio/speech/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    await new Promise((resolve) => socket.once("data", resolve));
    socket.pause();
    for (const message of ['{"type":"start"}', '{"type":"text","text":"a"}', '{"type":"end"}'])
      socket.write(frame(message));
    await until(() => engine.cancelled === 1);
    expect(engine.pulled * 3_840).toBeLessThan(20e6);
    socket.destroy();
  });
});

/** A text as a client sends it: masked, here with zeros. */
const frame = (text: string) =>
  Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)]);

describe("a failure", () => {
  const died = new TtsError("STAGE_DIED", "the talker ended");
  const unexpected = new Error("ENOENT: /home/someone/secret");

  test("after the first sound breaks the connection off", async () => {
    const { service, url } = serveEngine(await scripted({ failure: died, everyMs: 10 }));
    const response = await post(url, PCM);
    expect(response.status).toBe(200);
    await expect(response.arrayBuffer()).rejects.toThrow();
    await until(() => service.counts.ended.get("STAGE_DIED") === 1);
  });

  test("is the last of the events", async () => {
    const { url, warnings } = serveEngine(await scripted({ failure: unexpected }));
    const events = (await (await post(url, { ...PCM, stream_format: "sse" })).text()).trimEnd().split("\n\n");
    const last = JSON.parse(events.at(-1)!.slice("data: ".length));
    const message = "the server failed; its log says why";
    expect(last).toEqual({
      type: "error",
      error: { message, type: "server_error", param: null, code: "internal" },
    });
    expect(warnings).toEqual(["ENOENT: /home/someone/secret"]);
  });

  test("before the first sound has its status, and tells no path", async () => {
    const passing = await post(serveEngine(await scripted({ pieces: [], failure: died })).url, PCM);
    expect([passing.status, passing.headers.get("retry-after")]).toEqual([503, "2"]);
    const failed = await post(serveEngine(await scripted({ pieces: [], failure: unexpected })).url, PCM);
    expect([failed.status, (await failed.text()).includes("home")]).toEqual([500, false]);
    const silent = await post(serveEngine(await scripted({ pieces: [] })).url, PCM);
    expect([silent.status, await silent.json()]).toMatchObject([400, { error: { code: "text_empty" } }]);
  });
});

describe("a server that ends", () => {
  test("lets a speech finish, and takes nothing more on", async () => {
    const engine = await scripted({ pieces: new Array(10).fill(1_920), everyMs: 20 });
    const { server, service, url } = serveEngine(engine);
    const response = await post(url, PCM);
    const ended = Promise.all([service.end(), server.stop()]);
    expect((await response.arrayBuffer()).byteLength).toBe(10 * 3_840);
    await ended;
    await expect(fetch(`${url}/health`)).rejects.toThrow();
  });

  test("lets that of a WebSocket finish, too", async () => {
    const { server, service, url } = serveEngine(
      await scripted({ pieces: new Array(10).fill(1_920), everyMs: 20 }),
    );
    const socket = new WebSocket(`${url.replace("http", "ws")}/v1/audio/speech/stream`);
    await new Promise((resolve) => socket.addEventListener("open", resolve));
    const done = new Promise((resolve) => {
      socket.onmessage = ({ data }) => {
        if (typeof data !== "string") return;
        const { type } = JSON.parse(data);
        if (type === "started") void Promise.all([service.end(), server.stop()]);
        if (type === "done") resolve(JSON.parse(data).stop);
      };
      socket.onclose = () => resolve("closed");
    });
    for (const message of [{ type: "start" }, { type: "text", text: "a" }, { type: "end" }])
      socket.send(JSON.stringify(message));
    expect(await done).toBe("eos");
  });

  test("does not wait for clients that say nothing", async () => {
    const { server, service, url } = serveEngine(await scripted({}));
    await (await fetch(`${url}/health`)).text();
    const socket = new WebSocket(`${url.replace("http", "ws")}/v1/audio/speech/stream`);
    await new Promise((resolve) => socket.addEventListener("open", resolve));
    const closed = new Promise((resolve) => socket.addEventListener("close", resolve));
    const startMs = performance.now();
    await Promise.all([service.end(), server.stop()]);
    await closed;
    expect(performance.now() - startMs).toBeLessThan(patient(1_000));
  });

  test("breaks off what takes longer, as no client may take it for whole", async () => {
    const { server, service, url } = serveEngine(await scripted({ pieces: ENDLESS, everyMs: 5 }));
    const response = await post(url, PCM);
    const heard = response.arrayBuffer().then(
      () => "whole",
      () => "broken off",
    );
    await service.end(50);
    expect(await heard).toBe("broken off");
    await server.stop();
  });
});

test("a port that is taken, and an address of another machine, are one line", async () => {
  const engine = await scripted({});
  const port = Number(new URL(serveEngine(engine).url).port);
  const taken = failureOf(() => serveEngine(engine, { port }));
  expect([taken.code, taken.exitStatus]).toEqual(["OUTPUT_FAILED", 5]);
  expect(taken.message).toBe(`cannot listen on 127.0.0.1:${port}: another program does`);
  const elsewhere = failureOf(() => serveEngine(engine, { host: "192.0.2.1", port: 8_080 }));
  expect(elsewhere.message).toBe("cannot listen on 192.0.2.1:8080: this machine has no such address");
});

test("a Unix socket serves as a port does, whatever the host is called", async () => {
  const socket = join(scratchFolder(), "http.sock");
  const { url } = serveEngine(await scripted({}), { socket } as object);
  expect(url).toBe(`unix:${socket}`);
  const response = await fetch("http://any.example/v1/audio/speech", {
    ...{ unix: socket, method: "POST", body: JSON.stringify(PCM) },
    headers: { "content-type": "application/json" },
  });
  expect((await response.arrayBuffer()).byteLength).toBe(2 * 3_840);
});
