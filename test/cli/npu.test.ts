// The whole program on stand-ins for NPUs: it speaks the same. If a device does not work, it warns and uses
// the CPU; if one vanishes or hangs in the middle, it ends with one line.

import { beforeAll, describe, expect, test } from "bun:test";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { NpuTarget } from "../../src/npu-vendors.ts";
import { npuFolderOf, npuOptions, withManifest } from "../_npu.ts";
import { compiler, compileStandIns, noCompiler, standInEnvironment } from "../_standins.ts";
import { bundleOf, maxDifference, patientSeconds, wavSamples } from "../_support.ts";
import { newFolder, shell } from "./_tts.ts";

const TEXT = '"The kettle is ready."';
/** Allows for 16-bit samples, and for sines that are made of products. */
const MAX_DIFFERENCE = 1e-4;
const VARIABLES = { rknn: "TTS_LIBRKNNRT", axcl: "TTS_LIBAXCL", axEngine: "TTS_LIBAXENGINE" } as const;
const TARGETS: Record<keyof typeof VARIABLES, NpuTarget> = { rknn: "rknn", axcl: "axcl", axEngine: "axcl" };
type Library = keyof typeof VARIABLES;

interface Trouble {
  /** See native/standin-graph.h. */
  fault?: string;
  folder?: string;
  /** Path of the library. */
  path?: string;
  /** Text and options in place of the usual text. */
  text?: string;
  /** Seconds until the program gives up. */
  patience?: number;
}

/** Of a run whose device is to hang, beside four others. */
const PATIENCE_S = patientSeconds(3);

describe.skipIf(compiler === null)(`on stand-ins${noCompiler}`, () => {
  let cwd: string;
  beforeAll(async () => {
    cwd = newFolder();
    const { status } = await shell(`$TTS -m $STARTER ${TEXT} --greedy -o cpu.wav --save-codes cpu.json`, cwd);
    expect(status).toBe(0);
  });

  /** Speaks with the models and the library of an NPU. */
  function speak(library: Library, args: string, trouble: Trouble = {}) {
    const {
      fault = "",
      folder = npuFolderOf(bundleOf("starter"), TARGETS[library]),
      path = compileStandIns()[library],
      patience = patientSeconds(60),
      text = TEXT,
    } = trouble;
    const variables = {
      [VARIABLES[library]]: path,
      TTS_NPU_FAULT: fault,
      TTS_STAGE_TIMEOUT: String(patience),
    };
    const environment = Object.entries(standInEnvironment(variables)).map(
      ([name, value]) => `${name}='${value}'`,
    );
    return shell(
      `${environment.join(" ")} $TTS -m $STARTER ${text} --npu ${folder} -o npu.wav --save-codes npu.json ${args}`,
      cwd,
    );
  }
  const codesIn = (file: string) => JSON.parse(readFileSync(join(cwd, file), "utf8")).frames;
  const soundIn = (file: string) => wavSamples(join(cwd, file));
  const warningsIn = (stderr: string) =>
    stderr.split("\n").filter((line) => line.startsWith("tts: warning: "));

  test.each([
    ["rknn", "auto"],
    ["rknn", "rknn"],
    ["axcl", "auto"],
    ["axcl", "axcl"],
    ["axEngine", "auto"],
    ["axEngine", "axengine"],
  ] as [Library, string][])("%s: --vocoder %s says the same", async (library, vocoder) => {
    const { status, stderr, stdout } = await speak(library, `--greedy --vocoder ${vocoder} --json`);
    expect([status, warningsIn(stderr)]).toEqual([0, []]);
    expect(JSON.parse(stdout).backends.vocoder).toBe(library.toLowerCase());
    expect(JSON.parse(stdout).backends.predictor).toMatch(library === "axcl" ? /^axcl$/ : /^(ort|llama)$/);
    expect(codesIn("npu.json")).toEqual(codesIn("cpu.json"));
    expect(maxDifference(soundIn("npu.wav"), soundIn("cpu.wav"))).toBeLessThan(MAX_DIFFERENCE);
  });

  test("the code predictor on a card draws the same codes with the same seed, and others with another", async () => {
    const draw = async (seed: number) => {
      const { status } = await speak("axcl", `--predictor axcl --seed ${seed}`);
      expect(status).toBe(0);
      return codesIn("npu.json");
    };
    const first = await draw(1);
    expect(await draw(1)).toEqual(first);
    expect(await draw(2)).not.toEqual(first);
  });

  test.each([
    ["the library is missing", "rknn", { path: "/nowhere/librknnrt.so" }, /\/nowhere\/librknnrt\.so/],
    ["there is no device", "rknn", { fault: "rknn_init:-3:1" }, /RKNN_ERR_DEVICE_UNAVAILABLE/],
    ["its sound is wrong", "rknn", { fault: "rknn_run:garbage:1" }, /dB above its error/],
    ["there is no card", "axcl", { fault: "axclrtGetDeviceList:0x80300181:1" }, /0x80300181/],
    [
      "the NPU is not there",
      "axEngine",
      { fault: "AX_ENGINE_Init:0x80060087:1,AX_ENGINE_GetVNPUAttr:0x80060087:1" },
      /0x80060087/,
    ],
  ] as [string, Library, Trouble, RegExp][])(
    "%s: one warning, and the CPU speaks",
    async (_what, library, trouble, reason) => {
      const { status, stderr, stdout } = await speak(library, "--greedy --json", trouble);
      const warnings = warningsIn(stderr);
      expect([status, warnings.length]).toEqual([0, 1]);
      expect(warnings[0]).toMatch(reason);
      expect(JSON.parse(stdout).backends.vocoder).toBe("ort");
      expect(JSON.parse(stdout).backends.predictor).toBeOneOf(["ort", "llama"]);
      expect(readFileSync(join(cwd, "npu.wav"))).toEqual(readFileSync(join(cwd, "cpu.wav")));
      const forced = await speak(
        library,
        `--vocoder ${library.toLowerCase()} --predictor ort -o forced.wav`,
        trouble,
      );
      expect(forced.status).toBeOneOf([3, 4]);
      expect(forced.stderr).toMatch(reason);
      expect(forced.stderr.trimEnd().split("\n").length).toBe(1);
    },
  );

  test.each([
    ["--predictor-top-p 0.9", "top-p 0.9"],
    ["--predictor-top-k 65", "top-k 65, above 64"],
  ])("a card cannot draw with %s: one warning, and the CPU draws", async (args, what) => {
    const reason = `the code predictor on the card cannot draw with ${what}`;
    const { status, stderr, stdout } = await speak("axcl", `--seed 1 --json ${args}`);
    expect([status, warningsIn(stderr)]).toEqual([
      0,
      [expect.stringContaining(`no NPU for the predictor: ${reason}`)],
    ]);
    expect(JSON.parse(stdout).backends).toMatchObject({
      vocoder: "axcl",
      predictor: expect.stringMatching(/^(ort|llama)$/),
    });
    const forced = await speak("axcl", `--predictor axcl ${args}`);
    expect(forced.status).toBe(2);
    expect(forced.stderr).toContain(`tts: ${reason}; use --predictor ort or llama`);
    // the likeliest codes are always possible
    expect((await speak("axcl", `--predictor axcl --greedy ${args}`)).status).toBe(0);
  });

  test("models of another checkpoint are not taken", async () => {
    const folder = npuFolderOf(bundleOf("tiny-custom"), "rknn");
    const { status, stderr } = await speak("rknn", "", { folder });
    expect([status, warningsIn(stderr).length]).toEqual([0, 1]);
    expect(stderr).toContain("was made of");
    const forced = await speak("rknn", "--vocoder rknn", { folder });
    expect([forced.status, warningsIn(forced.stderr).length]).toEqual([3, 0]);
    expect(forced.stderr).toContain(`tts: ${folder} was made of`);
  });

  test("a model that is not built yet is named", async () => {
    const folder = join(newFolder(), "unbuilt");
    cpSync(npuFolderOf(bundleOf("starter"), "rknn"), folder, { recursive: true });
    writeFileSync(join(folder, "vocoder.rknn"), "");
    const { status, stderr } = await speak("rknn", "--vocoder rknn", { folder });
    expect(status).toBe(3);
    expect(stderr).toContain("vocoder.rknn is empty; build it");
  });

  test("two sentences on a core each: the same sound, and a device that vanishes ends both", async () => {
    const folder = withManifest(npuOptions(bundleOf("starter"), 1, "rknn", "rknn"), { cores: 1 }).config.npu;
    const args = `"The window is open. The door is closed. The kettle is ready." --greedy --lanes 2`;
    expect((await shell(`$TTS -m $STARTER ${args} -o cpu2.wav --save-codes cpu2.json`, cwd)).status).toBe(0);
    const { status, stderr } = await speak("rknn", "", { folder, text: args });
    expect([status, warningsIn(stderr)]).toEqual([0, []]);
    expect(codesIn("npu.json")).toEqual(codesIn("cpu2.json"));
    expect(maxDifference(soundIn("npu.wav"), soundIn("cpu2.wav"))).toBeLessThan(MAX_DIFFERENCE);
    const gone = await speak("rknn", "", { folder, text: args, fault: "rknn_run:gone:17" });
    expect([gone.status, gone.stderr.trimEnd().split("\n").length]).toEqual([6, 1]);
  });

  test("a folder without models is an error at once", async () => {
    const { status, stderr } = await speak("rknn", "", { folder: "/nowhere" });
    expect(status).toBe(3);
    expect(stderr).toContain("/nowhere");
  });

  test.each([
    ["rknn", "rknn_run:gone:5"],
    ["axcl", "axclrtEngineExecute:gone:5"],
    ["axEngine", "AX_ENGINE_RunSync:gone:5"],
  ] as [Library, string][])("%s vanishes in the middle: one line and a status", async (library, fault) => {
    const { status, stderr } = await speak(library, "--greedy --predictor ort", { fault });
    expect(status).toBe(6);
    expect(stderr.trimEnd().split("\n").length).toBe(1);
    expect(stderr).toStartWith("tts: ");
  });

  // All that wait for a patience do it side by side.
  test.concurrent.each([
    ["rknn", "rknn_run:hang:5"],
    ["axcl", "axclrtEngineExecute:hang:5"],
    ["axEngine", "AX_ENGINE_RunSync:hang:5"],
  ] as [Library, string][])(
    "%s hangs in the middle: the program gives up after its patience",
    async (library, fault) => {
      const { status, stderr } = await speak(library, "--greedy --predictor ort", {
        fault,
        patience: PATIENCE_S,
      });
      expect(status).toBe(8);
      expect(stderr).toMatch(
        /the vocoder \(\w+\) has given no sign for \d+ s; --vocoder ort does without it/,
      );
    },
  );

  test.concurrent("a code predictor that hangs is named, though frames wait for the vocoder", async () => {
    const { status, stderr } = await speak("axcl", "--vocoder ort", {
      fault: "axclrtEngineExecute:hang:6",
      patience: PATIENCE_S,
    });
    expect(status).toBe(8);
    expect(stderr).toContain(
      `the predictor (axcl) has given no sign for ${PATIENCE_S} s; --predictor ort does without it`,
    );
  });

  test.concurrent("a device that hangs before the first frame is given up as well", async () => {
    const { status, stderr } = await speak("rknn", "", { fault: "rknn_run:hang:1", patience: PATIENCE_S });
    expect(status).toBe(8);
    expect(stderr).toContain(
      `the vocoder (rknn) was not ready after ${PATIENCE_S} s; --vocoder ort does without it`,
    );
  });
});
