// The three stages as servers on Unix sockets, for programs written for the three-process design. Every stage
// is a process of its own, so that one can die and return alone; this is their supervisor, which computes
// nothing: it starts them, replaces those that die or give no sign of life, and ends them with itself. The
// wire is described in _talker.ts, _predictor.ts and _vocoder.ts.

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
import { meaningOf, TtsError } from "../../errors.ts";
import { withLock } from "../../io/lock.ts";
import { STAGES, type StageName, type Tell } from "../../types.ts";
import { beatMsFor, Keeper, keepAlive } from "../keeper.ts";
import type { StageReady, StageStart } from "./_wire.ts";

export { STAGES };

export interface SocketsOptions
  extends Pick<StageStart, "bundle" | "config" | "greedy" | "seed" | "mode" | "patienceMs"> {
  /** Folder of the sockets; created if it is missing. */
  directory: string;
  stages: readonly StageName[];
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
  const { promise, reject: giveUp } = Promise.withResolvers<never>();
  const { stageTimeoutMs } = options.config;
  const beatMs = beatMsFor(stageTimeoutMs);
  let missing = stages.length;
  const all = stages.map((stage) => {
    const job: StageStart = { ...options, stage, path: pathOf(stage), beatMs };
    const onReady = ({ backend, warnings }: StageReady, pid: number, isFirst: boolean) => {
      for (const warning of warnings) tell.warn(warning);
      tell.info(`${stage}: ${isFirst ? "listening" : "back"} on ${job.path} (${backend}, process ${pid})`);
      if (isFirst) missing--;
      if (isFirst && missing === 0) tell.info(`ready: ${stages.join(", ")} in ${directory}`);
    };
    return new Keeper({ name: stage, command: STAGE_COMMAND, job, stageTimeoutMs, tell, onReady, giveUp });
  });
  // Before the locks are released: until then nobody else can have put sockets there.
  process.prependOnceListener("exit", () => {
    for (const stage of stages) rmSync(pathOf(stage), { force: true });
  });
  keepAlive(all, beatMs); // whose processes end first
  return promise;
}
