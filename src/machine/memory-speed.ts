// How fast this machine's memory can be read in order, to compare the reading of weights with. Every thread
// reads a part of its own.

import { monotonicMs, pinThread, type ScanMemory, takeScanMemory } from "../../ffi/libc.ts";
import { TtsError } from "../errors.ts";
import { startWorker } from "../worker.ts";
import { availableBytes } from "./load.ts";

/**
 * Bytes that all threads together read per pass: far more than any cache holds, unless the machine has little
 * memory.
 */
const PASS_BYTES = 512 * 2 ** 20;
const MEMORY_SHARE = 1 / 8;
/** The best pass counts: others have been disturbed. */
const PASSES = 10;
/**
 * Every other pass reads several places in turn, which is faster where one stream cannot have enough reads
 * under way.
 */
const STREAMS = 4;
const STREAM_STEP_BYTES = 4_096;
const TIMEOUT_MS = 30_000;

/** workerData of a probe: one thread of the measurement. */
export interface ProbeJob {
  thread: number;
  threads: number;
  /** Where it may run; none means anywhere. */
  cores: readonly number[];
  /** Bytes that this thread reads; a multiple of all steps. */
  bytes: number;
  /** i32 [1]: how often threads have arrived at the start of a pass. */
  arrivals: SharedArrayBuffer;
  /** f64 [passes, threads, 2]: start and end */
  times: SharedArrayBuffer;
}

/**
 * Bytes per second that `threads` threads read together.
 * @param cores where they may run; none means anywhere
 * @throws TtsError STAGE_DIED
 */
export async function measureBandwidth(threads: number, cores: readonly number[] = []): Promise<number> {
  const step = STREAMS * STREAM_STEP_BYTES;
  const bytes = Math.ceil(Math.min(PASS_BYTES, availableBytes() * MEMORY_SHARE) / threads / step) * step;
  const arrivals = new SharedArrayBuffer(4);
  const times = new SharedArrayBuffer(8 * PASSES * threads * 2);
  const jobs = Array.from(
    { length: threads },
    (_, thread): ProbeJob => ({ thread, threads, cores, bytes, arrivals, times }),
  );
  await Promise.all(jobs.map(runInWorker));
  const seconds = passSeconds(new Float64Array(times), threads);
  return (bytes * threads) / Math.min(...seconds);
}

function runInWorker(job: ProbeJob): Promise<void> {
  const worker = startWorker("probe", job);
  return new Promise((resolve, reject) => {
    worker.on("error", reject);
    worker.on("exit", (status) => {
      if (status === 0) resolve();
      else
        reject(
          new TtsError(
            "STAGE_DIED",
            `a thread of the memory probe ended with ${status}`,
            "please report this",
          ),
        );
    });
  });
}

/** Seconds of each pass, from the first thread's start to the last one's end. */
function passSeconds(times: Float64Array, threads: number): number[] {
  return Array.from({ length: PASSES }, (_, pass) => {
    const own = Array.from({ length: threads }, (_, thread) => 2 * (pass * threads + thread));
    return (Math.max(...own.map((at) => times[at + 1])) - Math.min(...own.map((at) => times[at]))) / 1000;
  });
}

/** The worker's side. */
export function runProbe({ arrivals, bytes, cores, thread, threads, times: timesMemory }: ProbeJob): void {
  if (cores.length > 0) pinThread(cores);
  const times = new Float64Array(timesMemory);
  const memory = takeScanMemory(bytes);
  for (let pass = 0; pass < PASSES; pass++) {
    awaitAll(new Int32Array(arrivals), threads * (pass + 1));
    const at = 2 * (pass * threads + thread);
    times[at] = monotonicMs();
    if (pass % 2 === 0) memory.scan(0, bytes);
    else scanInTurn(memory, bytes);
    times[at + 1] = monotonicMs();
  }
  memory.close();
}

function scanInTurn(memory: ScanMemory, bytes: number): void {
  const part = bytes / STREAMS;
  for (let at = 0; at < part; at += STREAM_STEP_BYTES) {
    for (let stream = 0; stream < STREAMS; stream++) memory.scan(stream * part + at, STREAM_STEP_BYTES);
  }
}

/** Waits until all threads have arrived. */
function awaitAll(arrivals: Int32Array, expected: number): void {
  Atomics.add(arrivals, 0, 1);
  Atomics.notify(arrivals, 0);
  const deadline = monotonicMs() + TIMEOUT_MS;
  for (let arrived = Atomics.load(arrivals, 0); arrived < expected; arrived = Atomics.load(arrivals, 0)) {
    if (monotonicMs() > deadline)
      throw new TtsError("STAGE_TIMEOUT", "a thread of the memory probe did not start");
    Atomics.wait(arrivals, 0, arrived, TIMEOUT_MS);
  }
}
