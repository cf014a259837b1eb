// A player as a sink, with real processes: sound as it comes, backpressure, and every way to fail.

import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { toS16le } from "../../../src/audio/pcm.ts";
import { openPlayer } from "../../../src/audio/play/player.ts";
import { courseOf, type StartChoice, StartWatch, startedBy } from "../../../src/audio/play/start.ts";
import { patient } from "../../_support.ts";
import { newFolder } from "../_tts.ts";
import { device, isAlive, programs } from "./_players.ts";

const RATE = { rateHz: 24_000 };
const tone = (seconds: number) =>
  Float32Array.from({ length: seconds * RATE.rateHz }, (_, i) => 0.5 * Math.sin(i / 10));
const fault = (promise: Promise<unknown>) =>
  promise.then(
    () => "none",
    (error: Error) => error.message,
  );

async function play(player: string, seconds = 1, options: { patienceMs?: number } = {}): Promise<void> {
  const opened = await openPlayer({ player, ...RATE, ...options });
  for (let i = 0; i < seconds * 10; i++) await opened.write(tone(0.1));
  await opened.finish();
}

describe("a player", () => {
  test("gets every sample, as 16-bit integers", async () => {
    const file = join(newFolder(), "with a space.raw");
    const player = await openPlayer({ player: `sh -c 'cat > "$0"' '${file}'`, ...RATE });
    await player.write(tone(0.5));
    await player.write(tone(0.25));
    await player.finish();
    expect(player.seconds).toBe(0.75);
    expect(readFileSync(file).equals(Buffer.concat([toS16le(tone(0.5)), toS16le(tone(0.25))]))).toBe(true);
  });

  test("is told rate and device, and no shell sees the command", async () => {
    const folder = newFolder();
    const { heard, player } = device(folder, "{rate}");
    const opened = await openPlayer({
      player: `${player} '{device}/{rate}' '$(touch x)' ; "|" a`,
      device: "hw:0",
      rateHz: 48_000,
    });
    await opened.write(tone(0.1));
    await opened.finish();
    expect(heard().args).toEqual(["hw:0/48000", "$(touch x)", ";", "|", "a"]);
  });

  test("is waited for until it has played everything", async () => {
    const { heard, player } = device(newFolder());
    const before = Date.now();
    await play(player, 1);
    expect(Date.now() - before).toBeGreaterThan(990);
    expect(heard()).toMatchObject({ bytes: 48_000 });
  });

  test("gets nothing before the start if it is held", async () => {
    const file = join(newFolder(), "x");
    const player = await openPlayer({
      player: `sh -c 'cat > "$0"; echo done >> "$0"' '${file}'`,
      ...RATE,
      hold: true,
    });
    await player.write(tone(1));
    await Bun.sleep(200);
    expect(readFileSync(file).length).toBe(0);
    player.begin();
    await player.finish();
    expect(readFileSync(file).length).toBe(48_000 + 5);
  });

  test("that reads slowly holds up the writer, not memory", async () => {
    // 64 kB at once and then nothing: what is written waits, up to 30 s of sound
    const player = await openPlayer({ player: "sh -c 'head -c 65536 > /dev/null; exec sleep 100'", ...RATE });
    let seconds = 0;
    const writing = (async () => {
      for (; seconds < 100; seconds++) await player.write(tone(1));
    })();
    await Promise.race([writing, Bun.sleep(500)]);
    expect(seconds).toBeGreaterThan(25);
    expect(seconds).toBeLessThan(50);
    await player.stop();
    await writing;
  });
});

describe("a player that fails is reported in one line", () => {
  test.each([
    ["a missing program", "no-such-player -q", /^there is no player no-such-player$/],
    ["a missing file", "/nonexistent/player", /^there is no player \/nonexistent\/player$/],
    ["a file that cannot run", "/etc/passwd", /^there is no player \/etc\/passwd$/],
    ["an empty command", "  ", /^the player is empty$/],
    [
      "a failure at the start",
      "sh -c 'echo no card >&2; echo here >&2; exit 3'",
      /^the player sh failed \(status 3\): no card here$/,
    ],
    [
      "a failure that is told on standard output",
      "sh -c 'echo no card; exit 1'",
      /failed \(status 1\): no card$/,
    ],
    [
      "a failure in the middle",
      "sh -c 'head -c 20000 > /dev/null; echo unplugged >&2; exit 1'",
      /failed \(status 1\): unplugged$/,
    ],
    ["a failure at the end", "sh -c 'cat > /dev/null; echo late >&2; exit 7'", /failed \(status 7\): late$/],
    ["an end in the middle", "head -c 1000", /^the player head ended before the sound did$/],
    ["a signal", "sh -c 'kill -SEGV $$'", /^the player sh failed \(SIGSEGV\)$/],
    ["an input that it closes", "sh -c 'exec <&-; exec sleep 50'", /^the player sh reads no more$/],
    [
      "words and children that go on",
      "sh -c 'sleep 50 & echo gone >&2; exit 1'",
      /failed \(status 1\): gone$/,
    ],
    ["much noise", "sh -c 'yes noise | head -100000 >&2; exit 1'", /^.{50,400}$/],
  ])("%s", async (_what, player, message) => {
    expect(await fault(play(player, 40))).toMatch(message);
  });

  test("one that takes nothing, and one that does not end", async () => {
    const patience = { patienceMs: 300 };
    expect(await fault(play("sleep 50", 20, patience))).toBe("the player sleep is 0 s behind the sound");
    expect(await fault(play("sh -c 'cat > /dev/null; exec sleep 50'", 0.1, patience))).toMatch(
      /^the player sh is 0 s behind its end$/,
    );
  });

  test("one that takes its sound ever more slowly", async () => {
    const player = "sh -c 'head -c 300000 > /dev/null; while sleep 0.05; do head -c 960 > /dev/null; done'";
    expect(await fault(play(player, 60, { patienceMs: 1_000 }))).toBe(
      "the player sh is 1 s behind the sound",
    );
  });

  test("with its last whole lines, or at least whole words", async () => {
    const lines = Array.from({ length: 20 }, (_, i) => `ALSA lib conf.c: no such device ${i}`);
    const said = (text: string) => fault(play(`sh -c 'echo "${text}" >&2; exit 1'`));
    expect(await said(lines.join("\n"))).toBe(
      `the player sh failed (status 1): ${lines.slice(-8).join(" ")}`,
    );
    expect(await said(lines.join(" "))).toMatch(/: (ALSA|lib|conf.c:|no|such|device|\d+) .*such device 19$/);
  });

  test("one that complains, and ends as if all were well", async () => {
    const bin = programs(newFolder(), { ffplay: "cat > /dev/null; echo audio open failed >&2" });
    expect(await fault(play(join(bin, "ffplay")))).toBe("the player ffplay cannot play: audio open failed");
  });

  test("colours and sound among its words are left out", async () => {
    expect(await fault(play("sh -c 'cat; exit 1'", 0.5))).toBe("the player sh failed (status 1)");
    expect(await fault(play(`sh -c 'printf "\\033[31mred\\033[0m\\n" >&2; exit 1'`))).toMatch(/: red$/);
  });
});

describe("a player is silenced at once", () => {
  test.each(["abandon", "stop"] as const)("by %s, with all that it has started", async (how) => {
    const folder = newFolder();
    const player = await openPlayer({
      player: `sh -c 'sleep 60 & echo $! $$ > pids.part; mv pids.part "$0"; cat > /dev/null' '${folder}/pids'`,
      ...RATE,
    });
    await player.write(tone(5));
    for (let i = 0; i < 500 && !existsSync(join(folder, "pids")); i++) await Bun.sleep(10);
    const pids = readFileSync(join(folder, "pids"), "utf8").trim().split(" ").map(Number);
    expect(pids.map(isAlive)).toEqual([true, true]);
    await player[how]();
    for (let i = 0; i < 100 && pids.some(isAlive); i++) await Bun.sleep(10);
    expect(pids.map(isAlive)).toEqual([false, false]);
  });
});

describe("on a machine that makes a second of sound in two", () => {
  const SENTENCES = ["x".repeat(16), "x".repeat(16)]; // 1.04 s each
  async function speak(start: StartChoice): Promise<{ waitedMs: number; startMs: number; madeMs: number }> {
    const { heard, player } = device(newFolder());
    const watch = new StartWatch(start);
    const sink = startedBy(await openPlayer({ player, ...RATE, hold: true }), watch, () => {});
    const beganMs = Date.now();
    watch.follow(
      courseOf({
        sentences: SENTENCES,
        pauses: new Map(),
        settings: { maxFrames: 2048 },
        summary: () => ({ firstAudioMs: 160 }),
      }),
    );
    for (let i = 0; i < 26; i++) {
      await Bun.sleep(Math.max(0, beganMs + 160 * (i + 1) - Date.now()));
      watch.take(i < 13 ? 0 : 1, 0.08, performance.now());
      await sink.write(tone(0.08));
    }
    const madeMs = Date.now() - beganMs;
    await sink.finish();
    return { waitedMs: heard().waitedMs, startMs: heard().firstMs - beganMs, madeMs };
  }

  test("a safe start comes before all of it is there, and never breaks off; an early one does", async () => {
    const [safe, now] = await Promise.all([speak("safe"), speak("now")]);
    expect(safe.startMs).toBeLessThan(safe.madeMs - 300);
    expect(safe.waitedMs).toBeLessThan(patient(100));
    expect(now.startMs).toBeLessThan(patient(1_000));
    expect(now.waitedMs).toBeGreaterThan(1_000);
  });
});
