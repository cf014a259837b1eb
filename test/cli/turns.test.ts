// Whose turn it is to sound, with real processes: announcements that are killed, players that hang, and times
// that come while others speak.

import { beforeEach, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { patient } from "../_support.ts";
import { newFolder, shell } from "./_tts.ts";

/** Plays in real time, and notes every twentieth of a second that sounds. */
const TICKER = `#!/bin/sh
while bytes=$(head -c 2400 | wc -c); [ "$bytes" -gt 0 ]; do echo "$$ $(date +%s%N)" >> "$TICKS"; sleep 0.045; done
`;

let folder = "";
beforeEach(async () => {
  folder = newFolder();
  for (const [name, script] of [
    ["ticker", TICKER],
    ["inner", `#!/bin/sh\n"${folder}/ticker"; true\n`], // the ticker is not its parent's own child
    ["clinging", `#!/bin/sh\ncat > /dev/null\ntouch ${folder}/ticks\nsleep 100\n`],
  ]) {
    writeFileSync(join(folder, name), script);
    chmodSync(join(folder, name), 0o755);
  }
  mkdirSync(join(folder, "cache"));
  await run('$TTS announce -m "$STARTER" --prepare "Dinner is ready." --quiet');
});

const run = (line: string) =>
  shell(`set -m; export TTS_CACHE=${folder}/cache TICKS=${folder}/ticks; ${line}`, folder);
const SAY = '$TTS announce -m "$STARTER" "Dinner is ready."';
/** In a shell: speaks for half a minute, and goes on when it sounds. */
const longWith = (player: string) => `${SAY} --repeat 20 --player ./${player} & `;
const SOUNDING = "until [ -s ticks ]; do sleep 0.02; done; sleep 0.5; ";

/** When each player sounded first and last, in order. */
function sounded(): { firstMs: number; lastMs: number }[] {
  const players = new Map<string, { firstMs: number; lastMs: number }>();
  const lines = existsSync(join(folder, "ticks")) ? readFileSync(join(folder, "ticks"), "utf8") : "";
  for (const line of lines.split("\n").filter((line) => line !== "")) {
    const [pid, ns] = line.split(" ");
    const ms = Number(ns) / 1e6;
    players.set(pid, { firstMs: players.get(pid)?.firstMs ?? ms, lastMs: ms });
  }
  return [...players.values()];
}

test.each(["ticker", "inner"])(
  "what a killed one has left in its player (%s) ends before the next sounds",
  async (player) => {
    const { status } = await run(
      `${longWith(player)} killed=$!; ${SOUNDING} ${SAY} --player ./${player} & sleep 1; kill -9 $killed; wait $!`,
    );
    expect(status).toBe(0);
    const [first, second] = sounded();
    expect(second.firstMs).toBeGreaterThan(first.lastMs);
    expect(second.firstMs - first.lastMs).toBeLessThan(patient(1_500));
  },
);

test("what clings to the turn of a killed one is ended by the next", async () => {
  const { status, stderr } = await run(
    `${SAY} --player ./clinging & until [ -e ticks ]; do sleep 0.02; done; sleep 0.3
     kill -9 $!; ${SAY} --max-wait 20s --player ./ticker`,
  );
  expect([status, stderr, sounded().length]).toEqual([0, "", 1]);
});

test("tts --play that is killed leaves no sound", async () => {
  await run(
    `yes 'Dinner is ready.' | head -30 > text
     $TTS -m "$STARTER" -i text --quiet --play --player ./ticker & ${SOUNDING} kill -9 $!; date +%s%N > killed; sleep 1`,
  );
  const killedMs = Number(readFileSync(join(folder, "killed"), "utf8")) / 1e6;
  expect(sounded()[0].lastMs - killedMs).toBeLessThan(patient(150));
});

test("a player that never reads makes room for an urgent one", async () => {
  const begunMs = Date.now();
  const hung = run(`${SAY} --player 'sleep 100'`);
  await Bun.sleep(1_000);
  expect((await run(`${SAY} --priority urgent --player ./ticker`)).status).toBe(0);
  expect(sounded()[0].firstMs - begunMs).toBeLessThan(patient(7_000));
  expect(await hung).toMatchObject({
    status: 5,
    stderr:
      "tts: the player has made no room for an urgent announcement in 4 s; choose another with --player\n",
  });
});

test("one with a time goes before an ordinary one that came first, and says why it is late", async () => {
  const say = (args: string) => run(`${SAY} --player ./ticker --verbose ${args}`);
  const first = say("--repeat 4");
  await Bun.sleep(1_500);
  const ordinary = say("--repeat 2");
  const time = new Date(Date.now() + 3_500).toTimeString().slice(0, 8);
  const due = await say(`--chime --by ${time}`);
  expect(due.stderr).toMatch(
    new RegExp(` waited \\d+\\.\\d s for its turn, \\d+\\.\\d s after ${time}, since others spoke\n$`),
  );
  expect((await ordinary).stderr).toContain("for its turn");
  expect([(await first).status, due.status]).toEqual([0, 0]);
  const lengths = sounded().map(({ firstMs, lastMs }) => lastMs - firstMs);
  expect(lengths).toHaveLength(3);
  expect(Number(/said: (\d+\.\d) s/.exec(due.stderr)?.[1])).toBeGreaterThan(3); // its chimes are heard, too
  expect(sounded()[1].firstMs).toBeGreaterThan(sounded()[0].lastMs);
});
