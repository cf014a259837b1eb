// The three stages as servers on Unix sockets, for programs written for the three-process design. Every stage
// is a process of its own, so that one can die and return alone; this is their supervisor, which computes
// nothing: it starts them, replaces those that die or give no sign of life, and ends them with itself. The
// wire is described in _talker.ts, _predictor.ts and _vocoder.ts.

import { type ChildProcess, spawn } from "node:child_process";
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { dirname, join, resolve } from "node:path";
import type { Opening } from "../../backends/stage.ts";
import { ENTRY_ARGS } from "../../child.ts";
import { fromWire, meaningOf, TtsError } from "../../errors.ts";
import { withLock } from "../../io/lock.ts";
import { lateStage, patienceWith } from "../../pipeline/patience.ts";
import { STAGES, type StageName } from "../../types.ts";
import type { FromStageProcess, StageStart } from "./_wire.ts";

export { STAGES };

export interface SocketsOptions
  extends Pick<StageStart, "bundle" | "config" | "greedy" | "seed" | "mode" | "patienceMs"> {
  /** Folder of the sockets; created if it is missing. */
  directory: string;
  stages: readonly StageName[];
}

/** Lines for people. Settings in their hints are marked, as in an error's markedHint. */
interface Tell {
  info(line: string): void;
  warn(line: string): void;
  debug(line: string): void;
}

/**
 * Arguments of a stage's process after the program's name. The process also needs the supervisor's channel.
 */
export const STAGE_COMMAND = ["serve", "stage"] as const;
/** Longest path that the system takes for a socket: sun_path, less its last byte. */
const PATH_BYTES = 107;
const OTHERS_WRITE = 0o022;
const STICKY = 0o1000;
const GROUP = { may: 0o060, enter: 0o010 } as const;
const OTHERS = { may: 0o006, enter: 0o001 } as const;
/**
 * A stage that served for this long starts again at once; others wait, and every further death in a row
 * doubles the wait.
 */
const HEALTHY_MS = 10_000;
const [LEAST_DELAY_MS, MOST_DELAY_MS] = [250, 30_000];
const MOST_BEAT_MS = 1_000;
/** This many signs of life fall into the time limit, so that a few late ones do no harm. */
const BEATS = 4;

/** Runs a stage in this process, as its supervisor says over the channel. */
export async function runStage(): Promise<void> {
  await (await import("./_stage.ts")).runStageProcess(); // only now: it loads libraries
}

/**
 * Serves until the process ends; its end removes the sockets and ends the stages.
 * @throws TtsError USAGE, OUTPUT_FAILED if the folder or a socket cannot be used, STAGE_DIED, and what
 * opening a stage throws
 */
export async function serveSockets(options: SocketsOptions, tell: Tell): Promise<never> {
  const directory = resolve(options.directory);
  const pathOf = (stage: StageName) => join(directory, `${stage}.sock`);
  prepareFolder(directory, options.mode);
  const serve = async (): Promise<never> => {
    for (const stage of options.stages) await assertFree(pathOf(stage));
    return supervise({ ...options, directory }, pathOf, tell);
  };
  return options.stages.reduceRight<() => Promise<never>>(
    (work, stage) => () =>
      withLock(
        join(directory, `.${stage}.lock`),
        (pid) => refuse(pathOf(stage), `process ${pid} serves it`),
        work,
      ),
    serve,
  )();
}

function refuse(path: string, why: string, hint = "end that server first, or choose another folder"): never {
  throw new TtsError("OUTPUT_FAILED", `cannot serve ${path}: ${why}`, hint);
}

/**
 * Tries to write: modes do not show that a file system is read-only, full or without links, which locks need.
 */
function tryFolder(directory: string): void {
  const folder = mkdtempSync(join(directory, ".try-"));
  try {
    writeFileSync(join(folder, "file"), "written");
    linkSync(join(folder, "file"), join(folder, "link"));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * A new folder can be entered only by those who may use the sockets. An existing folder stays as it is. It
 * must belong to this user, and nobody else may write into it, not even users of the sockets: they could put
 * their own sockets in place of these.
 */
function prepareFolder(directory: string, mode: number): void {
  const longest = join(directory, "predictor.sock");
  if (Buffer.byteLength(longest) > PATH_BYTES)
    throw new TtsError(
      "USAGE",
      `${longest} is longer than a socket's path may be (${PATH_BYTES} bytes)`,
      "choose a shorter folder",
    );
  try {
    const made = mkdirSync(directory, { recursive: true, mode: 0o700 });
    const entered = [GROUP, OTHERS].reduce(
      (bits, { enter, may }) => bits | ((mode & may) === 0 ? 0 : enter),
      0o700,
    );
    if (made !== undefined)
      for (let path = directory; path.length >= made.length; path = dirname(path)) chmodSync(path, entered);
    const { mode: present, uid } = statSync(directory);
    if (uid !== process.getuid?.())
      refuse(directory, "the folder belongs to another user", "choose a folder of your own");
    if ((present & OTHERS_WRITE) !== 0) {
      const isForAll = (present & STICKY) !== 0; // as /tmp is, and must stay
      refuse(
        directory,
        "others may write into the folder",
        isForAll ? "choose a folder in it" : `chmod go-w ${directory}, or choose another`,
      );
    }
    tryFolder(directory);
  } catch (cause) {
    if (cause instanceof TtsError) throw cause;
    refuse(directory, meaningOf(cause, "write").what, "choose another folder");
  }
}

/** Refuses a path that is in use. A dead server's socket may stay: it is replaced when the stage listens. */
async function assertFree(path: string): Promise<void> {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there === undefined) return;
  if (!there.isSocket()) refuse(path, "it is not a socket", "move it away");
  const { promise, resolve } = Promise.withResolvers<string | null>();
  const socket = connect(path, () => resolve("somebody answers there"));
  socket.on("error", ({ code, message }: NodeJS.ErrnoException) =>
    resolve(code === "ECONNREFUSED" || code === "ENOENT" ? null : message),
  );
  const answer = await promise;
  socket.destroy();
  if (answer !== null) refuse(path, answer);
}

/** Never resolves: only a failure ends it. */
function supervise(
  { directory, stages, ...options }: SocketsOptions,
  pathOf: (stage: StageName) => string,
  tell: Tell,
): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  const beatMs = Math.min(options.config.stageTimeoutMs / BEATS, MOST_BEAT_MS);
  let missing = stages.length;
  const ready = () => {
    missing--;
    if (missing === 0) tell.info(`ready: ${stages.join(", ")} in ${directory}`);
  };
  const all = stages.map(
    (stage) => new StageKeeper({ ...options, stage, path: pathOf(stage), beatMs }, tell, ready, reject),
  );
  // Before the locks are released: until then nobody else can have put sockets there.
  process.prependOnceListener("exit", () => {
    for (const keeper of all) keeper.end();
  });
  for (const keeper of all) keeper.start();
  let lookedMs = performance.now();
  setInterval(() => {
    const now = performance.now();
    // this process itself was stopped, so it knows nothing of the others
    const slept = now - lookedMs > BEATS * beatMs;
    for (const keeper of all) keeper.look(slept);
    lookedMs = now;
  }, beatMs);
  return promise;
}

/** One stage: its current process, and when the next one may start. */
class StageKeeper {
  private child: ChildProcess | null = null;
  /** The process was killed, but does not end while a driver keeps it in the kernel. */
  private isKilled = false;
  /** What the stage is opening, or has opened. */
  private opening: Opening | null = null;
  private readyMs = 0;
  /** Time of the last sign of life. */
  private signMs = 0;
  private isReady = false;
  private wasReady = false;
  private deaths = 0;
  private failure: TtsError | null = null;
  private ending = false;

  constructor(
    private readonly job: StageStart,
    private readonly tell: Tell,
    private readonly onFirstReady: () => void,
    private readonly giveUp: (error: TtsError) => void,
  ) {}

  start(): void {
    if (this.ending) return;
    // Its own session: what a terminal sends to all processes of a command reaches only the supervisor.
    const stdio: ["ignore", "ignore", "inherit", "ipc"] = ["ignore", "ignore", "inherit", "ipc"];
    const child = spawn(process.execPath, [...ENTRY_ARGS, ...STAGE_COMMAND], { stdio, detached: true });
    this.child = child;
    this.isKilled = false;
    this.opening = null;
    this.signMs = performance.now();
    child.on("message", (message) => this.hear(message as FromStageProcess));
    child.once("exit", (code, signal) => this.died(signal ?? `status ${code}`));
    child.once("error", (error) => this.died(error.message)); // it could not be started
    // else the error is on its way, and there is no channel
    if (child.pid !== undefined) child.send(this.job);
  }

  private hear(message: FromStageProcess): void {
    this.signMs = performance.now();
    const { job, tell } = this;
    if ("ready" in message) this.ready(message.ready);
    else if ("opening" in message) this.opening = message.opening;
    else if ("failed" in message) this.failure = fromWire(message.failed);
    else if ("told" in message) tell[message.told.level](`${job.stage}: ${message.told.line}`);
  }

  private ready({ backend, warnings }: { backend: string; warnings: readonly string[] }): void {
    const { path, stage } = this.job;
    this.isReady = true;
    this.readyMs = performance.now();
    for (const warning of warnings) this.tell.warn(warning);
    this.tell.info(
      `${stage}: ${this.wasReady ? "back" : "listening"} on ${path} (${backend}, process ${this.child?.pid})`,
    );
    if (!this.wasReady) this.onFirstReady();
    this.wasReady = true;
  }

  /**
   * A stage that fails before it was ever ready would fail again: a person has to mend it. A stage that was
   * ready once is started again.
   */
  private died(how: string): void {
    if (this.child === null || this.ending) return;
    this.child = null;
    const { stage } = this.job;
    const isShort = how === "SIGKILL" && !this.wasReady; // nobody knows it yet: the system killed it
    const hint = isShort
      ? "there may be too little memory (see dmesg): close other programs, or take a smaller model"
      : "";
    const failure = this.failure ?? new TtsError("STAGE_DIED", `the ${stage} process ended (${how})`, hint);
    const wasHealthy = this.isReady && performance.now() - this.readyMs >= HEALTHY_MS;
    this.failure = null;
    this.isReady = false;
    if (!this.wasReady) {
      this.giveUp(failure);
      return;
    }
    this.deaths = wasHealthy ? 0 : this.deaths + 1;
    const delayMs = wasHealthy ? 0 : Math.min(LEAST_DELAY_MS * 2 ** (this.deaths - 1), MOST_DELAY_MS);
    this.tell.warn(
      `${failure.inOneLineWith(failure.markedHint)}; it is started again${delayMs < 1000 ? "" : ` in ${Math.round(delayMs / 1000)} s`}`,
    );
    setTimeout(() => this.start(), delayMs);
  }

  /** Kills a process that gives no sign of life; a native call that hangs stops those signs, too. */
  look(slept: boolean): void {
    const { child } = this;
    if (child === null || this.isKilled) return;
    const now = performance.now();
    if (slept) this.signMs = now;
    const state = { stage: this.job.stage, opening: this.opening, isReady: this.isReady };
    const patienceMs = patienceWith(state, this.job.config);
    if (now - this.signMs <= patienceMs) return;
    this.isKilled = true;
    child.kill("SIGKILL");
    const late = lateStage(state, patienceMs);
    if (!this.wasReady) this.giveUp(late);
    else
      this.tell.warn(
        `${late.message}; process ${child.pid} is killed, and another one starts when it is gone; ${late.markedHint}`,
      );
  }

  /** Ends the stage at once and for good. */
  end(): void {
    this.ending = true;
    this.child?.kill("SIGKILL");
    rmSync(this.job.path, { force: true });
  }
}
