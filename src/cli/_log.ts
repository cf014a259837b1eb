// What the program tells its user, all on stderr: stdout carries only data.

import { createConsola, LogLevels } from "consola";
import type { TtsError } from "../errors.ts";

export type Verbosity = "quiet" | "normal" | "verbose";

const LEVEL: Record<Verbosity, number> = { quiet: LogLevels.error, normal: LogLevels.info, verbose: LogLevels.debug };
const PREFIX: Record<string, string> = { error: "tts: ", warn: "tts: warning: " };

/** One line per message, whatever the terminal. */
export const log = createConsola({
  level: LEVEL.normal,
  reporters: [{ log: ({ type, args }) => void process.stderr.write(`${progressEnd()}${PREFIX[type] ?? ""}${args.join(" ")}\n`) }],
});

export function setVerbosity(verbosity: Verbosity): void {
  log.level = LEVEL[verbosity];
}

/** What happened, the value, and what to do next, on one line; with --verbose also where. */
export function logError(error: TtsError): void {
  const line = [error.message, error.hint].filter((part) => part !== "").join("; ");
  log.error(line.replace(/\s*\n\s*/g, " "));
  if (log.level >= LEVEL.verbose && error.cause instanceof Error) log.debug(error.cause.stack ?? "");
}

let progressShown = false;
const BAR_WIDTH = 24;

/** Overwrites one line of a terminal; elsewhere shows nothing. */
export function showProgress(title: string, done: number, total: number): void {
  if (!process.stderr.isTTY || log.level < LEVEL.normal) return;
  const filled = Math.round((BAR_WIDTH * done) / total);
  const percent = String(Math.floor((100 * done) / total)).padStart(3);
  process.stderr.write(`\r\x1b[K${"█".repeat(filled)}${"░".repeat(BAR_WIDTH - filled)} ${percent} % ${title}`);
  progressShown = true;
}

/** What clears the progress line before something else is written. */
function progressEnd(): string {
  if (!progressShown) return "";
  progressShown = false;
  return "\r\x1b[K";
}

export function clearProgress(): void {
  process.stderr.write(progressEnd());
}
