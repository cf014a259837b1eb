// Speeches that end early: how soon the engine is free for others when a client goes, and how soon there is
// sound again when the engine's process is killed. And speeches side by side.

import { median, type Server } from "./server.ts";

const LONG = "Please close the windows and turn off the lights. ".repeat(20);
const SHORT = "The door is open.";
/** Of speeches side by side: one prompt that is read in no time. */
const MIDDLE = "The kettle is ready. The time is seven forty five.";
const LOOK_MS = 20;
const BYTES_PER_SECOND = 48_000;

/** Asks for a speech, and waits for its first sound. */
async function sounding(server: Server, input: string, seed = 1) {
  const { head, startMs, wire } = await server.speak({ input, seed, response_format: "pcm" });
  if (head.status !== 200) {
    wire.leave();
    return { status: head.status, retryAfter: head.headers.get("retry-after"), wire, startMs, sound: null };
  }
  const sound = wire.body(head);
  await sound.next();
  return { status: 200, retryAfter: undefined, wire, sound, startMs };
}

export interface Cancel {
  /** Until the place is free, as the server counts. */
  freeMs: number;
  /** How much later than alone another speech sounds that is asked for as the client goes. */
  laterMs: number;
}

/** @param server with one lane, so that the next speech waits for the one before */
export async function cancel(server: Server, rounds: number): Promise<Cancel> {
  const [free, alone, next]: number[][] = [[], [], []];
  for (let i = 0; i < rounds; i++) {
    alone.push(await firstOf(server));
    const long = await sounding(server, LONG);
    long.wire.leave();
    next.push(await firstOf(server));
    const other = await sounding(server, LONG);
    const leftMs = performance.now();
    other.wire.leave();
    while ((await server.busy()) > 0);
    free.push(performance.now() - leftMs);
    await server.idle();
  }
  return { freeMs: median(free), laterMs: median(next.map((ms, i) => ms - alone[i])) };
}

async function firstOf(server: Server): Promise<number> {
  const { startMs, wire } = await sounding(server, SHORT);
  const ms = performance.now() - startMs;
  wire.leave();
  await server.idle();
  return ms;
}

export interface Restart {
  backMs: number;
  /** Answers of 503 with Retry-After meanwhile. */
  refusals: number;
  /** What should not have been. */
  faults: string[];
}

export async function restart(server: Server): Promise<Restart> {
  const faults: string[] = [];
  const long = await sounding(server, LONG);
  const killedMs = performance.now();
  process.kill(server.engine!, "SIGKILL");
  const cut = Array.fromAsync(long.sound!).then(
    () => faults.push("a speech that was cut passes for a whole one"),
    () => {},
  );
  let refusals = 0;
  for (;;) {
    const { retryAfter, status, wire } = await sounding(server, SHORT).catch(() => {
      faults.push("a speech broke off");
      return { retryAfter: undefined, status: 0, wire: null };
    });
    wire?.leave();
    if (status === 200) break;
    refusals++;
    if (status !== 503 || retryAfter == null) faults.push(`status ${status}, Retry-After ${retryAfter}`);
    await Bun.sleep(LOOK_MS);
  }
  const backMs = performance.now() - killedMs;
  await cut;
  return { backMs, refusals, faults };
}

export interface Lanes {
  speeches: number;
  seconds: number;
  serialMs: number;
  parallelMs: number;
  ratio: number;
  /** Whether both ways gave the same sound. */
  isSame: boolean;
}

/** Takes the first seconds of several speeches, one after another and side by side, in turn. */
export async function lanes(
  server: Server,
  speeches: number,
  seconds: number,
  rounds: number,
): Promise<Lanes> {
  const [serial, parallel]: number[][] = [[], []];
  const seeds = Array.from({ length: speeches }, (_, i) => i + 1);
  let isSame = true;
  for (let i = 0; i < rounds; i++) {
    let startMs = performance.now();
    const one: Buffer[] = [];
    for (const seed of seeds) one.push(await taken(server, seed, seconds));
    serial.push(performance.now() - startMs);
    startMs = performance.now();
    const all = await Promise.all(seeds.map((seed) => taken(server, seed, seconds)));
    parallel.push(performance.now() - startMs);
    isSame &&= all.every((sound, n) => sound.equals(one[n]));
    await server.idle();
  }
  const ratio = median(serial.map((ms, i) => ms / parallel[i]));
  return { speeches, seconds, serialMs: median(serial), parallelMs: median(parallel), ratio, isSame };
}

/** The first seconds of a speech. */
async function taken(server: Server, seed: number, seconds: number): Promise<Buffer> {
  const { head, wire } = await server.speak({ input: MIDDLE, seed, response_format: "pcm" });
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of wire.body(head)) {
    parts.push(Buffer.from(part));
    bytes += part.length;
    if (bytes >= seconds * BYTES_PER_SECOND) break;
  }
  wire.leave();
  return Buffer.concat(parts).subarray(0, seconds * BYTES_PER_SECOND);
}
