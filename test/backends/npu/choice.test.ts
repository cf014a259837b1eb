// When an NPU's backends say that they cannot run, and what a vocoder asks of its models, on the stand-ins
// for the vendors' libraries. What it makes of codes is in test/conformance.

import { expect, test } from "bun:test";
import { loadRknn, openRknnModel } from "../../../ffi/npu/rknn.ts";
import { npuVocoder } from "../../../src/backends/npu/vocoder.ts";
import { PREDICTORS } from "../../../src/backends/predictor/index.ts";
import type { Backend } from "../../../src/backends/stage.ts";
import { VOCODERS } from "../../../src/backends/vocoder/index.ts";
import type { NpuName, NpuTarget } from "../../../src/npu-vendors.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../../../src/types.ts";
import { npuOptions } from "../../_npu.ts";
import { compiler, noCompiler } from "../../_standins.ts";
import { bundleOf, named, reasonAgainst } from "../../_support.ts";

test.skipIf(compiler === null)(
  `a memory is put back without copying out what it replaces${noCompiler}`,
  () => {
    let saves = 0;
    const backend = npuVocoder({
      name: "rknn",
      vendor: "rknn",
      target: "rknn",
      isHere: () => true,
      load: ({ allowStandIn, libraries }) => loadRknn({ override: libraries.rknn, allowStandIn }),
      openModel: (options) => {
        const model = openRknnModel(options);
        const save = model.save.bind(model);
        model.save = (lane) => {
          saves++;
          return save(lane);
        };
        return model;
      },
    });
    const vocoder = backend.open(npuOptions(bundleOf("starter"), 2, "rknn", "rknn"));
    try {
      const frames = 6;
      const codes = Int32Array.from({ length: frames * CODES_PER_FRAME }, (_, i) => (i * i) % 50);
      const samples = [0, 1].map(() => new Float32Array(frames * SAMPLES_PER_FRAME));
      vocoder.reset(0);
      vocoder.decode(0, codes, frames, samples[0]);
      const memory = vocoder.save(0);
      const before = saves;
      expect(before).toBeGreaterThan(0);
      vocoder.restore(1, memory);
      expect(saves).toBe(before);
      for (const lane of [0, 1]) vocoder.decode(lane, codes, frames, samples[lane]);
      expect(samples[1]).toEqual(samples[0]);
    } finally {
      vocoder.close();
    }
  },
);

test.skipIf(compiler === null)(`a probe says in one line why not${noCompiler}`, () => {
  const starter = bundleOf("starter");
  const subjects: [Backend<unknown>, NpuTarget, NpuName][] = [
    [named(VOCODERS, "rknn"), "rknn", "rknn"],
    [named(VOCODERS, "axcl"), "axcl", "axcl"],
    [named(VOCODERS, "axengine"), "axcl", "axEngine"],
    [named(PREDICTORS, "axcl"), "axcl", "axcl"],
  ];
  for (const [backend, target, library] of subjects) {
    const options = npuOptions(starter, 1, target, library);
    expect(reasonAgainst(backend, options)).toBeNull();
    expect(reasonAgainst(backend, { ...options, config: { ...options.config, npu: "/nowhere" } })).toMatch(
      /^\/nowhere holds no models .+$/,
    );
    expect(reasonAgainst(backend, { ...options, bundle: bundleOf("tiny-custom") })).toMatch(
      / was made of starter, .+$/,
    );
  }
});
