// tts serve as a user runs it: its ports, what it refuses, its token, and how it ends. Real processes.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { bundleOf, patient, ROOT, scratchFolder } from "../_support.ts";

const LONG = "Please close the windows and turn off the lights. ".repeat(40);
const STARTER = bundleOf("starter").directory;

const isThere = (pid: number) => {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
};

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await Bun.sleep(10);
}

class Server {
  stderr = "";
  readonly exited: Promise<number | null>;
  private readonly child: ChildProcess;

  /** @param inherited files of sockets, as systemd hands them over */
  constructor(args: readonly string[], more: Record<string, string> = {}, inherited: number[] = []) {
    const env = { PATH: process.env.PATH, TTS_CACHE: join(scratchFolder(), "cache"), ...more };
    const place = inherited.length > 0 ? [] : ["--port", "0"];
    const all = [process.execPath, join(ROOT, "tts.ts"), "serve", "-m", STARTER, ...place, ...args];
    this.child = spawn("bash", ["-c", 'LISTEN_PID=$$ exec "$@"', "bash", ...all], {
      env,
      stdio: ["ignore", "ignore", "pipe", ...inherited],
    });
    this.child.stderr!.on("data", (chunk) => {
      this.stderr += chunk;
    });
    this.exited = new Promise((resolve) => this.child.on("close", resolve));
    started.push(this);
  }

  static async start(args: readonly string[] = [], more: Record<string, string> = {}): Promise<Server> {
    const server = new Server(args, more);
    await until(() => /^ready: |^tts: /m.test(server.stderr));
    return server;
  }

  get pid(): number {
    return this.child.pid!;
  }

  get url(): string {
    return /^ready: (http:\S+), model starter$/m.exec(this.stderr)![1];
  }

  /** Its children. */
  engines(): number[] {
    return readFileSync(`/proc/${this.pid}/task/${this.pid}/children`, "utf8").trim().split(" ").map(Number);
  }

  speak(input: string, given: { headers?: Record<string, string>; signal?: AbortSignal } = {}) {
    return fetch(`${this.url}/v1/audio/speech`, {
      method: "POST",
      body: JSON.stringify({ model: "starter", voice: "alloy", input, response_format: "pcm", seed: 1 }),
      ...given,
      headers: { "content-type": "application/json", ...given.headers },
    });
  }

  end(signal: NodeJS.Signals): Promise<number | null> {
    this.child.kill(signal);
    return this.exited;
  }
}

const started: Server[] = [];
afterAll(() => Promise.all(started.map((server) => server.end("SIGKILL"))));

const token = { authorization: "Bearer a-token" };
let server: Server;
beforeAll(async () => {
  server = await Server.start(["--wyoming-port", "0"], { TTS_TOKEN: "a-token" });
});

test("names every port when the model is open, asks for the token, and has a page", async () => {
  expect(server.stderr).toMatch(/^ready: http:\/\/127\.0\.0\.1:\d+, model starter\n/);
  expect(server.stderr).toMatch(/^ready: tcp:\/\/127\.0\.0\.1:\d+, model starter$/m);
  expect(await (await fetch(server.url)).text()).toStartWith("<!doctype html>");
  expect((await server.speak("Yes.")).status).toBe(401);
  const answer = await server.speak("Yes.", { headers: token });
  expect([answer.status, (await answer.bytes()).length > 10_000]).toEqual([200, true]);
});

test("the process with the ports loads no library of a model", () => {
  const libraries = /libllama|onnxruntime/;
  expect(readFileSync(`/proc/${server.pid}/maps`, "utf8")).not.toMatch(libraries);
  const [engine] = server.engines();
  expect(readFileSync(`/proc/${engine}/maps`, "utf8")).toMatch(libraries);
});

test("an engine that is killed costs its speeches; others are asked to come again", async () => {
  const sound = async () => (await server.speak("Dinner is ready.", { headers: token })).bytes();
  const expected = await sound();
  const cut = await server.speak(LONG, { headers: token });
  const [engine] = server.engines();
  process.kill(engine, "SIGKILL");
  await expect(cut.bytes()).rejects.toThrow();
  const refused = await server.speak("Yes.", { headers: token });
  expect([refused.status, Number(refused.headers.get("retry-after")) > 0]).toEqual([503, true]);
  const killedMs = performance.now();
  await until(() => /^the engine is back/m.test(server.stderr));
  expect(performance.now() - killedMs).toBeLessThan(patient(10_000));
  expect(await sound()).toEqual(expected);
});

describe("a signal", () => {
  test("lets what sounds finish, takes nothing more on, and ends with status 0", async () => {
    const one = await Server.start();
    const whole = await (await one.speak("Dinner is ready. Come to the table.")).bytes();
    const [engine] = one.engines();
    const sounds = await one.speak("Dinner is ready. Come to the table.");
    const ended = one.end("SIGTERM");
    expect(await sounds.bytes()).toEqual(whole);
    expect(await ended).toBe(0);
    await until(() => !isThere(engine));
    expect(one.stderr).toEndWith("\nending: what sounds may finish\n");
  });

  test("that comes a second time ends it at once", async () => {
    const one = await Server.start();
    const [engine] = one.engines();
    const stalled = await one.speak(LONG); // nobody reads it
    expect(stalled.status).toBe(200);
    process.kill(one.pid, "SIGINT");
    await until(() => one.stderr.includes("ending"));
    const startMs = performance.now();
    expect(await one.end("SIGINT")).toBe(130);
    expect(performance.now() - startMs).toBeLessThan(patient(2_000));
    await until(() => !isThere(engine));
  });
});

test("no engine is left behind by a server that is killed", async () => {
  const one = await Server.start();
  const [engine] = one.engines();
  expect(isThere(engine)).toBe(true);
  await one.end("SIGKILL");
  await until(() => !isThere(engine));
});

describe("sockets that were opened before", () => {
  /** A socket that nobody has taken a connection of. */
  const listening = async (host: string) => {
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(0, host, resolve));
    const { _handle } = holder as unknown as { _handle: { fd: number } };
    const { port } = holder.address() as AddressInfo;
    return { fd: _handle.fd, port, release: () => holder.close() };
  };

  test("are served, and who connects before the model is open waits", async () => {
    const [http, wyoming] = [await listening("127.0.0.1"), await listening("127.0.0.1")];
    const names = { LISTEN_FDS: "2", LISTEN_FDNAMES: "http:wyoming" };
    const one = new Server([], names, [http.fd, wyoming.fd]);
    for (const { release } of [http, wyoming]) release();
    const url = `http://127.0.0.1:${http.port}`;
    expect(await (await fetch(`${url}/health`)).json()).toMatchObject({ status: "ready" });
    await until(() => one.stderr.includes("ready: tcp"));
    expect(one.stderr).toBe(
      `ready: ${url}, model starter\nready: tcp://127.0.0.1:${wyoming.port}, model starter\n`,
    );
    expect((await (await one.speak("Yes.")).bytes()).length).toBeGreaterThan(10_000);
    const other = await fetch(`${url}/health`, { headers: { host: "elsewhere.example" } });
    expect(other.status).toBe(403); // as on a port of its own
    const left = await one.speak(LONG);
    await left.body!.cancel();
    const idle = async () => /"sounding":0/.test(await (await fetch(`${url}/health`)).text());
    while (!(await idle())) await Bun.sleep(10);
    expect(await one.end("SIGTERM")).toBe(0);
  });

  test("that other machines reach need a token, too", async () => {
    const http = await listening("0.0.0.0");
    const one = new Server([], { LISTEN_FDS: "1" }, [http.fd]);
    http.release();
    expect(await one.exited).toBe(2);
    expect(one.stderr).toMatch(/^tts: other machines reach 0\.0\.0\.0, and no token is set; /);
  });
});

describe("what cannot be served is one line:", () => {
  const file = (text: string) => {
    const path = join(scratchFolder(), `token-${readdirSync(scratchFolder()).length}`);
    writeFileSync(path, text);
    return path;
  };
  const port = () => new URL(server.url).port;
  const none = /^tts: other machines reach 0\.0\.0\.0, and no token is set; set TTS_TOKEN/;
  const wyoming = /^tts: other machines reach ::, and Wyoming knows no token; add --no-auth/;
  const socket = ["--wyoming-port", "0", "--wyoming-socket", "/tmp/x"];
  test.each<[string, number, RegExp, () => string[]]>([
    [
      "a port that is taken",
      5,
      /^tts: cannot listen on 127\.0\.0\.1:\d+: another program/,
      () => ["--port", port()],
    ],
    ["other machines without a token", 2, none, () => ["--host", "0.0.0.0"]],
    ["Wyoming for other machines", 2, wyoming, () => ["--wyoming-port", "0", "--wyoming-host", "::"]],
    ["two places for Wyoming", 2, /both --wyoming-port and --wyoming-socket/, () => socket],
    ["a host without a port", 2, /--wyoming-host is given without/, () => ["--wyoming-host", "::1"]],
    ["a port beyond ports", 2, /--port is 65536/, () => ["--port", "65536"]],
    ["a path as an origin", 2, /--cors names "https:\/\/a\/b"/, () => ["--cors", "https://a,https://a/b"]],
    ["no places", 2, /--places is 0/, () => ["--places", "0"]],
    ["an empty token", 2, /holds no token/, () => ["--token-file", file("\n")]],
    ["a token of two words", 2, /holds more than a token/, () => ["--token-file", file("a b")]],
    [
      "a token that is not there",
      2,
      /cannot read \/none: there is no such file/,
      () => ["--token-file", "/none"],
    ],
    ["a name without Wyoming", 2, /--zeroconf is given without Wyoming/, () => ["--zeroconf"]],
    ["what is for stages", 2, /^tts: --stage needs --sockets DIR/, () => ["--stage", "talker"]],
    ["a model that is not there", 3, /no-such-model/, () => ["-m", "no-such-model"]],
  ])("%s", async (_what, status, line, args) => {
    const failed = new Server(args());
    expect([await failed.exited, failed.stderr]).toEqual([status, expect.stringMatching(line)]);
    expect(failed.stderr.trimEnd().split("\n").length).toBe(1);
  });
});
