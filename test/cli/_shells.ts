// Completion as the real shells do it: each gets lines, as far as they were typed, and says what it would
// offer.

import { mkdirSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { patient, ROOT } from "../_support.ts";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/** Where lines are completed: files in `folder`, the program as `tts`, voices in folder/voices. */
export interface Place {
  folder: string;
  env: Record<string, string>;
}

export function makePlace(folder: string, files: readonly string[], voices: readonly string[]): Place {
  const bin = join(folder, "bin");
  for (const path of [bin, join(folder, "voices")]) mkdirSync(path, { recursive: true });
  writeFileSync(join(bin, "tts"), `#!/bin/sh\nexec "${process.execPath}" "${join(ROOT, "tts.ts")}" "$@"\n`, {
    mode: 0o755,
  });
  for (const name of files) writeFileSync(join(folder, name), "");
  for (const name of voices) writeFileSync(join(folder, "voices", `${name}.voice.json`), "{}");
  const path = `${bin}${delimiter}${process.env.PATH}`;
  return {
    folder,
    env: {
      PATH: path,
      HOME: folder,
      TTS_CACHE: join(folder, "cache"),
      TTS_VOICES: join(folder, "voices"),
      TERM: "dumb",
    },
  };
}

/** What the program prints. */
export function output({ env, folder }: Place, ...args: string[]): string {
  const { exitCode, stderr, stdout } = Bun.spawnSync(["tts", ...args], { env, cwd: folder });
  if (exitCode !== 0) throw new Error(stderr.toString());
  return stdout.toString();
}

/** What is offered for each line, in the order of the lines; sorted, and folders without their slash. */
export function complete(shell: Shell, place: Place, lines: readonly string[]): string[][] {
  const script = join(place.folder, `completion.${shell}`);
  writeFileSync(script, output(place, "completion", shell));
  const source = { bash: bashHarness, zsh: zshHarness, fish: fishHarness }[shell](script, lines);
  const harness = join(place.folder, `harness.${shell}`);
  writeFileSync(harness, source);
  const flags = { bash: ["--norc"], zsh: ["-f"], fish: ["--no-config"] }[shell];
  const { stdout, stderr } = Bun.spawnSync([shell, ...flags, harness], {
    env: place.env,
    cwd: place.folder,
    timeout: patient(60_000),
  });
  const answers = stdout.toString().split("==\n").slice(1);
  if (answers.length !== lines.length || stderr.length > 0)
    throw new Error(`${shell}: ${answers.length} answers; ${stderr}`);
  return answers.map((answer) => {
    const offered = answer.split("\n").filter((line) => line !== "");
    return [...new Set(offered.map((line) => line.replace(/\t.*/, "").replace(/\/$/, "")))].toSorted();
  });
}

const quoted = (text: string) => `'${text.replace(/'/g, "'\\''")}'`;

/** Cuts words as readline does, and completes files, as readline does by itself if nothing is offered. */
function bashHarness(script: string, lines: readonly string[]): string {
  const calls = lines.map((line) => {
    const words = line
      .split(" ")
      .flatMap((word) => word.split(/(=)/).filter((part, i) => part !== "" || i === 0));
    return `COMP_WORDS=(${words.map(quoted).join(" ")}); COMP_CWORD=${words.length - 1}; answer`;
  });
  return `compopt() { fallback=$2; }
source ${quoted(script)}
answer() {
    local last=\${COMP_WORDS[COMP_CWORD]} fallback=''
    _tts tts
    if [[ \${#COMPREPLY[@]} == 0 && -n $fallback ]]; then
        [[ $fallback == dirnames ]] && mapfile -t COMPREPLY < <(compgen -d -- "\${last#=}")
        [[ $fallback == default ]] && mapfile -t COMPREPLY < <(compgen -f -- "\${last#=}")
    fi
    echo ==
    printf '%s\\n' "\${COMPREPLY[@]}"
}
${calls.join("\n")}
`;
}

/**
 * Runs zsh on a terminal of its own. Its completion functions run unchanged, and what they pass to compadd is
 * recorded.
 */
function zshHarness(script: string, lines: readonly string[]): string {
  const asks = lines.map((line) => `ask ${quoted(line)}`);
  return `zmodload zsh/zpty
zpty inner zsh -f -i
cat > inner.zsh <<'INNER'
PROMPT= RPROMPT=
autoload -Uz compinit
compinit -u -D
source ${quoted(script)}
bindkey '^I' list-choices
compadd() {
    if [[ -z \${(M)@:#-[OAD]} ]]; then
        local -a found
        builtin compadd -O found "$@"
        print -l -- $found >> offered
    fi
    builtin compadd "$@"
}
# Shows and inserts nothing: nobody reads this terminal.
finished() { compstate[list]= compstate[insert]=; print -- . > finished }
zle-line-init() { print -- . > ready }
zle -N zle-line-init
# Every completion empties comppostfuncs, so each line sets it anew.
clear-line() { zle kill-whole-line; comppostfuncs=(finished); print -- . > cleared }
zle -N clear-line
bindkey '^U' clear-line
INNER
wait-for() {
    repeat 1000; do
        [[ -s $1 ]] && return
        sleep 0.01
    done
    print -u2 "never $1"
}
rm -f ready
zpty -w inner 'source ./inner.zsh'
wait-for ready
ask() {
    rm -f cleared finished offered
    zpty -w -n inner $'\\025'
    wait-for cleared
    zpty -w -n inner "$1"$'\\t'
    wait-for finished
    print '=='
    [[ ! -e offered ]] || cat offered
}
${asks.join("\n")}
zpty -d inner
`;
}

function fishHarness(script: string, lines: readonly string[]): string {
  const calls = lines.map(
    (line) => `echo ==; complete -C ${quoted(line)} | string replace -r '^--[a-z-]+=' ''`,
  );
  return `source ${quoted(script)}\n${calls.join("\n")}\n`;
}
