// Runs a job in a process of its own: this program again, as tts.ts sees from CHILD_FLAG. This works the same
// from source and in a compiled binary.

import { writeSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { compiled } from "../ffi/load/embedded.ts";
import { type ErrorOnTheWire, fromWire, TtsError, toWire } from "./errors.ts";
import { textOrEmpty } from "./io/read.ts";

/** Roles that may take their whole process down, or never come back. */
export type ChildRole = "library" | "speed";

/** The file that a process or a thread of this program starts with. */
export const ENTRY = compiled ? Bun.main : fileURLToPath(new URL("../tts.ts", import.meta.url));
/**
 * What `process.execPath` needs before the arguments to be this program again: nothing for a binary, which is
 * its own entry.
 */
export const ENTRY_ARGS: readonly string[] = compiled ? [] : [ENTRY];

/**
 * What the program was called with. From source, Bun takes a `--` that stands first for its own and drops it;
 * the system still has it, before the arguments that Bun left.
 */
export function programArguments(): string[] {
  const args = process.argv.slice(2);
  if (compiled) return args;
  const written = textOrEmpty("/proc/self/cmdline").split("\0").slice(0, -1);
  return written.at(-args.length - 1) === "--" ? ["--", ...args] : args;
}

/** A child is started with `--child ROLE JOB`. No command has such an option. */
const CHILD_FLAG = "--child";
/** The child's answer goes here: libraries may write what they like to its standard output. */
const ANSWER_FILE = 3;
/** Characters that are kept of a child's words before it died, without what Bun says of itself. */
const LAST_WORDS = 300;
const CRASH_BANNER = /^={20,}\nBun v[\s\S]*$/m;

type Answer<T> = { done: T } | { failed: ErrorOnTheWire };

/**
 * Runs one job in a process of its own.
 * @throws TtsError LIBRARY_FAILED when it crashes, STAGE_TIMEOUT when it has to be ended, and whatever the
 * job throws
 */
export async function runChild<T>(role: ChildRole, job: unknown, timeoutMs: number): Promise<T> {
  const args = [...ENTRY_ARGS, CHILD_FLAG, role, JSON.stringify(job)];
  const { spawn } = await import("node:child_process"); // only now: every thread passes here, and it takes 2 ms
  const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "pipe", "pipe"] });
  const end = () => void child.kill("SIGKILL");
  process.once("exit", end);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    end();
  }, timeoutMs);
  const [answer, words] = ["", ""].map(() => [] as string[]);
  // The "close" of a child does not wait for this one (Bun 1.4.5), which may end after it.
  const answered = new Promise((resolve) =>
    child.stdio[ANSWER_FILE]?.once("end", resolve).once("error", resolve),
  );
  child.stdio[ANSWER_FILE]?.on("data", (chunk) => answer.push(String(chunk)));
  child.stderr?.on("data", (chunk) => words.push(String(chunk)));
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  child.on("error", reject);
  child.on("close", (status, signal) => resolve(signal ?? `status ${status}`));
  const ended = await promise.finally(() => {
    clearTimeout(timer);
    process.off("exit", end);
  });
  await answered;
  if (late) throw new TtsError("STAGE_TIMEOUT", `no answer within ${timeoutMs / 1000} s`);
  if (answer.length > 0) {
    const result = JSON.parse(answer.join("")) as Answer<T>;
    if ("done" in result) return result.done;
    throw fromWire(result.failed);
  }
  const said = words.join("").replace(CRASH_BANNER, "").trim().slice(-LAST_WORDS).replace(/\s+/g, " ");
  throw new TtsError(
    "LIBRARY_FAILED",
    `it ended its process (${ended})${said === "" ? "" : `, and said: ${said}`}`,
  );
}

/** The job that this process was started for as a child; null for a person's command. */
export function childStart(args: readonly string[]): { role: ChildRole; job: unknown } | null {
  return args[0] === CHILD_FLAG && args.length === 3
    ? { role: args[1] as ChildRole, job: JSON.parse(args[2]) }
    : null;
}

/** The child's side: does the job, answers, and ends at once, without whatever a library does at an exit. */
export async function answerAsChild(work: () => unknown): Promise<never> {
  let answer: Answer<unknown>;
  try {
    answer = { done: await work() };
  } catch (thrown) {
    answer = { failed: toWire(thrown) };
  }
  writeSync(ANSWER_FILE, JSON.stringify(answer));
  process.kill(process.pid, "SIGKILL");
  return new Promise(() => {});
}
