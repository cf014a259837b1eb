// `make npu-demo`: the whole way to an NPU, on stand-ins for the vendors' libraries: graphs are made, "built"
// into containers, and the program speaks with each backend. Shows that everything fits together; says
// nothing about the speed or the sound of a real NPU.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NpuName, NpuTarget } from "../../src/npu-vendors.ts";
import { buildForStandIns } from "../_npu.ts";
import { compiler, compileStandIns, standInEnvironment } from "../_standins.ts";
import { ROOT, removeScratch, STARTER, wavSamples } from "../_support.ts";

const TEXT = "The kettle is ready. The time is seven forty five.";
const RUNS: { title: string; target: NpuTarget; args: string[]; variable: string; library: NpuName }[] = [
  {
    title: "RK3588",
    target: "rknn",
    args: ["--vocoder", "rknn"],
    variable: "TTS_LIBRKNNRT",
    library: "rknn",
  },
  {
    title: "AX650N card",
    target: "axcl",
    args: ["--vocoder", "axcl", "--predictor", "axcl"],
    variable: "TTS_LIBAXCL",
    library: "axcl",
  },
  {
    title: "AX650N board",
    target: "axcl",
    args: ["--vocoder", "axengine"],
    variable: "TTS_LIBAXENGINE",
    library: "axEngine",
  },
];

if (compiler === null) {
  console.log("there is no C compiler here, which the stand-ins need: apt-get install gcc libc6-dev");
  process.exit(1);
}
const folder = mkdtempSync(join(tmpdir(), "tts-npu-demo-"));
try {
  demonstrate(folder);
} finally {
  rmSync(folder, { recursive: true });
  removeScratch();
}

function demonstrate(folder: string): void {
  const tts = (args: string[], environment: Record<string, string> = {}): string => {
    const { exitCode, stdout } = Bun.spawnSync([process.execPath, join(ROOT, "tts.ts"), ...args], {
      env: { ...process.env, ...environment },
      stderr: "inherit",
    });
    if (exitCode !== 0) throw new Error(`tts ${args.join(" ")}: status ${exitCode}`);
    return stdout.toString();
  };
  const say = (name: string, args: string[], environment: Record<string, string> = {}) => {
    const files = ["-o", join(folder, `${name}.wav`), "--save-codes", join(folder, `${name}.json`)];
    return JSON.parse(tts([TEXT, "--greedy", "--json", ...files, ...args], environment));
  };
  const framesOf = (name: string) =>
    JSON.stringify(JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8")).frames);
  say("cpu", []);
  for (const target of ["rknn", "axcl"] as const) {
    tts(["convert", STARTER, "--target", target, "-o", join(folder, target)]);
    buildForStandIns(join(folder, target), target);
  }
  console.log(`\n"${TEXT}" on stand-ins, which compute the graphs on this processor:`);
  for (const { args, library, target, title, variable } of RUNS) {
    const environment = standInEnvironment({ [variable]: compileStandIns()[library] });
    const { audioSeconds, backends } = say(library, ["--npu", join(folder, target), ...args], environment);
    const same = framesOf(library) === framesOf("cpu") ? "the CPU's codes" : "other codes than the CPU";
    const decibels = signalToNoise(
      wavSamples(join(folder, "cpu.wav")),
      wavSamples(join(folder, `${library}.wav`)),
    );
    const used = `vocoder ${backends.vocoder}, predictor ${backends.predictor}`;
    console.log(
      `${title.padEnd(14)}${used.padEnd(34)}${audioSeconds.toFixed(2)} s, ${same}, sound ${decibels} dB above the difference`,
    );
  }
}

/** In decibels; 16-bit sound reaches about 90 at most. */
function signalToNoise(expected: Float32Array, given: Float32Array): string {
  const power = (values: Float32Array) => values.reduce((sum, value) => sum + value ** 2, 0);
  const noise = power(expected.map((value, i) => value - given[i]));
  return noise === 0 ? "infinitely many" : (10 * Math.log10(power(expected) / noise)).toFixed(0);
}
