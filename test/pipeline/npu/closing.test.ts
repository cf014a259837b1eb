// A stage returns everything that it took from an accelerator, even if it fails in the middle. Runs on
// stand-ins, which count.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { NpuTarget } from "../../../src/npu-vendors.ts";
import { npuFolderOf } from "../../_npu.ts";
import { compiler, compileStandIns, noCompiler, standInEnvironment } from "../../_standins.ts";
import { bundleOf, ROOT } from "../../_support.ts";

describe.skipIf(compiler === null)(`an accelerator${noCompiler}`, () => {
  test.each([
    ["the vocoder", "rknn", "TTS_LIBRKNNRT", "rknn_run:-1:6", { vocoder: "rknn" }],
    [
      "the code predictor",
      "axcl",
      "TTS_LIBAXCL",
      "axclrtEngineExecute:1:6",
      { predictor: "axcl", vocoder: "ort" },
    ],
  ] as [string, NpuTarget, string, string, object][])(
    "gets everything back from %s that failed",
    async (_stage, target, variable, fault, choice) => {
      const bundle = bundleOf("starter");
      const library = compileStandIns()[target];
      const options = { ...choice, model: bundle.directory, npu: npuFolderOf(bundle, target) };
      const script = `
      import { dlopen } from "bun:ffi";
      import { open } from ${JSON.stringify(join(ROOT, "src/engine.ts"))};
      const engine = await open(${JSON.stringify(options)});
      const failure = await Array.fromAsync(engine.speak("The kettle is ready.", { greedy: true })).then(() => "none", ({ code }) => code);
      await engine.close();
      const { symbols } = dlopen(${JSON.stringify(library)}, { standin_live_objects: { args: [], returns: "i64" } });
      console.log(failure, Number(symbols.standin_live_objects()));`;
      const env = { ...process.env, ...standInEnvironment({ [variable]: library, TTS_NPU_FAULT: fault }) };
      const child = Bun.spawn([process.execPath, "-e", script], { env, stdout: "pipe", stderr: "inherit" });
      expect(await new Response(child.stdout).text()).toBe("NPU_FAILED 0\n");
    },
  );
});
