// A hub for tests, on this machine: one repository behind the paths of huggingface.co, large files on a
// second host, and faults on demand.

import { afterAll, beforeAll, beforeEach, expect } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type HubConfig, loadConfig, loadHubConfig } from "../src/config.ts";
import { TtsError } from "../src/errors.ts";
import { modelFolder } from "../src/models/catalog.ts";
import { type PullOptions, pull } from "../src/models/pull.ts";
import { GOLDEN, patient, scratchFolder } from "./_support.ts";

/** What goes wrong with one answer. */
export interface Fault {
  /** Answers this instead. */
  status?: number;
  headers?: Record<string, string>;
  /** Cuts the connection after this many bytes of the body. */
  cutAfter?: number;
  /** Sends the whole file, whatever range was asked for. */
  ignoreRange?: boolean;
  /** Sends these bytes instead of the file's. */
  body?: Buffer;
  /** Bytes per 10 ms. */
  slow?: number;
  /** Sends nothing at all for this long. */
  silentMs?: number;
}

export interface Seen {
  host: "hub" | "cdn";
  path: string;
  range: string | null;
  authorization: string | null;
  /** Bytes of body that went out. */
  sent: number;
}

/** What the hub holds: a golden checkpoint. */
export const ID = "acme/tiny-custom";
export const SOURCE = join(GOLDEN, "tiny-custom");
/** The files that a pull asks for. */
export const NEEDED = [
  ...[
    "config.json",
    "generation_config.json",
    "merges.txt",
    "model.safetensors",
    "speech_tokenizer/config.json",
  ],
  ...["speech_tokenizer/model.safetensors", "tokenizer_config.json", "vocab.json"],
];
export const MAIN = "model.safetensors";
export const CODEC = "speech_tokenizer/model.safetensors";
export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
/** The token may go to the hub alone, and into no message. */
export const TOKEN = "hf_secret-of-the-tests";

/** A folder for pulled models that is still empty. */
export const newCache = () => mkdtempSync(join(scratchFolder(), "cache-"));

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
export const gitOid = (bytes: Buffer) =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
const isLarge = (path: string) => path.endsWith(".safetensors");

/** Where a pull puts the checkpoint. */
export const directoryOf = (cacheDir: string) => join(modelFolder(cacheDir, ID), COMMIT);

/** Bytes that an unfinished download of a file says it has. */
export const keptBytes = (path: string): number =>
  JSON.parse(readFileSync(`${path}.part.state`, "utf8")).done.reduce(
    (sum: number, bytes: number) => sum + bytes,
    0,
  );

/** The files of a golden checkpoint by their paths in it, without its golden outputs. */
export function filesOf(folder: string): Map<string, Buffer> {
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter(
    (name) => !name.startsWith("golden"),
  );
  return new Map(
    names
      .filter((name) => statSync(join(folder, name)).isFile())
      .map((name) => [name, readFileSync(join(folder, name))]),
  );
}

export class FakeHub {
  readonly seen: Seen[] = [];
  /** Asked before every answer; `count` is how often this path was asked for before. */
  fault: (request: {
    host: "hub" | "cdn";
    path: string;
    range: string | null;
    count: number;
  }) => Fault | null = () => null;
  private readonly servers: Server[];

  private constructor(
    readonly id: string,
    readonly files: Map<string, Buffer>,
  ) {
    const serve = (host: "hub" | "cdn") =>
      createServer((request, response) => void this.answer(host, request, response));
    this.servers = [serve("hub"), serve("cdn")];
  }

  /** The hub of `ID` for all tests of a file that calls this at its top. Each test starts without faults. */
  static duringTests(): FakeHub {
    const hub = new FakeHub(ID, filesOf(SOURCE));
    beforeAll(() => hub.listen());
    beforeEach(() => hub.reset());
    afterAll(() => hub.stop());
    return hub;
  }

  /** A hub for one test, which must stop it. */
  static async start(id: string, files: Map<string, Buffer>): Promise<FakeHub> {
    const hub = new FakeHub(id, files);
    await hub.listen();
    return hub;
  }

  private async listen(): Promise<void> {
    await Promise.all(
      this.servers.map((server) => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))),
    );
  }

  size(path: string): number {
    return this.files.get(path)!.length;
  }

  /** Expects the needed files in a cache, byte by byte, and nothing else. */
  expectWholeIn(cacheDir: string): void {
    expect(this.whatIsWrong(cacheDir)).toEqual([]);
  }

  /** Paths that should not be there, are missing, or differ from the hub's. */
  private whatIsWrong(cacheDir: string): string[] {
    const folder = modelFolder(cacheDir, this.id);
    const found = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) =>
      statSync(join(folder, name)).isFile(),
    );
    const expected = [".pulled.json", ...NEEDED].map((name) => `${COMMIT}/${name}`);
    const differs = NEEDED.filter((name) => {
      const path = join(folder, COMMIT, name);
      return !existsSync(path) || !readFileSync(path).equals(this.files.get(name)!);
    });
    return [
      ...found.filter((name) => !expected.includes(name)),
      ...expected.filter((name) => !found.includes(name)),
      ...differs,
    ];
  }

  get endpoint(): string {
    return this.address(0);
  }

  stop(): void {
    for (const server of this.servers) {
      server.closeAllConnections();
      server.close();
    }
  }

  /** Forgets what was seen and all faults. */
  reset(): void {
    this.seen.length = 0;
    this.fault = () => null;
  }

  /** Bytes of body that went out for a file. */
  sent(path: string): number {
    const paths = [`/cdn/${path}`, `/${this.id}/resolve/${COMMIT}/${path}`];
    return this.seen.filter((seen) => paths.includes(seen.path)).reduce((sum, { sent }) => sum + sent, 0);
  }

  private address(server: number): string {
    return `http://127.0.0.1:${(this.servers[server].address() as AddressInfo).port}`;
  }

  private async answer(
    host: "hub" | "cdn",
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const path = (request.url ?? "").split("?")[0];
    const [range, authorization] = [request.headers.range ?? null, request.headers.authorization ?? null];
    const count = this.seen.filter((seen) => seen.path === path && seen.host === host).length;
    const seen: Seen = { host, path, range, authorization, sent: 0 };
    this.seen.push(seen);
    const fault = this.fault({ host, path, range, count }) ?? {};
    if (fault.silentMs !== undefined) await sleep(fault.silentMs);
    if (fault.status !== undefined) return void response.writeHead(fault.status, fault.headers).end("no");
    const json = host === "hub" ? this.api(path) : null;
    if (json !== null)
      return void response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(json));
    const prefix = host === "hub" ? `/${this.id}/resolve/${COMMIT}/` : "/cdn/";
    const name = path.startsWith(prefix) ? path.slice(prefix.length) : "";
    const file = this.files.get(name);
    if (file === undefined) return void response.writeHead(404).end("no");
    if (host === "hub" && isLarge(name)) {
      return void response
        .writeHead(302, { location: `${this.address(1)}/cdn/${name}?signature=secret` })
        .end();
    }
    await this.send(request, response, file, fault, seen);
  }

  private api(path: string): unknown {
    const base = `/api/models/${this.id}`;
    if (path === `${base}/commits/main`)
      return [{ id: COMMIT, title: "", message: "", authors: [], date: "2026-01-22T00:00:00.000Z" }];
    if (path !== `${base}/tree/${COMMIT}`) return null;
    return [...this.files].map(([name, bytes]) => {
      const entry = { type: "file", path: name, size: bytes.length, oid: gitOid(bytes) };
      return isLarge(name)
        ? { ...entry, lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 135 } }
        : entry;
    });
  }

  private async send(
    request: IncomingMessage,
    response: ServerResponse,
    file: Buffer,
    fault: Fault,
    seen: Seen,
  ): Promise<void> {
    const content = fault.body ?? file;
    const etag = `"${sha256(content).slice(0, 16)}"`;
    const asked = fault.ignoreRange ? null : /^bytes=(\d+)-(\d+)$/.exec(seen.range ?? "");
    const ifRange = request.headers["if-range"];
    const ranged = asked !== null && (ifRange === undefined || ifRange === etag);
    const [from, to] = ranged
      ? [Number(asked[1]), Math.min(Number(asked[2]), content.length - 1)]
      : [0, content.length - 1];
    const headers: Record<string, string> = {
      etag,
      "content-length": String(to - from + 1),
      ...fault.headers,
    };
    if (ranged) headers["content-range"] = `bytes ${from}-${to}/${content.length}`;
    response.writeHead(ranged ? 206 : 200, headers);
    const body = content.subarray(from, to + 1);
    const end = Math.min(body.length, fault.cutAfter ?? body.length);
    const step = fault.slow ?? 65_536;
    for (let at = 0; at < end && !response.destroyed; at += step) {
      const block = body.subarray(at, Math.min(end, at + step));
      response.write(block);
      seen.sent += block.length;
      await sleep(fault.slow === undefined ? 0 : 10);
    }
    if (end < body.length) {
      await sleep(20); // what was written goes out first
      request.socket.destroy();
    } else response.end();
  }
}

/** Short waits, small pieces: the golden files are small, too. */
export const LIMITS = { pieceBytes: 300_000, backoffMs: 20, progressBytes: 100_000, stallMs: patient(1_000) };

/** What pulls from a hub, with the hub cache of other programs below `cacheDir`. */
export function clientOf(hub: FakeHub) {
  const hubConfig = (cacheDir: string, more: Partial<HubConfig> = {}): HubConfig => ({
    ...loadHubConfig({ HF_ENDPOINT: hub.endpoint, HF_HOME: join(cacheDir, "hf") }),
    ...more,
  });
  const fetchOnly = (cacheDir: string, more: Partial<PullOptions> = {}) => {
    const config = loadConfig({ cacheDir }, {});
    const options = { config, hub: hubConfig(cacheDir), model: ID, convert: false };
    return pull({ ...options, limits: LIMITS, ...more });
  };
  return { fetchOnly, hubConfig };
}

/** The error of a pull that fails. It is one line, and never holds the token. */
export async function failure(work: Promise<unknown>): Promise<TtsError> {
  const error = await work.then(
    () => new Error("it did not fail"),
    (thrown) => thrown,
  );
  if (!(error instanceof TtsError)) throw error;
  expect(`${error.message}${error.hint}`).not.toContain("\n");
  expect(`${error.message}${error.hint}`).not.toContain(TOKEN);
  return error;
}
