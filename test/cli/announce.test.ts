// tts announce and tts cache as cron starts them: real processes, real pipes, and a player that notes when
// its first byte came.

import { beforeEach, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { patient } from "../_support.ts";
import { newFolder, shell } from "./_tts.ts";

let folder = "";
beforeEach(() => {
  folder = newFolder();
  // notes when its first byte came, and when and after how many bytes the sound had ended
  const player = `#!/bin/sh
head -c 2 >/dev/null; echo "first $$ $(date +%s%N)" >> "${folder}/log"
bytes=$(wc -c); echo "end $$ $(date +%s%N) $((bytes + 2))" >> "${folder}/log"
`;
  writeFileSync(join(folder, "player"), player);
  chmodSync(join(folder, "player"), 0o755);
  mkdirSync(join(folder, "cache"));
});

const run = (line: string, environment: Record<string, string> = {}) => {
  const env = Object.entries(environment).map(([name, value]) => `${name}='${value}'`);
  return shell(`export TTS_CACHE=${folder}/cache ${env.join(" ")}; ${line}`, folder);
};
const say = (args: string, environment?: Record<string, string>) =>
  run(`exec $TTS announce -m "$STARTER" --player ./player ${args}`, environment);
/** The same with the line that goes to the system's log. */
const sayAndTell = async (args: string) => {
  const { status, stderr } = await say(`${args} --verbose`);
  return { status, line: stderr.trimEnd().split("\n").at(-1)! };
};

interface Played {
  pid: number;
  firstMs: number;
  endMs: number;
  seconds: number;
}

/** What was played, in order; a player that was killed has no end. */
function played(): Played[] {
  const lines = existsSync(join(folder, "log")) ? readFileSync(join(folder, "log"), "utf8") : "";
  const rows = lines.split("\n").map((line) => line.split(" "));
  return rows
    .filter(([what]) => what === "first")
    .map(([, pid, firstNs]) => {
      const end = rows.find((row) => row[0] === "end" && row[1] === pid);
      const [endMs, seconds] = [Number(end?.[2]) / 1e6, Number(end?.[3]) / 48_000];
      return { pid: Number(pid), firstMs: Number(firstNs) / 1e6, endMs, seconds };
    });
}

/** A local time so many seconds from now, and its moment. */
function inSeconds(count: number): { time: string; ms: number } {
  const ms = (Math.floor(Date.now() / 1_000) + count) * 1_000;
  return { time: new Date(ms).toTimeString().slice(0, 8), ms };
}

test("it says a text, leaves one line, and knows it the next time", async () => {
  const first = await sayAndTell('"Dinner is ready."');
  expect([first.status, first.line]).toEqual([
    0,
    expect.stringMatching(/^said: 1\.\d s of sound, made in \d+\.\d s$/),
  ]);
  const second = await say('"Dinner is ready." --verbose');
  expect(second.stderr).toMatch(/^said: 1\.\d s of sound, 1 of 1 parts kept from before\n$/); // no model, no library
  expect(await say('"Dinner is ready."')).toEqual({ status: 0, stdout: "", stderr: "" }); // cron mails what is said here
  const [once, again] = played();
  expect(once.seconds).toBeGreaterThan(1);
  expect(again.seconds).toBe(once.seconds);
});

test("a phrase that is kept sounds within 150 ms of the start", async () => {
  await say('--prepare "Dinner is ready."');
  const times: number[] = [];
  for (let i = 0; i < 5; i++) {
    const startMs = Date.now();
    await say('"Dinner is ready."');
    times.push(played()[i].firstMs - startMs);
  }
  expect(Math.min(...times)).toBeLessThan(patient(150));
});

test("cron has no terminal, no home and little else", async () => {
  const line = `echo "The door is open." | env -i PATH=$PATH TTS_CACHE=${folder}/cache $TTS announce -m "$STARTER" --player ./player`;
  // also at the first use of a voice, which is prepared for it
  expect(await run(line.replace('-m "$STARTER"', ""))).toEqual({ status: 0, stdout: "", stderr: "" });
  expect(played()).toHaveLength(1);
  expect((await run(line.replace('"The door is open."', '""'))).stderr).toContain("blank");
  expect((await run(`${line} < /dev/null`.replace(/^.*\| /, ""))).status).toBe(2);
});

test("two at once do not talk over each other", async () => {
  const all = await Promise.all(
    ["One is here.", "Two is here.", "Three is here."].map((text) => say(`"${text}"`)),
  );
  expect(all.map(({ status }) => status)).toEqual([0, 0, 0]);
  const [a, b, c] = played().toSorted((x, y) => x.firstMs - y.firstMs);
  expect(b.firstMs).toBeGreaterThanOrEqual(a.endMs);
  expect(c.firstMs).toBeGreaterThanOrEqual(b.endMs);
});

test("one that is killed while it speaks holds nobody up", async () => {
  await say('--prepare "Dinner is ready." --quiet');
  const killed = run(
    `$TTS announce -m "$STARTER" --player ./player --repeat 20 "Dinner is ready." & sleep 2; kill -9 $!`,
  );
  await Bun.sleep(1_000);
  const next = await sayAndTell('--max-wait 30s "Dinner is ready."');
  await killed;
  expect(next).toEqual({ status: 0, line: expect.stringContaining("for its turn") });
  expect(readdirSync(join(folder, "cache/announce/tickets"))).toEqual([]);
});

test("one that must wait too long gives up, with status 5", async () => {
  await say('--prepare "Dinner is ready." --quiet');
  const long = say('--repeat 3 "Dinner is ready."');
  await Bun.sleep(700);
  const { status, stderr } = await say('--max-wait 500ms "Dinner is ready."');
  expect(status).toBe(5);
  expect(stderr).toMatch(
    /^tts: others have spoken for 0\.5 s: nothing was said; [^\n]*--max-wait[^\n]*--priority\n$/,
  );
  expect((await long).status).toBe(0);
});

test("an urgent one interrupts", async () => {
  await say('--prepare "Dinner is ready." --quiet');
  const long = sayAndTell('--repeat 10 "Dinner is ready."');
  await Bun.sleep(1_500);
  const urgent = await say('--priority urgent "Dinner is ready."');
  expect(urgent.status).toBe(0);
  const [first, second] = played();
  expect(second.firstMs).toBeGreaterThanOrEqual(first.endMs);
  expect(first.seconds).toBeLessThan(6);
  const { line, status } = await long;
  const seconds = Number(/^interrupted by an urgent one: (\d+\.\d) s of sound/.exec(line)?.[1]);
  expect([status, seconds]).toEqual([0, expect.closeTo(first.seconds - 0.2, 1)]); // 0.2 s of silence come before
});

describe("a time", () => {
  test("is met within 0.2 s, with the time in its words", async () => {
    const { ms, time } = inSeconds(4);
    const { line, status } = await sayAndTell(`"It is {time}." --by ${time}`);
    expect([status, line]).toEqual([
      0,
      expect.stringMatching(/^said: .* at \d\d:\d\d:\d\d \(start at least \d+\.\d s before\)$/),
    ]);
    expect(Math.abs(played()[0].firstMs - ms)).toBeLessThan(patient(200));
  });

  test("that has passed is spoken at once, dropped, or refused", async () => {
    const at = (seconds: number) => sayAndTell(`"Hello." --by ${inSeconds(seconds).time}`);
    expect((await at(-30)).line).toMatch(/^said: .* after /);
    expect(await at(-600)).toMatchObject({
      status: 0,
      line: expect.stringMatching(/^nothing was said: [^\n]* has passed by 6\d\d\.\d s/),
    });
    expect(await at(13 * 3_600)).toMatchObject({ status: 2, line: expect.stringContaining("hours ahead") });
    expect(played()).toHaveLength(1);
  });

  test("is that of the user's zone", async () => {
    const { status, stderr } = await say(`"Hello." --by $(TZ=Asia/Kathmandu date -d '13 hours' +%H:%M)`, {
      TZ: "Asia/Kathmandu",
    });
    expect([status, stderr]).toEqual([2, expect.stringContaining("hours ahead")]);
  });
});

test("in quiet hours nothing is played: one line, status 0", async () => {
  const { line, status } = await sayAndTell('"Hello." --quiet-hours 00:00-24:00');
  expect([status, line]).toEqual([0, "nothing was said: quiet hours are 00:00-24:00"]);
  expect(played()).toEqual([]);
});

test("the same text is dropped within --dedupe, also when both come at once", async () => {
  await say('--prepare "Hello." --quiet');
  const both = await Promise.all([sayAndTell('"Hello." --dedupe 60'), sayAndTell('"Hello." --dedupe 60')]);
  expect(both.map(({ status }) => status)).toEqual([0, 0]);
  expect(
    both.filter(({ line }) => line === "nothing was said: the same text was said within 60 s"),
  ).toHaveLength(1);
  expect(played()).toHaveLength(1);
});

test.each([
  ["--by 25:00", "25:00"],
  ["--by noon", "noon"],
  ["--max-late 7h", "7h"],
  ["--max-wait 5d", "5d"],
  ["--quiet-hours 22-7", "22-7"],
  ["--quiet-hours 22:00-22:00", "22:00-22:00"],
  ["--night-volume 0.3", "--night-volume"],
  ["--quiet-hours 22:00-07:00 --night-volume 30", '--night-volume is "30"'],
  ["--start soon", "soon"],
  ["--dedupe -1", "-1"],
  ["--dedupe soon", "soon"],
  ["--repeat 0", "--repeat is 0"],
  ["--repeat 2.5", "2.5"],
  ["--priority max", "max"],
  ["--chime=/none/ding.wav", "/none/ding.wav"],
  ["--chime none.wav", "none.wav"],
])("%s is status 2, with the value", async (args, value) => {
  const { status, stderr } = await say(`${args} "Hello."`);
  expect([status, stderr]).toEqual([2, expect.stringContaining(value)]);
  expect(stderr.trim().split("\n")).toHaveLength(1);
});

test("a player that is missing or dies is status 5", async () => {
  const missing = await say('"Hello." --player /none/player');
  expect(missing).toMatchObject({ status: 5, stderr: expect.stringContaining("/none/player") });
  const dying = await say(`"Hello." --player "sh -c 'head -c 9000 > /dev/null; echo no card >&2; exit 3'"`);
  expect(dying).toMatchObject({ status: 5, stderr: expect.stringContaining("no card") });
  expect((await say('"Hello." --max-wait 0')).status).toBe(0); // its turn has ended
});

test("chimes: the program's own, or a file; the words behind stay words", async () => {
  await say('--prepare "Hello." --quiet');
  for (const chime of [
    "",
    "--chime",
    `--chime ${join(import.meta.dir, "../golden/recordings/reference.flac")}`,
  ])
    expect((await say(`${chime} "Hello."`)).status).toBe(0);
  const [plain, own, file] = played().map(({ seconds }) => seconds);
  expect(own).toBeGreaterThan(plain + 2);
  expect(file).toBeGreaterThan(plain + 2);
  expect(file).not.toBe(own);
});

describe("the cache", () => {
  const list = async () =>
    JSON.parse((await run("$TTS cache --json")).stdout) as { key: string; kept: boolean; fresh: boolean }[];

  test("holds fixed and fresh sentences apart; they can be listed, kept and cleared", async () => {
    expect((await sayAndTell('--prepare "Good morning. It is {time}."')).line).toContain("prepared: 0.");
    expect(await list()).toMatchObject([{ fresh: false, kept: false }]);
    await say(`"Good morning. It is {time}." --by ${inSeconds(3).time}`);
    expect((await list()).map(({ fresh }) => fresh).toSorted()).toEqual([false, true]);
    const lines = (await run("$TTS cache list")).stdout;
    expect(lines).toMatch(/^([0-9a-f]{12} +\d\.\d s +0\.\d MB +\d{4}-\d\d-\d\d \d\d:\d\d( +fresh)?\n){2}$/);
    expect((await run('$TTS cache keep -m "$STARTER" "Good morning."')).status).toBe(0);
    expect((await run('$TTS cache keep -m "$STARTER" "Good night."')).status).toBe(2);
    expect((await run("$TTS cache clear")).stderr).toContain("removed 1 phrase:");
    expect(await list()).toMatchObject([{ kept: true }]);
    await run("$TTS cache clear --all");
    expect(await list()).toEqual([]);
    expect((await run("$TTS cache lsit")).stderr).toContain("did you mean list?");
  });

  test("holds them apart where pauses and markup stand in the text, too", async () => {
    const text = `'<speak>Good morning. <break time="1500ms"/> It is {time}.</speak>'`;
    expect((await sayAndTell(`--prepare ${text}`)).line).toMatch(/^prepared: [\d.]+ s of sound, made in/);
    const { line, status } = await sayAndTell(text);
    expect([status, line]).toEqual([0, expect.stringContaining(", 1 of 2 parts kept from before, made in")]);
    expect(played()[0].seconds).toBeGreaterThan(3.5);
    expect((await say(`${text.replace("1500ms", "soon")} --prepare`)).status).toBe(2);
  });

  test("has other phrases for another voice, seed or list of words", async () => {
    writeFileSync(join(folder, "words"), "hello => good day\n");
    for (const args of ["", "--seed 1", "--greedy", "--lexicon words", "--temperature 0.5", ""])
      await say(`--prepare "Hello." ${args}`);
    expect(await list()).toHaveLength(5);
  });

  test("that is damaged, is no folder, or cannot be written, costs only time", async () => {
    await say('"Hello."');
    const phrases = join(folder, "cache/phrases");
    const [name] = readdirSync(phrases);
    writeFileSync(join(phrases, name), "damaged");
    expect((await run("$TTS cache")).stdout).toBe("");
    expect(await sayAndTell('"Hello."')).toMatchObject({
      status: 0,
      line: expect.stringContaining("made in"),
    });
    rmSync(phrases, { recursive: true });
    writeFileSync(phrases, "");
    const { line, status } = await sayAndTell('"Hello."');
    expect([status, line]).toEqual([0, expect.stringMatching(/^said: .*; cannot keep phrases: /)]);
    expect((await say('--prepare "Hello."')).status).toBe(5);
    for (const action of ["list", "clear"])
      expect(await run(`$TTS cache ${action}`)).toEqual({
        status: 5,
        stdout: "",
        stderr: expect.stringMatching(/^tts: cannot read the phrase cache: [^\n]+\n$/),
      });
    expect(played()).toHaveLength(3);
  });

  test("on a full disk holds what it held", async () => {
    const phrases = join(folder, "cache/phrases");
    mkdirSync(phrases, { mode: 0o700 });
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=128k", "tmpfs", phrases]);
    if (mounted.status !== 0) return console.warn("skipped: this user may not mount a small disk");
    try {
      await say('--prepare "Hello."');
      const { line, status } = await sayAndTell(
        '"This sentence is much too long for what is left of the disk."',
      );
      expect([status, line]).toEqual([0, expect.stringContaining("cannot keep phrases: the disk is full")]);
      expect(
        await say('--prepare "This sentence is too long for what is left of the disk, too."'),
      ).toMatchObject({
        status: 5,
        stderr: expect.stringContaining("the disk is full"),
      });
      expect(readdirSync(phrases)).toHaveLength(1);
      expect((await sayAndTell('"Hello."')).line).toContain("kept from before");
    } finally {
      spawnSync("umount", [phrases]);
    }
  });

  test("and the queue are for their owner alone", async () => {
    await say('"Hello."');
    for (const name of ["phrases", "announce", "announce/tickets"])
      expect([name, statSync(join(folder, "cache", name)).mode & 0o077]).toEqual([name, 0]);
  });
});
