// The first sound over HTTP beside that of the engine in this process, spoken as tts bench does; and speeches
// side by side beside one after another.

import type { Format } from "../../../src/audio/encode/formats.ts";
import { openEncoder } from "../../../src/audio/encode/open.ts";
import { type Engine, open } from "../../../src/engine.ts";
import { SAMPLE_RATE_HZ } from "../../../src/types.ts";
import { median, type Server } from "./server.ts";

/** As tts bench has them. */
const TEXT = "The kettle is ready. The time is seven forty five.";
const SEED = 1;
const BENCH_FRAMES = 50;
const FORMATS = ["pcm", "wav", "mp3"] as const satisfies Format[];
/** Between two measurements, so that the one before has ended. */
const PAUSE_MS = 50;

export interface FirstAudio {
  format: Format;
  engineMs: number;
  httpMs: number;
  /** The median of the ratios, round by round. */
  ratio: number;
}

/** An engine as tts bench opens it. */
export const openBenchEngine = (model: string): Promise<Engine> =>
  open({ model, prefixCache: "off", sentences: 1 });

export async function firstAudio(engine: Engine, server: Server, rounds: number): Promise<FirstAudio[]> {
  const engineMs: number[] = [];
  const httpMs = new Map<Format, number[]>(FORMATS.map((format) => [format, []]));
  const second = async (first: () => Promise<number>) => {
    await first(); // as in the bench, where one speech follows another
    return first();
  };
  for (let round = 0; round < rounds; round++) {
    engineMs.push(await second(() => firstOfEngine(engine)));
    for (const format of FORMATS) httpMs.get(format)!.push(await second(() => firstOverHttp(server, format)));
  }
  return [...httpMs].map(([format, all]) => ({
    format,
    engineMs: median(engineMs),
    httpMs: median(all),
    ratio: median(all.map((ms, i) => ms / engineMs[i])),
  }));
}

async function firstOfEngine(engine: Engine): Promise<number> {
  const startMs = performance.now();
  for await (const _ of engine.speak(TEXT, { seed: SEED, maxFrames: BENCH_FRAMES, watch: false })) {
    const ms = performance.now() - startMs;
    await Bun.sleep(PAUSE_MS);
    return ms;
  }
  throw new Error("the engine gives no sound");
}

/** Until there is more than a header. */
async function firstOverHttp(server: Server, format: Format): Promise<number> {
  const header = await headerBytes(format);
  const { head, startMs, wire } = await server.speak({ input: TEXT, seed: SEED, response_format: format });
  let bytes = 0;
  for await (const part of wire.body(head)) {
    bytes += part.length;
    if (bytes > header) break;
  }
  const ms = performance.now() - startMs;
  wire.leave();
  await server.idle();
  await Bun.sleep(PAUSE_MS);
  return ms;
}

async function headerBytes(format: Format): Promise<number> {
  const encoder = await openEncoder(format, SAMPLE_RATE_HZ);
  const { length } = encoder.push(new Float32Array(0));
  encoder.close();
  return length;
}
