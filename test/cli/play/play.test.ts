// tts --play as a user runs it: what is played, what lies in the file beside it, and how it ends.

import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { WAV_HEADER_BYTES } from "../../../src/audio/encode/wav.ts";
import { patient } from "../../_support.ts";
import { newFolder, shell } from "../_tts.ts";
import { device, isAlive, programs } from "./_players.ts";

const SAY = '$TTS -m "$STARTER" "Dinner is ready." --greedy --seed 1 --quiet';
/** Plays into a file. */
const INTO = (file: string) => `--play --player "sh -c 'cat > ${file}'"`;
const LEAD_BYTES = 2 * 0.2 * 24_000;

describe("what is played", () => {
  test("is the sound of a file as loud, but for its start, and no file is written", async () => {
    const folder = newFolder();
    const { status, stderr } = await shell(
      `${SAY} -o a.pcm --trim-start --loudness -16 && mkdir b && cd b && ${SAY} ${INTO("../b.raw")}`,
      folder,
    );
    expect({ status, stderr, left: readdirSync(join(folder, "b")) }).toEqual({
      status: 0,
      stderr: "",
      left: [],
    });
    const [file, played] = ["a.pcm", "b.raw"].map((name) => readFileSync(join(folder, name)));
    expect(played.subarray(0, LEAD_BYTES).every((byte) => byte === 0)).toBe(true);
    expect(played.subarray(LEAD_BYTES).equals(file)).toBe(true);
  });

  test("leaves the file beside it as it is without playing, to the bit", async () => {
    const folder = newFolder();
    const { status, stderr, stdout } = await shell(
      `${SAY} -o a.wav && ${SAY} -o b.wav ${INTO("b.raw")} && cmp a.wav b.wav && ${SAY} --json ${INTO("c.raw")} && cmp b.raw c.raw`,
      folder,
    );
    expect({ status, stderr, stop: JSON.parse(stdout).stop }).toEqual({ status: 0, stderr: "", stop: "eos" });
  });

  test("is what the codes say, too, as loud as they are", async () => {
    const folder = newFolder();
    const decode = `$TTS decode c.json -m "$STARTER" --quiet`;
    const { status, stderr } = await shell(
      `${SAY} --save-codes c.json -o /dev/null && ${decode} ${INTO("a.raw")} && ${decode} -o b.pcm --trim-start --lead 200 && cmp a.raw b.pcm`,
      folder,
    );
    expect({ status, stderr, left: readdirSync(folder).toSorted() }).toEqual({
      status: 0,
      stderr: "",
      left: ["a.raw", "b.pcm", "c.json"],
    });
  });

  test("and what is asked for also changes the file", async () => {
    const folder = newFolder();
    const changes = "--loudness -16 --volume 50% --lead 100 --rate 48000";
    await shell(
      `${SAY} -o a.pcm --loudness -16; ${SAY} -o b.wav ${changes} ${INTO("b.raw")} --trim-start; ${SAY} -o c.wav ${changes} --trim-start`,
      folder,
    );
    const [plain, wav, raw, alone] = ["a.pcm", "b.wav", "b.raw", "c.wav"].map((name) =>
      readFileSync(join(folder, name)),
    );
    expect([wav.readUInt32LE(24), wav.readUInt32LE(28), wav.readUInt32LE(40)]).toEqual([
      48_000,
      96_000,
      wav.length - WAV_HEADER_BYTES,
    ]);
    expect(wav.subarray(WAV_HEADER_BYTES).equals(raw)).toBe(true);
    expect(alone.equals(wav)).toBe(true);
    const peak = (bytes: Buffer) =>
      new Int16Array(Uint8Array.from(bytes).buffer).reduce(
        (most, value) => Math.max(most, Math.abs(value)),
        0,
      );
    expect(peak(raw) / peak(plain)).toBeCloseTo(0.5, 1);
    expect(raw.subarray(0, 2 * 4_800).every((byte) => byte === 0)).toBe(true);
  });

  test("starts when playing never breaks off, which --verbose says, and the closing line comes last", async () => {
    const folder = newFolder();
    const { heard, player } = device(folder);
    const { stderr } = await shell(
      `$TTS -m "$STARTER" "Dinner is ready." --play --verbose --player "${player}"`,
      folder,
    );
    expect(stderr).toMatch(/^player: \S+bun\S* .*device\.js/m);
    expect(stderr).toMatch(
      / starts with \d\.\d\d s of sound( of about \d\.\d s: a second makes \d+\.\d\d s of it|: all of it)$/m,
    );
    expect(stderr.trim().split("\n").at(-1)).toMatch(/^played: \d/);
    expect(heard().waitedMs).toBeLessThan(patient(100));
  });
});

describe("is refused before anything is done:", () => {
  test.each([
    ["--play -o -", "there are --play and -o -; leave one of them out, or name a file"],
    ["--play -o /dev/stdout", "there are --play and -o /dev/stdout; leave one of them out, or name a file"],
    ["--player aplay", "--player is for playing; add --play, or leave it out"],
    ["--device x", "--device is for playing; add --play, or leave it out"],
    ["--start now", "--start is for playing; add --play, or leave it out"],
    ["--play --start soon", '--start is "soon"; choose one of now, safe, complete'],
    ["--play --format pcm", "--format is for a file; name one with -o"],
    ["--volume 1.1", '--volume is "1.1"; give 0 to 1, or a percentage such as 50%'],
    ["--volume -1", '--volume is "-1"; give 0 to 1, or a percentage such as 50%'],
    ["--volume 101%", '--volume is "101%"; give 0 to 1, or a percentage such as 50%'],
    ["--volume loud", '--volume is "loud"; give 0 to 1, or a percentage such as 50%'],
    ["--lead -1", "--lead is -1; give 0 to 10000"],
    ["--rate 22050", '--rate is "22050"; choose one of 16000, 24000, 44100, 48000'],
    ['--play --player "sox \'"', `the player is "sox '": a quote or backslash has no end; close it`],
    [
      "--play --player 'cat -' --device hw:0",
      'the command "cat -" has no {device} to put "hw:0" in the place of; write it where the name belongs, or leave out --device',
    ],
  ])("%s", async (args, line) => {
    const folder = newFolder();
    const { status, stderr } = await shell(`${SAY} ${args} | cat; exit \${PIPESTATUS[0]}`, folder);
    expect({ status, stderr, left: readdirSync(folder) }).toEqual({
      status: 2,
      stderr: `tts: ${line}\n`,
      left: [],
    });
  });
});

describe("the player", () => {
  const PLAY = "echo $0 $* > $OUT; exec /bin/cat > /dev/null";
  const pick = (folder: string, bin: string, args = "", variables = "") =>
    shell(`export OUT=$PWD/out ${variables}; TTS="$TTS"; PATH=${bin} ${SAY} --play ${args}`, folder);

  test("is the first one that is installed and whose sound server runs", async () => {
    const folder = newFolder();
    const bin = programs(folder, { "pw-play": PLAY, paplay: PLAY, aplay: PLAY, mpv: PLAY });
    const runtime = join(folder, "run");
    mkdirSync(join(runtime, "pulse"), { recursive: true });
    const used = async (...args: string[]) => {
      const { status, stderr } = await pick(
        folder,
        bin,
        args[0],
        `XDG_RUNTIME_DIR=${runtime} ${args[1] ?? ""}`,
      );
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      return readFileSync(join(folder, "out"), "utf8").replace(`${bin}/`, "").trim();
    };
    expect(await used()).toBe("aplay -q -t raw -f S16_LE -c 1 -r 24000 --start-delay=100000 -");
    expect(await used("--device hw:1 --rate 48000")).toContain(" -r 48000 --start-delay=100000 -D hw:1 -");
    expect(await used("", "PULSE_SERVER=board")).toStartWith("paplay ");
    writeFileSync(join(runtime, "pulse/native"), "");
    expect(await used("--device out1")).toBe(
      "paplay --raw --format=s16le --channels=1 --rate=24000 --latency-msec=100 --device=out1",
    );
    writeFileSync(join(runtime, "pipewire-0"), "");
    expect(await used()).toBe("pw-play --rate 24000 --channels 1 --format s16 --latency 100ms -");
    expect(await used("--player mpv")).toStartWith("mpv --no-config ");
    expect(await used(`--player ${bin}/mpv`)).toStartWith("mpv --no-config ");
  });

  test("may be a newer PipeWire's, which is told that samples are raw", async () => {
    const folder = newFolder();
    const bin = programs(folder, {
      "pw-play": `[ "$1" = --help ] && { echo "-a, --raw  RAW mode"; exit; }\n${PLAY}`,
    });
    await pick(folder, bin);
    expect(readFileSync(join(folder, "out"), "utf8")).toEndWith(" --latency 100ms --raw -\n");
  });

  test("is missed before any work, and no file is left", async () => {
    const folder = newFolder();
    const bin = programs(folder, {});
    expect(await pick(folder, bin, "-o a.wav")).toMatchObject({
      status: 5,
      stderr:
        "tts: there is no player: none of pw-play, paplay, aplay, ffplay, mpv, play is installed; install alsa-utils (aplay), or name a command with --player\n",
    });
    expect(await pick(folder, bin, "-o a.wav --player apaly")).toMatchObject({
      status: 5,
      stderr: "tts: there is no player apaly; did you mean aplay?\n",
    });
    expect(readdirSync(folder)).toEqual(["bin"]);
  });

  test("that fails ends the run with its words, and leaves no file", async () => {
    const folder = newFolder();
    const bin = programs(folder, { aplay: "echo 'aplay: main:831: audio open error' >&2; exit 1" });
    expect(await pick(folder, bin, "-o a.wav")).toMatchObject({
      status: 5,
      stderr:
        "tts: the player aplay failed (status 1): aplay: main:831: audio open error; choose another with --player, or another --device\n",
    });
    expect(readdirSync(folder)).toEqual(["bin"]);
  });
});

/** Speaks for minutes to a player that reads in real time, and does something once it plays. */
async function interrupted(what: string): Promise<{ status: number; folder: string; player: number }> {
  const folder = newFolder();
  const { status } = await shell(
    `set -m; yes 'Dinner is ready.' | head -300 > text
     $TTS -m "$STARTER" -i text -o a.wav --quiet --play --player "sh -c 'echo \\$\\$ > pid.part; mv pid.part pid; while head -c 4096 > /dev/null; do sleep 0.08; done'" &
     until [ -s pid ] && ls .a.wav.part-* > /dev/null 2>&1; do sleep 0.02; done; sleep 0.5
     ${what}; wait $!`,
    folder,
  );
  return { status, folder, player: Number(readFileSync(join(folder, "pid"), "utf8")) };
}
const gone = async (pid: number) => {
  for (let i = 0; i < 100 && isAlive(pid); i++) await Bun.sleep(10);
  return !isAlive(pid);
};

describe("in the middle of playing", () => {
  test.each([
    ["INT", 130],
    ["TERM", 143],
    ["HUP", 129],
  ])("SIG%s silences the player and leaves no file", async (signal, expected) => {
    const { folder, player, status } = await interrupted(`kill -${signal} $!`);
    expect(status).toBe(expected);
    expect(await gone(player)).toBe(true);
    expect(readdirSync(folder).toSorted()).toEqual(["pid", "text"]);
  });

  test("kill -9 leaves the file as it was before, and the next run clears the rest away", async () => {
    const { folder, status } = await interrupted("echo old > a.wav; kill -9 $!");
    expect(status).toBe(137);
    expect(readFileSync(join(folder, "a.wav"), "utf8")).toBe("old\n");
    await shell(`${SAY} -o a.wav`, folder);
    expect(readdirSync(folder).toSorted()).toEqual(["a.wav", "pid", "text"]);
    expect(readFileSync(join(folder, "a.wav")).readUInt32LE(40)).toBe(18 * 1920 * 2);
  });

  test("once all has been said, the file is whole, though the player goes on", async () => {
    const folder = newFolder();
    const { status } = await shell(
      `set -m; ${SAY} -o a.wav --play --player "sh -c 'cat > /dev/null; echo x > ended; exec sleep 60'" &
       until [ -s ended ]; do sleep 0.02; done; kill -9 $!; wait $!`,
      folder,
    );
    expect(status).toBe(137);
    const file = readFileSync(join(folder, "a.wav"));
    expect([file.readUInt32LE(40), file.length]).toEqual([18 * 1920 * 2, 18 * 1920 * 2 + WAV_HEADER_BYTES]);
    expect(existsSync(join(folder, "ended"))).toBe(true);
  });
});
