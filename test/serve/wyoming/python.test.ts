// The Wyoming server with the real Python package and its benchmark. They are fetched once, into .bun/; where
// that cannot be, the tests say why and pass.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { toS16le } from "../../../src/audio/pcm.ts";
import { type Engine, open } from "../../../src/engine.ts";
import { bundleOf, ROOT } from "../../_support.ts";
import { endAll, serve } from "./_server.ts";

const PACKAGES = ["wyoming==1.10.2", "wyoming-bench==2026.10.0"];
const FOLDER = join(ROOT, ".bun", "python", PACKAGES.join("-"));
const PYTHON = ["python3", "-I"];
const TEXT = "Dinner is ready. The kettle is on.";

/** Why they cannot be had, or null. */
function missing(): string | null {
  if (existsSync(FOLDER)) return null;
  if (Bun.which("python3") === null) return "there is no python3";
  const part = `${FOLDER}.${process.pid}.part`;
  const options = [
    "--quiet",
    "--disable-pip-version-check",
    "--only-binary",
    ":all:",
    "--timeout",
    "20",
    "--retries",
    "1",
  ];
  const { exitCode, stderr } = Bun.spawnSync(
    ["python3", "-m", "pip", "install", ...options, "--target", part, ...PACKAGES],
    { timeout: 120_000 },
  );
  if (exitCode === 0 && !existsSync(FOLDER)) renameSync(part, FOLDER);
  rmSync(part, { recursive: true, force: true });
  return exitCode === 0 ? null : (stderr.toString().trim().split("\n").at(-1) ?? "pip failed");
}

async function python(code: string, ...args: string[]): Promise<string> {
  const child = Bun.spawn(
    [...PYTHON, "-c", `import sys; sys.path.insert(0, ${JSON.stringify(FOLDER)})\n${code}`, ...args],
    {
      stderr: "pipe",
    },
  );
  const [said, complaint] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0) throw new Error(complaint);
  return said;
}

const reason = missing();
if (reason !== null) console.warn(`the Wyoming package for Python cannot be had: ${reason}`);
const withPython = test.skipIf(reason !== null);

let engine: Engine;
beforeAll(async () => {
  engine = await open({ model: bundleOf("starter").directory, greedy: true });
});
afterAll(async () => {
  await endAll();
  await engine.close();
});

withPython("the package hears what the engine says, plain and streamed", async () => {
  const { server } = await serve(engine);
  const program = await Bun.file(join(import.meta.dir, "_client.py")).text();
  const heard = JSON.parse(await python(program, String(server.port), TEXT));
  const said = async (text: string | AsyncIterable<string>) => {
    const chunks = await Array.fromAsync(engine.speak(text));
    return Buffer.concat(chunks.map(({ samples }) => toS16le(samples))).toString("hex");
  };
  async function* pieces() {
    yield TEXT;
  }
  const group = ["audio-start", "audio-chunk", "audio-stop"];
  expect(heard).toEqual({
    voices: ["starter"],
    plain: { types: group, sound: await said(TEXT) },
    stream: { types: [...group, "synthesize-stopped"], sound: await said(pieces()) },
    unknown: ["error", "voice-unknown"],
  });
});

withPython("the benchmark finds and measures it, plain and streamed", async () => {
  const { server } = await serve(engine);
  const where = `127.0.0.1:${server.port}`;
  const run = (...args: string[]) => python("from wyoming_bench.cli import main\nsys.exit(main())", ...args);
  expect(await run("info", where)).toMatch(/qwen3-tts \(synthesize streaming\)\s+voice starter \[en\]/);
  const said = await run("tts", "--rounds", "1", "--warmup", "0", "--texts", TEXT, "--", where);
  expect(said).toContain("[non_streaming] ok=1 fail=0");
  expect(said).toContain("[streaming] ok=1 fail=0");
});
