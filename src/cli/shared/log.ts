// What the program tells its user, all on stderr: stdout carries only data.

// the whole package touches Bun's streams, and takes 12 ms to load
import { createConsola, LogLevels } from "consola/core";
import { spellSettings, type TtsError } from "../../errors.ts";
import { columnsOf, isTerminal, writeStderr } from "../../io/terminal.ts";
import type { Progress, Tell } from "../../types.ts";
import { flagOf, type Options } from "./options.ts";

export type Verbosity = "quiet" | "normal" | "verbose";

const LEVEL: Record<Verbosity, number> = {
  quiet: LogLevels.error,
  normal: LogLevels.info,
  verbose: LogLevels.debug,
};
const PREFIX: Record<string, string> = { error: "tts: ", warn: "tts: warning: " };

/** One line per message, whatever the terminal. */
export const log = createConsola({
  level: LEVEL.normal,
  reporters: [
    {
      log: ({ type, args }) => writeStderr(`${progressEnd()}${PREFIX[type] ?? ""}${args.join(" ")}\n`),
    },
  ],
});

export function setVerbosity(verbosity: Verbosity): void {
  log.level = LEVEL[verbosity];
}

/** The options of the command that was called. */
let options: Options = {};

export function setOptions(ofCommand: Options): void {
  options = ofCommand;
}

/** Replaces the settings that a hint from below the command line names by the options to write. */
export const withFlags = (markedHint: string) =>
  spellSettings(markedHint, (setting) => flagOf(setting, options));

/** Prints on one line what happened, the value, and what to do next; with --verbose also where. */
export function logError(error: TtsError): void {
  log.error(error.inOneLineWith(withFlags(error.markedHint)));
  if (log.level >= LEVEL.verbose && error.cause instanceof Error) log.debug(error.cause.stack ?? "");
}

/** The progress line that stands on the terminal now, or "". */
let shown = "";
const [BAR_WIDTH, NARROW_BAR_WIDTH, NARROW_COLUMNS] = [24, 8, 80];

/** Overwrites one line of a terminal; elsewhere shows nothing. */
export function showProgress(title: string, done: number, total: number): void {
  if (!isTerminal(2) || log.level < LEVEL.normal) return;
  const columns = columnsOf(2, NARROW_COLUMNS);
  const width = columns < NARROW_COLUMNS ? NARROW_BAR_WIDTH : BAR_WIDTH;
  const filled = Math.round((width * done) / total);
  const percent = String(Math.floor((100 * done) / total)).padStart(3);
  // Cut off: a line that wraps would leave its first row behind.
  const line = `${"█".repeat(filled)}${"░".repeat(width - filled)} ${percent} % ${title}`.slice(
    0,
    columns - 1,
  );
  if (line === shown) return;
  writeStderr(`\r\x1b[K${line}`);
  shown = line;
}

/** Shows the step of a conversion, and the time left if it is known. */
export function showConversion({ step, done, total, secondsLeft }: Progress): void {
  showProgress(secondsLeft === undefined ? step : `${step}, ${duration(secondsLeft)} left`, done, total);
}

export function duration(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5_400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3_600).toFixed(1)} h`;
}

/** @param digits decimals of gigabytes; megabytes have one */
export const size = (bytes: number, digits = 1) =>
  bytes >= 1e9 ? `${(bytes / 1e9).toFixed(digits)} GB` : `${(bytes / 1e6).toFixed(1)} MB`;

/** What clears the progress line before something else is written. */
function progressEnd(): string {
  if (shown === "") return "";
  shown = "";
  return "\r\x1b[K";
}

export function clearProgress(): void {
  if (shown !== "") writeStderr(progressEnd());
}

process.on("exit", clearProgress); // Ctrl-C leaves no half line

/** The log for rooms below the command line, whose lines name settings. */
export const TELL: Tell = {
  info: (line) => log.info(withFlags(line)),
  warn: (line) => log.warn(withFlags(line)),
  debug: (line) => log.debug(withFlags(line)),
};
