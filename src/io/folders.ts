// Where the user's folders are: by variables, by the XDG rules, and without HOME too.

import { homedir, tmpdir } from "node:os";
import { join } from "node:path";

/**
 * The program's folder below one of the user's, by the XDG rules. Works without HOME and without a terminal,
 * as under cron.
 */
export function userDirectory(
  environment: Record<string, string | undefined>,
  own: string,
  xdg: string,
  usual: string,
  part: string,
): string {
  const chosen = pathIn(environment, own);
  if (chosen !== "") return chosen;
  const base = pathIn(environment, xdg);
  if (base !== "") return join(base, "qwen3-tts", part);
  const home = environment.HOME || passwordFileHome();
  const hasHome = home !== "" && home !== "/";
  return hasHome
    ? join(home, usual, "qwen3-tts", part)
    : join(tmpdir(), `qwen3-tts-${process.getuid?.() ?? 0}`, part);
}

/**
 * The path in a variable, or "". A leading `~` is the home, as in other hub programs: no shell expands it in
 * quotes, in a unit or in an env file.
 */
export function pathIn(environment: Record<string, string | undefined>, name: string): string {
  return (environment[name] ?? "").replace(/^~(?=\/|$)/, () => environment.HOME || passwordFileHome());
}

export function passwordFileHome(): string {
  try {
    return homedir();
  } catch {
    return "";
  }
}
