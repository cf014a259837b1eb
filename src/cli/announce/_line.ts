// The one line that a run leaves in the system's log, or on a terminal where there is none.

import type { Outcome } from "../../announce/announce.ts";
import { tellSyslog } from "../../io/syslog.ts";
import { isTerminal } from "../../io/terminal.ts";
import { log } from "../shared/log.ts";
import type { Arguments, Request } from "./_options.ts";

/** A process starts and takes its turn in less, beside what making the sound takes. */
const START_MS = 1_000;

const seconds = (ms: number) => `${(ms / 1_000).toFixed(1)} s`;

/** What became of it, in words. The text is not in it: logs are read by others. */
export function inWords(outcome: Outcome, args: Arguments, { mostLateMs }: Request): string {
  const { cached, lateMs, madeMs, waitedMs, what } = outcome;
  const nothing = "nothing was said";
  switch (what) {
    case "quiet":
      return `${nothing}: quiet hours are ${args["quiet-hours"]}`;
    case "late":
      return `${nothing}: ${args.by} has passed by ${seconds(lateMs)}, and --max-late is ${seconds(mostLateMs)}`;
    case "repeated":
      return `${nothing}: the same text was said within ${args.dedupe} s`;
  }
  const sound = `${outcome.seconds.toFixed(1)} s of sound`;
  const origin = madeMs > 0 ? `made in ${seconds(madeMs)}` : "";
  const facts = [
    `${what === "interrupted" ? "interrupted by an urgent one" : what}: ${sound}`,
    cached > 0 ? `${cached} of ${outcome.parts} parts kept from before` : "",
    origin,
    waitedMs >= 100 ? `waited ${seconds(waitedMs)} for its turn` : "",
    args.by === undefined || what === "prepared" ? "" : aboutTime(args.by, outcome),
  ];
  return facts.filter((fact) => fact !== "").join(", ");
}

/** How late it was, and why: others spoke, or it should have begun earlier. */
function aboutTime(by: string, { lateMs, madeMs, waitedMs }: Outcome): string {
  if (lateMs >= 200 && waitedMs >= lateMs) return `${seconds(lateMs)} after ${by}, since others spoke`;
  const advice = `start at least ${seconds(madeMs + START_MS)} before`;
  return lateMs < 200 ? `at ${by} (${advice})` : `${seconds(lateMs)} after ${by}: ${advice}`;
}

/**
 * Says the line. Standard error gets it where there is no log, as far as somebody looks at it: cron would
 * send it as mail.
 * @param kind `fine`: all went well; `fault`: well enough; `failure`: the command line itself shows it
 */
export function tell(line: string, kind: "fine" | "fault" | "failure"): void {
  const isLogged = tellSyslog(kind === "failure" ? "error" : "info", line);
  if (kind === "failure") return;
  const isShown = !isLogged && (kind === "fault" || isTerminal(2));
  log[isShown ? "info" : "debug"](line);
}
