// The program as one file: built once, then run with nothing but an empty home.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { basename, dirname, extname, join } from "node:path";
import { dependencies } from "../../package.json";
import { ROOT } from "../_support.ts";
import { Server, stopServers } from "../serve/sockets/_server.ts";

// On a disk: elsewhere, such as in memory, programs may not be allowed to run.
const folder = mkdtempSync(join(tmpdir(), "tts-binary-test-"));
const platform = `linux-${process.arch}`;
const tts = join(folder, "first", `tts-${platform}`);

const SILENT: Ended = { status: 0, stdout: "", stderr: "" };

interface Ended {
  status: number;
  stdout: string;
  stderr: string;
}

function run(command: readonly string[], env: Record<string, string> = {}, cwd = folder): Promise<Ended> {
  const child = spawn(command[0], command.slice(1), { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  const text = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream].on("data", (chunk) => {
      text[stream] += chunk.toString("latin1");
    });
  }
  return new Promise((resolve) => child.on("close", (status) => resolve({ status: status ?? -1, ...text })));
}

async function build(command: readonly string[]): Promise<void> {
  const { status, stderr } = await run(command, { HOME: folder, PATH: process.env.PATH! }, ROOT);
  if (status !== 0) throw new Error(stderr);
}

let homes = 0;
function newHome(): string {
  const home = join(folder, `home-${homes++}`);
  mkdirSync(home);
  return home;
}
const cacheOf = (home: string) => join(home, ".cache/qwen3-tts");
/** The folder that a part was unpacked to. */
function unpackedIn(base: string, part: "lib" | "starter"): string {
  const found = readdirSync(base).filter((name) => new RegExp(`^${part}-[0-9a-f]{16}$`).test(name));
  expect(found).toHaveLength(1);
  return join(base, found[0]);
}
const modesOf = (path: string) => statSync(path).mode & 0o777;
const SAY = ["Hello.", "--greedy", "--seed", "1", "--quiet"];
const say = (home: string, env: Record<string, string> = {}) =>
  run([tts, ...SAY, "-o", join(home, "out.wav")], { HOME: home, ...env });
const soundOf = (home: string) => readFileSync(join(home, "out.wav"));

/** A home where it has spoken; tests that change its files take another one. */
let used = "";
let spoken: Buffer;

beforeAll(async () => {
  const built = `dist/tts-${platform}`;
  await build(["make", built]); // only where it is older than its sources; .ci/test-arm64 takes the same file
  mkdirSync(dirname(tts));
  copyFileSync(join(ROOT, built), tts);
  used = newHome();
  expect(await say(used)).toEqual(SILENT);
  spoken = soundOf(used);
});
afterAll(async () => {
  await stopServers();
  rmSync(folder, { recursive: true, force: true });
});

const isRoot = process.getuid?.() === 0;
/** Whether this user may mount something for a process alone. */
const mounts = Bun.spawnSync(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", folder]).exitCode === 0;
const withMounts = mounts ? "" : " (skipped: no mounts for a process alone here)";

describe("the binary", () => {
  test.each(["wav", "flac", "mp3", "opus"])("speaks as the sources do to the byte: %s", async (format) => {
    const paths = [[tts], [process.execPath, join(ROOT, "tts.ts")]].map(async (program, i) => {
      const path = join(folder, `${i}.${format}`);
      expect(await run([...program, ...SAY, "-o", path], { HOME: used })).toEqual(SILENT);
      return readFileSync(path);
    });
    const [ours, theirs] = await Promise.all(paths);
    expect(ours.equals(theirs)).toBe(true);
    expect(ours.length).toBeGreaterThan(format === "wav" ? 24_000 : 2_000);
  });

  test("holds every command: codes are decoded again", async () => {
    const codes = join(folder, "codes.json");
    expect(
      (await run([tts, ...SAY, "-o", join(folder, "a.wav"), "--save-codes", codes], { HOME: used })).status,
    ).toBe(0);
    expect(
      (await run([tts, "decode", codes, "-o", join(folder, "b.wav"), "--quiet"], { HOME: used })).status,
    ).toBe(0);
    expect(readFileSync(join(folder, "b.wav")).equals(spoken)).toBe(true);
  });

  test.each([
    ["models", ["models", "--json"], '"name": "starter"'],
    ["bench", ["bench", "-m", "starter", "--frames", "4", "--repeat", "1", "--json"], '"frames"'],
    ["voices", ["voices", "list"], ""],
    ["processes that try a library", ["--version", "--verbose"], "lib-"],
  ])("holds every command: %s", async (_name, args, expected) => {
    const { status, stderr, stdout } = await run([tts, ...args], { HOME: used });
    expect([status, status === 0 ? "" : stderr]).toEqual([0, ""]);
    expect(stdout).toContain(expected);
  });

  test("prints the licences of all that is in it, as the sources do", async () => {
    const { status, stdout } = await run([tts, "licences"]);
    expect([status, stdout]).toEqual([
      0,
      (await run([process.execPath, join(ROOT, "tts.ts"), "licences"])).stdout,
    ]);
    const titles = stdout.match(/^={100}\n.+(?=\n={100}$)/gm)!.map((title) => title.slice(101));
    const carried = [
      "tts ",
      "The starter voice",
      "libllama and libggml",
      "libonnxruntime",
      "Bun",
      ...Object.keys(dependencies),
    ];
    expect(carried.filter((name) => !titles.some((title) => title.startsWith(name)))).toEqual([]);
    const holders = [
      "The ggml authors",
      "Microsoft Corporation",
      "Carnegie Mellon University",
      "JavaScriptCore",
      "mpg123 project",
      "LAME project",
      "Xiph.Org",
    ];
    const texts = [
      "LIBRARY GENERAL PUBLIC LICENSE",
      "LESSER GENERAL PUBLIC LICENSE",
      "GNU GENERAL PUBLIC LICENSE",
    ];
    expect([...holders, ...texts].filter((words) => !stdout.includes(words))).toEqual([]);
    expect(titles.filter((title) => /: A?GPL/.test(title))).toEqual([]);
    const decodersUnderGpl = ["AAC init failed", "DTS decoder allocation failed"];
    const bytes = readFileSync(tts);
    expect(decodersUnderGpl.filter((message) => bytes.includes(message))).toEqual([]);
  });

  test("hears the recordings that the sources hear", async () => {
    const [home, recordings] = [newHome(), join(ROOT, "test/golden/recordings")];
    const model = ["-m", join(ROOT, "test/golden/tiny-base")];
    for (const name of readdirSync(recordings)) {
      const from = ["--from", join(recordings, name)];
      const command = [tts, "voices", "add", extname(name).slice(1), ...from, ...model];
      expect(await run([...command, "--quiet"], { HOME: home, TTS_LIB_DIR: cacheOf(used) })).toEqual(SILENT);
    }
    expect((await run([tts, "voices", "list"], { HOME: home })).stdout).toMatch(/flac.*mp3.*ogg/s);
  });

  test("names a command that makes a wav of a recording it cannot read", async () => {
    const [path, model] = [join(folder, "voice.m4a"), join(ROOT, "test/golden/tiny-base")];
    writeFileSync(path, Buffer.from("0000001c667479704d344120000000004d3441206d70343269736f6d", "hex"));
    const { status, stderr } = await run([tts, "voices", "add", "anna", "--from", path, "-m", model], {
      HOME: used,
    });
    const line = `tts: ${path} cannot be decoded: it is an MPEG-4 file (m4a, mp4, mov); give a wav, flac, mp3 or ogg file; ffmpeg makes one: ffmpeg -i ${path} ${join(folder, "voice.wav")}\n`;
    expect([status, stderr]).toEqual([2, line]);
  });

  test("converts a checkpoint as the sources do", async () => {
    const target = join(folder, "bundle");
    const { status } = await run(
      [tts, "convert", join(ROOT, "models/starter"), "-o", target, "--weights", "q8_0", "--quiet"],
      {
        HOME: used,
      },
    );
    expect(status).toBe(0);
    expect(existsSync(join(target, "bundle.json"))).toBe(true);
  });

  test("takes nothing from the folder it is called in", async () => {
    const cwd = newHome();
    writeFileSync(join(cwd, ".env"), `TTS_CACHE=${join(cwd, "env")}\nTTS_LIBLLAMA=${join(cwd, "none.so")}\n`);
    writeFileSync(join(cwd, "bunfig.toml"), 'preload = ["./evil.ts"]\n[run]\npreload = ["./evil.ts"]\n');
    writeFileSync(
      join(cwd, "evil.ts"),
      `require("node:fs").writeFileSync(${JSON.stringify(join(cwd, "evil"))}, "");`,
    );
    const { status } = await run([tts, ...SAY, "-o", "out.wav"], { HOME: used }, cwd);
    expect(status).toBe(0);
    expect(readdirSync(cwd).sort()).toEqual([".env", "bunfig.toml", "evil.ts", "out.wav"]);
  });

  test("goes on serving while its file is away, and starts a stage again when it is back", async () => {
    const program = join(folder, "served");
    linkSync(tts, program);
    const server = await Server.start(["--stage", "vocoder"], { TTS_LIB_DIR: cacheOf(used) }, undefined, [
      program,
    ]);
    rmSync(program);
    process.kill(server.processOf("vocoder"), "SIGKILL");
    await server.says(/the vocoder process ended \(.*no such file.*\); it is started again\n/i);
    linkSync(tts, program);
    await server.says(/^vocoder: back on /m);
    expect(server.stderr).not.toContain("TypeError");
    expect(await server.stop()).toBe(143);
  });

  test("works under another name and through a link", async () => {
    const link = join(folder, "speak");
    symlinkSync(tts, link);
    expect((await run([link, ...SAY, "-o", join(folder, "link.wav")], { HOME: used })).status).toBe(0);
    expect(readFileSync(join(folder, "link.wav")).equals(spoken)).toBe(true);
  });

  test("is the same when it is built again, and tells nothing of this machine", async () => {
    const again = join(folder, "another folder", "below");
    await build([process.execPath, join(ROOT, "src/packaging/binary.ts"), again, platform]);
    const bytes = readFileSync(join(again, basename(tts)));
    expect(bytes.equals(readFileSync(tts))).toBe(true);
    const places = [ROOT, folder, ".building-", homedir() === "/root" ? "/root/.bun" : homedir()];
    expect(places.filter((place) => bytes.includes(place))).toEqual([]);
  });
});

describe("what it unpacks", () => {
  test("is for its user alone, and whole: no code for GPUs, no bindings for Node", () => {
    const [lib, starter] = [unpackedIn(cacheOf(used), "lib"), unpackedIn(cacheOf(used), "starter")];
    expect([modesOf(lib), modesOf(starter), modesOf(join(lib, "libonnxruntime.so.1"))]).toEqual([
      0o700, 0o700, 0o600,
    ]);
    const names = readdirSync(lib);
    expect(
      names.filter(
        (name) =>
          !/^lib(llama|ggml|ggml-base|ggml-cpu-[\w.]+|onnxruntime)\..*so/.test(name) &&
          !name.startsWith("libggml-cpu-"),
      ),
    ).toEqual([]);
    const variants = readdirSync(join(ROOT, `node_modules/@node-llama-cpp/${platform}/bins/${platform}`));
    expect(names.filter((name) => name.startsWith("libggml-cpu-")).sort()).toEqual(
      variants.filter((name) => name.startsWith("libggml-cpu-")).sort(),
    );
    expect(
      readFileSync(join(starter, "NOTICE")).equals(readFileSync(join(ROOT, "models/starter/NOTICE"))),
    ).toBe(true);
  });

  test("holds the voice's decoder packed, as it is mostly zeros; damage that keeps the sizes is mended at a conversion", async () => {
    const home = newHome();
    expect((await say(home)).status).toBe(0);
    const starter = unpackedIn(cacheOf(home), "starter");
    const packed = join(starter, "speech_tokenizer/model.safetensors.zst");
    expect(existsSync(packed.replace(".zst", ""))).toBe(false);
    expect(statSync(packed).size).toBeLessThan(
      statSync(join(ROOT, "models/starter/speech_tokenizer/model.safetensors")).size / 10,
    );
    for (const file of [packed, join(starter, "merges.txt"), join(starter, "config.json")]) {
      rmSync(join(cacheOf(home), "bundles"), { recursive: true });
      writeFileSync(file, readFileSync(file).fill(0x55, 100, 800));
      expect(await say(home)).toEqual(SILENT);
      expect(soundOf(home).equals(spoken)).toBe(true);
    }
  });

  test("is written once: a second start finds it", async () => {
    const library = join(unpackedIn(cacheOf(used), "lib"), "libonnxruntime.so.1");
    const before = statSync(library);
    expect((await say(used)).status).toBe(0);
    expect([statSync(library).ino, statSync(library).mtimeMs]).toEqual([before.ino, before.mtimeMs]);
  });

  test("is written again where it is damaged; removes what a killed process left, and versions before the last one", async () => {
    const home = newHome();
    for (const [i, name] of ["lib-0000000000000001", "lib-0000000000000002", "lib-mine"].entries()) {
      mkdirSync(join(cacheOf(home), name), { recursive: true });
      utimesSync(join(cacheOf(home), name), 1000 + i, 1000 + i);
    }
    expect((await say(home)).status).toBe(0);
    expect(readdirSync(cacheOf(home))).toEqual(expect.arrayContaining(["lib-0000000000000002", "lib-mine"]));
    expect(existsSync(join(cacheOf(home), "lib-0000000000000001"))).toBe(false);
    rmSync(join(cacheOf(home), "lib-0000000000000002"), { recursive: true });

    const [lib, starter] = [unpackedIn(cacheOf(home), "lib"), unpackedIn(cacheOf(home), "starter")];
    truncateSync(join(lib, "libggml-base.so"), 1000);
    rmSync(join(starter, "merges.txt"));
    mkdirSync(join(cacheOf(home), `.${basename(lib)}.part`));
    expect(await say(home)).toEqual(SILENT);
    expect(soundOf(home).equals(spoken)).toBe(true);
    expect(statSync(join(lib, "libggml-base.so")).size).toBeGreaterThan(1000);
    expect(readdirSync(cacheOf(home)).filter((name) => /\.(part|old)$/.test(name))).toEqual([]);
  });

  test("survives a kill, and two at once afterwards", async () => {
    const home = newHome();
    const child = spawn(tts, [...SAY, "-o", join(home, "out.wav")], { env: { HOME: home }, stdio: "ignore" });
    const ended = new Promise((resolve) => child.on("close", resolve));
    const isUnpacking = () =>
      existsSync(cacheOf(home)) && readdirSync(cacheOf(home)).some((name) => name.endsWith(".part"));
    while (!isUnpacking() && child.exitCode === null) await Bun.sleep(1);
    child.kill("SIGKILL");
    await ended;
    expect(existsSync(join(home, "out.wav"))).toBe(false);
    const both = ["a.wav", "b.wav"].map((name) => run([tts, ...SAY, "-o", join(home, name)], { HOME: home }));
    expect((await Promise.all(both)).map(({ status }) => status)).toEqual([0, 0]);
    for (const name of ["a.wav", "b.wav"]) expect(readFileSync(join(home, name)).equals(spoken)).toBe(true);
  });

  test("is refused where others could have put it", async () => {
    const lib = unpackedIn(cacheOf(used), "lib");
    chmodSync(lib, 0o777);
    const { status, stderr } = await say(used);
    chmodSync(lib, 0o700);
    expect(status).toBe(5);
    expect(stderr).toContain(`others may write to ${lib}`);
  });

  test.skipIf(!isRoot)(
    `is refused where another user owns it, other than root${isRoot ? "" : " (skipped: only root can give files away)"}`,
    async () => {
      const lib = unpackedIn(cacheOf(used), "lib");
      chownSync(lib, 12345, 12345);
      const { status, stderr } = await say(used);
      chownSync(lib, 0, 0);
      expect([status, stderr]).toEqual([
        5,
        expect.stringMatching(/belongs to another user \(12345\).* TTS_LIB_DIR/),
      ]);
      expect(stderr).not.toContain("remove it");
    },
  );

  test("says how to mend a library whose bytes have changed", async () => {
    const home = newHome();
    expect((await say(home)).status).toBe(0);
    const lib = unpackedIn(cacheOf(home), "lib");
    const library = join(lib, "libonnxruntime.so.1");
    writeFileSync(library, Buffer.alloc(statSync(library).size));
    const way = `remove ${lib}: the next start unpacks it again`;
    expect(await say(home)).toMatchObject({ status: 4, stderr: expect.stringContaining(way) });
    expect((await run([tts, "doctor"], { HOME: home })).stdout).toContain(way);
    rmSync(lib, { recursive: true });
    expect((await say(home)).status).toBe(0);
  });

  test("needs a home that can be written, or TTS_LIB_DIR", async () => {
    const home = "/dev/null/home";
    const { status, stderr } = await run([tts, ...SAY, "-o", join(folder, "x.wav")], { HOME: home });
    expect(status).toBe(5);
    expect(stderr).toMatch(/cannot unpack \d+ MB to \/dev\/null\/home.*TTS_LIB_DIR/s);
    const env = { HOME: home, TTS_LIB_DIR: newHome() };
    expect(await run([tts, ...SAY, "-o", join(folder, "x.wav")], env)).toMatchObject({ status: 0 });
    expect(readFileSync(join(folder, "x.wav")).equals(spoken)).toBe(true);
  });

  test.skipIf(!mounts)(`needs a folder where programs may run, or TTS_LIB_DIR${withMounts}`, async () => {
    const [home, lib] = [newHome(), newHome()];
    const script = 'mount -t tmpfs -o noexec tmpfs "$HOME" && exec "$@"';
    const command = [
      "unshare",
      "-rm",
      "sh",
      "-c",
      script,
      "sh",
      tts,
      ...SAY,
      "-o",
      join(folder, "noexec.wav"),
    ];
    const env = { HOME: home, PATH: process.env.PATH! };
    const { status, stderr } = await run(command, env);
    expect(status).toBe(4);
    expect(stderr).toMatch(/could not be loaded: .*failed to map segment.*TTS_LIB_DIR/s);
    expect(await run(command, { ...env, TTS_LIB_DIR: lib })).toMatchObject({ status: 0 });
    expect(readFileSync(join(folder, "noexec.wav")).equals(spoken)).toBe(true);
  });

  test.skipIf(!mounts)(`says when the disk is full, and leaves nothing there${withMounts}`, async () => {
    const script =
      'mount -t tmpfs -o size=10m tmpfs "$HOME" && "$@"; status=$?; find "$HOME" -type f -size +0; exit $status';
    const command = ["unshare", "-rm", "sh", "-c", script, "sh", tts, ...SAY, "-o", join(folder, "full.wav")];
    const { status, stderr, stdout } = await run(command, { HOME: newHome(), PATH: process.env.PATH! });
    expect([status, stdout]).toEqual([5, ""]);
    expect(stderr).toMatch(/cannot unpack \d+ MB.*the disk is full.*free some space/is);
  });
});

describe("libraries of the user", () => {
  test("are taken when they are the right version, whatever the CPU code in them", async () => {
    const [home, own] = [newHome(), newHome()];
    const lib = unpackedIn(cacheOf(used), "lib");
    const variant = readdirSync(lib).find((name) => /^libggml-cpu-(x64|armv8\.0_1)\.so$/.test(name))!;
    for (const name of ["libggml-base.so", "libggml.v0.5.0.so", variant])
      copyFileSync(join(lib, name), join(own, name));
    copyFileSync(join(lib, "libllama.v0.5.0.so"), join(own, "libllama.so"));
    const env = { TTS_LIBLLAMA: own, TTS_LIBONNXRUNTIME: join(lib, "libonnxruntime.so.1") };
    expect(await say(home, env)).toEqual(SILENT);
    expect(readdirSync(cacheOf(home)).some((name) => name.startsWith("lib-"))).toBe(false);
    expect(soundOf(home).length).toBeGreaterThan(24_000);
  });

  test("are refused with a reason otherwise", async () => {
    const wrong = join(folder, "libonnxruntime.so");
    writeFileSync(wrong, "no library");
    const failed = await say(used, { TTS_LIBONNXRUNTIME: wrong });
    expect(failed).toMatchObject({ status: 4, stderr: expect.stringContaining(wrong) });
  });
});

test("a binary that is damaged says so", async () => {
  const damaged = join(folder, "damaged");
  const bytes = readFileSync(tts);
  // a zstd frame, behind the runtime
  const at = bytes.indexOf(Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), 109_000_000);
  expect(at).toBeGreaterThan(0);
  bytes.fill(0x55, at + 5_000_000, at + 5_000_100);
  writeFileSync(damaged, bytes, { mode: 0o755 });
  const home = newHome();
  const { status, stderr } = await run([damaged, ...SAY, "-o", join(home, "out.wav")], { HOME: home });
  expect([status, stderr]).toEqual([4, expect.stringContaining(`${damaged} is damaged`)]);
});
