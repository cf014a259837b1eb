// A player as a sink: samples go to a program's standard input as they come, while this one goes on making
// more. It says why the program failed, and silences it at once.

import { type ChildProcess, spawn } from "node:child_process";
import { stripVTControlCharacters } from "node:util";
import { TtsError } from "../../errors.ts";
import { toS16le } from "../pcm.ts";
import type { Sink } from "../sink.ts";
import { endGroup, type PlayerTurn } from "./group.ts";
import { endingWithUs, type PlayerChoice, type PlayerCommand, playerCommand } from "./players.ts";

export interface PlayerOptions extends PlayerChoice {
  /** Whether the player gets nothing before {@link Player.begin}. Default: false. */
  hold?: boolean;
  /** How far a player may be behind the sound, and behind its end, in milliseconds. Default: 30 s. */
  patienceMs?: number;
  /** A right to sound that lasts as long as the player does. Default: it needs none. */
  turn?: PlayerTurn;
}

/** Sound that plays. Finishing waits until it has been heard to its end; abandoning silences it. */
export interface Player extends Sink {
  readonly command: PlayerCommand;
  /** What was written so far, in seconds. */
  readonly seconds: number;
  /** Starts to play what is held. Does nothing later on. */
  begin(): void;
  /** Silences it at once, as abandoning does. @returns when the player has gone, and its device is free */
  stop(): Promise<void>;
}

const BYTES_PER_SAMPLE = 2;
const PATIENCE_MS = 30_000;
/** Sound that waits for the player while more is made: it bridges holes, and keeps memory flat. */
const AHEAD_SECONDS = 30;
/** Held before the start: more than an hour at any rate. Then it plays, ready or not. */
const MOST_HELD_BYTES = 512 * 2 ** 20;
/** A player that closes its input is given so long to end and to say why. */
const LAST_WORDS_MS = 500;
/** Characters that are kept of what it says. */
const MOST_WORDS = 300;
/** Lines with signs that nobody can read: a program such as tee passes the sound on. */
const UNREADABLE = /.*[[\p{Cc}--[\t\n\r]]\ufffd].*/gv;

/**
 * Starts a player, which waits for sound.
 * @throws TtsError OUTPUT_FAILED where it is missing or cannot start, USAGE
 */
export async function openPlayer(options: PlayerOptions): Promise<Player> {
  const command = playerCommand(options);
  const { environment, program } = command;
  const { turn } = options;
  // a group of its own: silencing reaches what it has started, and Ctrl-C of a terminal reaches it through us
  const child = spawn(...endingWithUs(program, command.args), {
    env: environment,
    stdio: ["pipe", "pipe", "pipe", ...(turn === undefined ? [] : [turn.file])],
    detached: true,
  });
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", (cause) =>
      reject(
        new TtsError("OUTPUT_FAILED", `cannot start the player ${program}: ${cause.message}`, OTHER_PLAYER, {
          cause,
        }),
      ),
    );
  });
  turn?.notePlayer(child.pid!);
  return new ProcessPlayer(command, child, options);
}

const OTHER_PLAYER = "choose another with {player}";

/** Whole lines, or at least whole words. */
function theLastOf(words: string): string {
  if (words.length <= MOST_WORDS) return words;
  const last = words.slice(-MOST_WORDS - 1);
  const start = last.search(/\n./) + 1 || last.search(/\s\S/) + 1;
  return last.slice(start);
}

class ProcessPlayer implements Player {
  private samples = 0;
  private waitingBytes = 0;
  /** Everything that was written before has been taken. */
  private taken: Promise<void>;
  private readonly start = Promise.withResolvers<void>();
  private begunMs = 0;
  /** When a player in time has played everything that was written. */
  private playedMs = 0;
  /** Bytes that may wait: as many as at the start, else the usual. */
  private mostBytes = MOST_HELD_BYTES;
  private failure: TtsError | null = null;
  private isComplete = false;
  /** Not all of the sound was taken. */
  private isCut = false;
  private isStopped = false;
  /** The end of what it says on its two outputs. */
  private readonly words = { stderr: "", stdout: "" };
  private readonly gone = Promise.withResolvers<void>();
  /** Resolves when bytes were taken, or will never be. */
  private news = Promise.withResolvers<void>();
  private readonly kill = () => endGroup(this.child.pid!);

  constructor(
    readonly command: PlayerCommand,
    private readonly child: ChildProcess,
    private readonly options: PlayerOptions,
  ) {
    this.taken = this.start.promise;
    process.once("exit", this.kill);
    for (const name of ["stderr", "stdout"] as const)
      child[name]?.on("data", (chunk) => {
        this.words[name] = theLastOf(this.words[name] + String(chunk));
      });
    // the words may come after the end; what the player has started may keep its streams open
    child.once("exit", (status, signal) => {
      const end = () => this.end(signal ?? `status ${status}`, status === 0);
      const timer = setTimeout(end, LAST_WORDS_MS);
      child.once("close", () => {
        clearTimeout(timer);
        end();
      });
    });
    child.stdin?.on("error", () => {
      this.isCut = true;
      setTimeout(() => this.fail("reads no more"), 2 * LAST_WORDS_MS); // unless it has ended by then
    });
    if (options.hold !== true) this.begin();
  }

  get seconds(): number {
    return this.samples / this.options.rateHz;
  }

  begin(): void {
    if (this.begunMs > 0) return;
    this.begunMs = performance.now();
    this.playedMs = this.begunMs + 1000 * this.seconds;
    this.mostBytes = Math.max(this.waitingBytes, AHEAD_SECONDS * this.options.rateHz * BYTES_PER_SAMPLE);
    this.start.resolve();
  }

  async write(samples: Float32Array): Promise<void> {
    const bytes = toS16le(samples);
    this.samples += samples.length;
    this.waitingBytes += bytes.length;
    this.playedMs =
      Math.max(this.playedMs, performance.now()) + (1000 * samples.length) / this.options.rateHz;
    const { playedMs, seconds } = this;
    this.taken = this.taken.then(() => this.send(bytes, Math.max(playedMs, this.begunMs + 1000 * seconds)));
    while (this.waitingBytes > this.mostBytes && this.failure === null) {
      this.begin();
      await this.news.promise;
    }
    if (this.failure !== null) throw this.failure;
  }

  async finish(): Promise<void> {
    this.begin();
    await this.taken;
    this.isComplete = true;
    this.child.stdin?.end();
    await this.inTime(this.playedMs, this.gone.promise, "its end");
    if (this.failure !== null) throw this.failure;
  }

  abandon(): void {
    this.isStopped = true;
    this.kill();
  }

  async stop(): Promise<void> {
    this.abandon();
    await this.gone.promise;
  }

  /** Does nothing once the player has failed. @param playedMs when a player in time has played these bytes */
  private async send(bytes: Uint8Array, playedMs: number): Promise<void> {
    const { child, gone } = this;
    if (this.failure === null) {
      const { promise, resolve } = Promise.withResolvers<void>();
      child.stdin?.write(bytes, (error) => {
        this.isCut ||= error != null;
        resolve();
      });
      await this.inTime(playedMs, Promise.race([promise, gone.promise]), "the sound");
    }
    this.waitingBytes -= bytes.length;
    this.tell();
  }

  /** Waits; a player that is too far behind has failed, and is ended. */
  private async inTime(playedMs: number, event: Promise<void>, what: string): Promise<void> {
    const { patienceMs = PATIENCE_MS } = this.options;
    const fail = () => this.fail(`is ${Math.round(patienceMs / 1000)} s behind ${what}`);
    const timer = setTimeout(fail, Math.max(0, playedMs - performance.now()) + patienceMs);
    await Promise.race([event, this.gone.promise]).finally(() => clearTimeout(timer));
  }

  private end(how: string, isWell: boolean): void {
    process.off("exit", this.kill);
    const { complaint } = this.command;
    if (!isWell) this.fail(`failed (${how})`);
    else if (complaint !== undefined && this.words.stderr.includes(complaint)) this.fail("cannot play");
    else if (!this.isComplete || this.isCut) this.fail("ended before the sound did");
    this.gone.resolve();
    this.tell();
  }

  /** The first fault is the one to report. */
  private fail(fault: string): void {
    if (this.failure !== null || this.isStopped) return;
    const { stderr, stdout } = this.words;
    const said = stripVTControlCharacters(stderr.trim() || stdout)
      .replace(UNREADABLE, "")
      .replace(/\s+/g, " ")
      .trim();
    this.failure = new TtsError(
      "OUTPUT_FAILED",
      `the player ${this.command.name} ${fault}${said === "" ? "" : `: ${said}`}`,
      `${OTHER_PLAYER}, or another {device}`,
    );
    this.kill();
    this.gone.resolve();
    this.tell();
  }

  private tell(): void {
    this.news.resolve();
    this.news = Promise.withResolvers();
  }
}
