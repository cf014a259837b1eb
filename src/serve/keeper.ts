// A process that is kept alive: this program again, with a job of its own. Its keeper starts it, replaces it
// when it dies or gives no sign of life, and ends it with this process. Computes nothing.

import { type ChildProcess, spawn } from "node:child_process";
import type { Opening } from "../backends/stage.ts";
import { ENTRY_ARGS } from "../child.ts";
import { type ErrorOnTheWire, fromWire, TtsError, toWire } from "../errors.ts";
import { lateStage, patienceWith, type StageState } from "../pipeline/patience.ts";
import type { Tell } from "../types.ts";

/** What a kept process sends. Any message is a sign of life. */
export type FromKept<Ready> =
  | { ready: Ready }
  | { beat: true }
  /** Sent before every attempt, which may hang in an accelerator's driver. */
  | { opening: Opening }
  /** A line for people; `warn` if a client did something wrong. */
  | { told: { level: "warn" | "debug"; line: string } }
  /** It cannot go on, and ends. */
  | { failed: ErrorOnTheWire };

export interface Kept<Ready> {
  name: StageState["stage"];
  /** Arguments of its process after the program's name. The process also needs its keeper's channel. */
  command: readonly string[];
  /** The first message to it: all that it needs to know. */
  job: object;
  stageTimeoutMs: number;
  tell: Tell;
  onReady(ready: Ready, pid: number, isFirst: boolean): void;
  /** Called with what is no {@link FromKept}. */
  onMessage?(message: object): void;
  /** What it was doing is lost. Another one starts soon. */
  onGone?(failure: TtsError): void;
  /** It was never ready, and would fail again: a person has to mend it. */
  giveUp(error: TtsError): void;
}

/**
 * A process that served for this long starts again at once; others wait, and every further death in a row
 * doubles the wait.
 */
const HEALTHY_MS = 10_000;
const [LEAST_DELAY_MS, MOST_DELAY_MS] = [250, 8_000];
const MOST_BEAT_MS = 1_000;
/** This many signs of life fall into the time limit, so that a few late ones do no harm. */
const BEATS = 4;

/** How often a kept process gives a sign of life. */
export const beatMsFor = (stageTimeoutMs: number) => Math.min(stageTimeoutMs / BEATS, MOST_BEAT_MS);

/**
 * Starts processes and looks after them until this process ends, and they with it.
 * @returns a function that ends them before
 */
export function keepAlive(all: readonly Keeper<never>[], beatMs: number): () => void {
  let lookedMs = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    // this process itself was stopped, so it knows nothing of the others
    const slept = now - lookedMs > BEATS * beatMs;
    for (const keeper of all) keeper.look(slept);
    lookedMs = now;
  }, beatMs);
  const end = () => {
    clearInterval(timer);
    process.off("exit", end);
    for (const keeper of all) keeper.end();
  };
  process.prependOnceListener("exit", end); // before locks are released
  for (const keeper of all) keeper.start();
  return end;
}

/** One process: the current one, and when the next one may start. */
export class Keeper<Ready> {
  private child: ChildProcess | null = null;
  /** The process was killed, but does not end while a driver keeps it in the kernel. */
  private isKilled = false;
  /** What it is opening, or has opened. */
  private opening: Opening | null = null;
  private readyMs = 0;
  /** Time of the last sign of life. */
  private signMs = 0;
  private isReady = false;
  private wasReady = false;
  private deaths = 0;
  private failure: TtsError | null = null;
  private ending = false;

  constructor(private readonly kept: Kept<Ready>) {}

  start(): void {
    if (this.ending) return;
    const { command, job } = this.kept;
    // Its own session: what a terminal sends to all processes of a command reaches only this one.
    const child = spawn(process.execPath, [...ENTRY_ARGS, ...command], {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      serialization: "advanced",
      detached: true,
    });
    this.child = child;
    this.isKilled = false;
    this.opening = null;
    this.signMs = performance.now();
    child.on("message", (message: object) => {
      if (child === this.child) this.hear(message); // else it is the last word of one that was replaced
    });
    child.once("exit", (code, signal) => this.died(signal ?? `status ${code}`));
    child.once("error", (error) => this.died(error.message)); // it could not be started
    // else the error is on its way, and there is no channel
    if (child.pid !== undefined) this.send(job);
  }

  /** Does nothing while no process is there. */
  send(message: object): void {
    if (this.child?.connected) this.child.send(message, () => {}); // its end is told another way
  }

  private hear(message: object): void {
    this.signMs = performance.now();
    const { kept } = this;
    const known = message as FromKept<Ready>;
    if ("ready" in known) this.ready(known.ready);
    else if ("opening" in known) this.opening = known.opening;
    else if ("failed" in known) this.failure = fromWire(known.failed);
    else if ("told" in known) kept.tell[known.told.level](`${kept.name}: ${known.told.line}`);
    else if (!("beat" in known)) kept.onMessage?.(message);
  }

  private ready(ready: Ready): void {
    const isFirst = !this.wasReady;
    this.isReady = true;
    this.wasReady = true;
    this.readyMs = performance.now();
    this.kept.onReady(ready, this.child!.pid!, isFirst);
  }

  /** One that was ready once is started again. */
  private died(how: string): void {
    if (this.child === null || this.ending) return;
    this.child = null;
    const { giveUp, name, onGone, tell } = this.kept;
    const isShort = how === "SIGKILL" && !this.wasReady; // nobody knows it yet: the system killed it
    const hint = isShort
      ? "there may be too little memory (see dmesg): close other programs, or take a smaller model"
      : "";
    const failure = this.failure ?? new TtsError("STAGE_DIED", `the ${name} process ended (${how})`, hint);
    const wasHealthy = this.isReady && performance.now() - this.readyMs >= HEALTHY_MS;
    this.failure = null;
    this.isReady = false;
    if (!this.wasReady) {
      giveUp(failure);
      return;
    }
    this.deaths = wasHealthy ? 0 : this.deaths + 1;
    const delayMs = wasHealthy ? 0 : Math.min(LEAST_DELAY_MS * 2 ** (this.deaths - 1), MOST_DELAY_MS);
    tell.warn(
      `${failure.inOneLineWith(failure.markedHint)}; it is started again${delayMs < 1000 ? "" : ` in ${Math.round(delayMs / 1000)} s`}`,
    );
    onGone?.(failure);
    setTimeout(() => this.start(), delayMs);
  }

  /** Kills a process that gives no sign of life; a native call that hangs may stop those signs, too. */
  look(slept: boolean): void {
    const { child, kept } = this;
    if (child === null || this.isKilled) return;
    const now = performance.now();
    if (slept) this.signMs = now;
    const state = { stage: kept.name, opening: this.opening, isReady: this.isReady };
    const patienceMs = patienceWith(state, kept);
    if (now - this.signMs <= patienceMs) return;
    this.isKilled = true;
    child.kill("SIGKILL");
    const late = lateStage(state, patienceMs);
    if (!this.wasReady) {
      kept.giveUp(late);
      return;
    }
    kept.tell.warn(
      `${late.message}; process ${child.pid} is killed, and another one starts when it is gone; ${late.markedHint}`,
    );
    kept.onGone?.(late);
  }

  /** For good. One that is not ready may be making files, and gets the time to remove them. */
  end(): void {
    this.ending = true;
    this.child?.kill(this.isReady ? "SIGKILL" : "SIGTERM");
  }
}

/** The job of a kept process, on its side. */
export interface KeptHost {
  /** Sends `ready`, and gives signs of life from then on. */
  open(): Promise<void>;
  close(): void;
}

/**
 * Does the job that this process is kept for, until its keeper is gone. Never throws: failures go to the
 * keeper as messages.
 * @param make gets the job, what sends to the keeper, and what ends the process with a failure
 */
export async function beKept<Job>(
  make: (job: Job, send: (message: object) => void, fail: (error: unknown) => void) => KeptHost,
): Promise<void> {
  const send = (message: object) => new Promise<void>((resolve) => process.send!(message, () => resolve()));
  const { promise: orphaned, resolve } = Promise.withResolvers<null>();
  process.once("disconnect", () => resolve(null));
  const started = new Promise<Job>((resolve) =>
    process.once("message", (message) => resolve(message as Job)),
  );
  const job = await Promise.race([started, orphaned]);
  if (job === null) return;
  const { promise: broken, reject } = Promise.withResolvers<never>();
  const host = make(job, (message) => void send(message), reject);
  try {
    await Promise.race([host.open(), orphaned, broken]);
    await Promise.race([orphaned, broken]);
  } catch (error) {
    await Promise.race([send({ failed: toWire(error) } satisfies FromKept<never>), orphaned]);
  } finally {
    host.close();
  }
}
