// What the tests of the HTTP server share: servers on real engines, which are opened once, and on one that
// does what a test tells it.

import { afterAll } from "bun:test";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import type { Summary } from "../../../src/engine.ts";
import { type Engine, open } from "../../../src/engine.ts";
import { type HttpOptions, type HttpServer, serveHttp } from "../../../src/serve/http/index.ts";
import { type EngineSpeech, type ServedEngine, Service } from "../../../src/serve/service.ts";
import { bundleOf, scratchFolder } from "../../_support.ts";

export interface Served {
  service: Service;
  server: HttpServer;
  url: string;
  /** What the operator was told. */
  warnings: string[];
}

type Options = Partial<HttpOptions> & { places?: number; voicesDir?: string };

const opened = new Map<string, Promise<Engine>>();
/** The engine of a golden checkpoint. All files of tests share it, and so nobody closes it. */
export function engineOf(checkpoint: "starter" | "tiny-base"): Promise<Engine> {
  const engine = opened.get(checkpoint) ?? open({ model: bundleOf(checkpoint).directory });
  opened.set(checkpoint, engine);
  return engine;
}

const servers: HttpServer[] = [];
/** Stops the servers of a file of tests when these have run. */
export function stopAfterAll(): void {
  afterAll(async () => {
    for (const server of servers.splice(0)) await server.stop();
  });
}

export function serveEngine(engine: ServedEngine | null, options: Options = {}): Served {
  const { places, voicesDir = mkdtempSync(join(scratchFolder(), "voices-")), ...http } = options;
  const source = { engine, close: async () => {} };
  const service = new Service(source, { voicesDir, places });
  const warnings: string[] = [];
  const server = serveHttp(service, {
    ...{ host: "127.0.0.1", port: 0, token: null, hosts: [], origins: [] },
    tell: { info: () => {}, debug: () => {}, warn: (line) => warnings.push(line) },
    ...http,
  } as HttpOptions);
  servers.push(server);
  return { service, server, url: server.url, warnings };
}

/** What an engine without a model gives: its pieces, and a summary that ends as it is told. */
export interface Script {
  /** Samples of each piece of sound. */
  pieces?: number[];
  /** Milliseconds before each. */
  everyMs?: number;
  /** Thrown after the last piece. */
  failure?: Error;
}

export interface ScriptedEngine extends ServedEngine {
  /** Pieces that were asked for, and speeches that were cancelled. */
  pulled: number;
  cancelled: number;
}

const PIECE = 1_920;
export const ENDLESS = new Array<number>(100_000).fill(PIECE);

export async function scripted({
  everyMs = 0,
  failure,
  pieces = [PIECE, PIECE],
}: Script): Promise<ScriptedEngine> {
  const { manifest } = await engineOf("starter");
  const engine: ScriptedEngine = {
    manifest,
    pulled: 0,
    cancelled: 0,
    close: async () => {},
    encode: () => Promise.reject(new Error("it cannot")),
    speak: (_text, { signal }) => {
      let stop: Summary["stop"] = "eos";
      const end = () => {
        if (stop === "eos") engine.cancelled++;
        stop = "cancelled";
      };
      signal?.addEventListener("abort", end);
      return {
        settings: { seed: 1, voice: "", speaker: "starter", language: "english" } as EngineSpeech["settings"],
        words: [],
        unread: [],
        ignored: [],
        cancel: end,
        summary: () => ({ ...NOTHING, stop }),
        async *[Symbol.asyncIterator]() {
          for (const length of pieces) {
            if (everyMs > 0) await Bun.sleep(everyMs);
            if (stop === "cancelled") return;
            engine.pulled++;
            yield { samples: new Float32Array(length).fill(0.25) };
          }
          if (failure !== undefined) throw failure;
        },
      };
    },
  };
  return engine;
}

const NOTHING: Summary = {
  ...{ audioSeconds: 0, wallSeconds: 0, rtf: 0, firstAudioMs: 1, firstHeardMs: 0, frames: 0 },
  msPerFrame: { talker: 0, predictor: 0, vocoder: 0 },
  speculation: { callsPerFrame: 0, rightDrafts: [] },
  prompt: { rows: 0, cachedRows: 0, savedMs: 0 },
  ...{ repairs: [], stop: "eos", model: "", backends: {}, seed: 1 },
};

export const JSON_TYPE = { "content-type": "application/json" };

export const post = (url: string, body: unknown, init: RequestInit = {}): Promise<Response> =>
  fetch(`${url}/v1/audio/speech`, {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    ...init,
    headers: { ...JSON_TYPE, ...init.headers },
  });

/** The samples of a speech as 16-bit bytes, as a wav holds them. */
export const bytesOf = (response: Response) => response.arrayBuffer().then((bytes) => Buffer.from(bytes));
