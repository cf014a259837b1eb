// Help, settings and tts doctor know NPU vendors only from the table of vendors. A row that the test adds to
// it stands for a further vendor.

import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { PREDICTORS } from "../../src/backends/predictor/index.ts";
import { VOCODERS } from "../../src/backends/vocoder/index.ts";
import { loadConfig, PREDICTOR_CHOICES, VOCODER_CHOICES } from "../../src/config.ts";
import { NPU_NAMES, NPU_TARGETS, NPU_VENDORS, npuBackends } from "../../src/npu-vendors.ts";
import { compiler, compileStandIns, noCompiler, standInEnvironment } from "../_standins.ts";
import { ROOT, scratchFolder } from "../_support.ts";
import { shell } from "./_tts.ts";

const ROW = `further: { title: "A further NPU", variable: "TTS_LIBFURTHER", target: "rknn", vocoder: "further", predictor: "further", node: "",
  sign: /further/ },`;
const CODE = "further: { load: loadRknn, describe: describeRknn, openModel: openRknnModel },";

/**
 * Loaded before the program in each of its processes. It adds a vendor, which uses another vendor's library,
 * to the table and to the list of code.
 */
const PRELOAD = `import { plugin } from "bun";
import { readFileSync } from "node:fs";
const add = (file, before, row) => ({ file, before, row });
const added = [add("src/npu-vendors.ts", "  axEngine: {", ${JSON.stringify(ROW)}), add("ffi/npu/libraries.ts", "  axEngine: {", ${JSON.stringify(CODE)})];
plugin({
  name: "a further vendor",
  setup(build) {
    build.onLoad({ filter: /\\/(src\\/npu-vendors|ffi\\/npu\\/libraries)\\.ts$/ }, ({ path }) => {
      const { before, row } = added.find(({ file }) => path.endsWith(file));
      return { contents: readFileSync(path, "utf8").replace(before, row + before), loader: "ts" };
    });
  },
});
`;

test("every row of the table has its backends, in its order", () => {
  const accelerators = (backends: readonly { name: string }[]) =>
    backends.map(({ name }) => name).filter((name) => !/^(ort|llama)$/.test(name));
  expect(accelerators(VOCODERS)).toEqual(npuBackends("vocoder"));
  expect(accelerators(PREDICTORS)).toEqual(npuBackends("predictor"));
  expect([...VOCODER_CHOICES]).toEqual(["auto", "ort", "rknn", "axcl", "axengine"]);
  expect([...PREDICTOR_CHOICES]).toEqual(["auto", "ort", "llama", "axcl"]);
  expect(NPU_TARGETS).toEqual(["rknn", "axcl"]);
});

test("every variable of the table names its library in the settings", () => {
  const environment = Object.fromEntries(
    NPU_NAMES.map((name) => [NPU_VENDORS[name].variable, `/${name}.so`]),
  );
  expect(environment).toEqual({
    TTS_LIBRKNNRT: "/rknn.so",
    TTS_LIBAXCL: "/axcl.so",
    TTS_LIBAXENGINE: "/axEngine.so",
  });
  const { libraries } = loadConfig({}, environment);
  for (const name of NPU_NAMES) expect(libraries[name]).toBe(`/${name}.so`);
});

test.skipIf(compiler === null)(
  `a further row shows in the help, in the settings and in tts doctor${noCompiler}`,
  async () => {
    const preload = join(scratchFolder(), "further-vendor.ts");
    writeFileSync(preload, PRELOAD);
    const env = {
      BUN_OPTIONS: `--preload=${preload}`,
      ...standInEnvironment({ TTS_LIBFURTHER: compileStandIns().rknn }),
    };
    const further = (args: string) =>
      shell(`${process.execPath} ${join(ROOT, "tts.ts")} ${args}`, scratchFolder(), {
        env: { PATH: process.env.PATH, HOME: scratchFolder(), ...env },
      });

    const { stdout: help } = await further("--help");
    expect(help).toContain("auto|ort|rknn|axcl|further|axengine");
    expect(help).toContain("auto|ort|llama|axcl|further");
    expect((await further("man")).stdout).toContain(
      "TTS_LIBRKNNRT, TTS_LIBAXCL, TTS_LIBFURTHER, TTS_LIBAXENGINE",
    );
    const { npus } = JSON.parse((await further("doctor --json")).stdout) as {
      npus: { name: string; present: boolean; library: unknown }[];
    };
    expect(npus.map(({ name }) => name)).toEqual(["rknn", "axcl", "further", "axEngine"]);
    // found through its variable
    expect(npus[2]).toMatchObject({ present: true, library: { path: compileStandIns().rknn } });
  },
);
