// A Wyoming server on a real engine, which the tests of a file share.

import type { Engine } from "../../../src/engine.ts";
import {
  type EngineSource,
  type EngineSpeech,
  type ServedEngine,
  Service,
} from "../../../src/serve/service.ts";
import { serveWyoming, type WyomingOptions, type WyomingServer } from "../../../src/serve/wyoming/index.ts";
import { scratchFolder } from "../../_support.ts";
import { Client } from "./_client.ts";

/** What may be wrong with an engine. */
export interface Trouble {
  isOpening?: boolean;
  /** Thrown after the first chunk of sound. */
  failure?: Error;
  /** Waited for after the first chunk of sound. */
  stall?: Promise<void>;
}

export interface Served {
  service: Service;
  server: WyomingServer;
  trouble: Trouble;
  /** Lines for people, with their level. */
  told: string[];
  client(): Promise<Client>;
}

const open: Served[] = [];

export async function serve(
  engine: Engine,
  options: Omit<WyomingOptions, "tell"> & { host?: string; places?: number } = {},
) {
  const trouble: Trouble = {};
  const source: EngineSource = {
    get engine() {
      return trouble.isOpening === true ? null : troubled(engine, trouble);
    },
    close: async () => {},
  };
  const service = new Service(source, { voicesDir: scratchFolder(), places: options.places });
  const told: string[] = [];
  const tell = {
    info: (line: string) => told.push(`info ${line}`),
    warn: (line: string) => told.push(`warn ${line}`),
    debug: (line: string) => told.push(`debug ${line}`),
  };
  const { host = "127.0.0.1", limits, zeroconf } = options;
  const server = await serveWyoming(service, { host, port: 0 }, { tell, limits, zeroconf });
  const served: Served = { service, server, trouble, told, client: () => Client.to(server) };
  open.push(served);
  return served;
}

/** After each test. */
export async function endAll(): Promise<void> {
  for (const { server, service } of open.splice(0)) await Promise.all([server.stop(0), service.end(0)]);
}

function troubled(engine: Engine, trouble: Trouble): ServedEngine {
  const speak: ServedEngine["speak"] = (text, options): EngineSpeech => {
    const speech = engine.speak(text, options);
    async function* sound() {
      for await (const chunk of speech) {
        yield chunk;
        await trouble.stall;
        if (trouble.failure !== undefined) throw trouble.failure;
      }
    }
    return Object.assign(Object.create(speech), {
      cancel: () => speech.cancel(),
      summary: () => speech.summary(),
      [Symbol.asyncIterator]: sound,
    });
  };
  return { manifest: engine.manifest, encode: engine.encode, close: engine.close, speak };
}
