// A checkpoint of the official codec's shape, for graphs that are not written.

import type { Checkpoint, CodecShape, Weights } from "../../../src/formats/checkpoint.ts";

/** Its large weights are never read; none is 0. */
export function fullSize(): Checkpoint {
  const codec: CodecShape = {
    ...{
      codebookSize: 2_048,
      codebookDim: 512,
      latent: 1_024,
      hidden: 512,
      intermediate: 1_024,
      layers: 8,
      heads: 16,
      headDim: 64,
    },
    ...{
      rmsEps: 1e-5,
      ropeTheta: 1e4,
      slidingWindow: 72,
      decoderDim: 1_536,
      upsamplingRatios: [2, 2],
      upsampleRates: [8, 5, 4, 3],
    },
  };
  const take = (name: string, shape: readonly number[]) => {
    return {
      name,
      dtype: "F32",
      shape,
      bytes: new Uint8Array(shape.length === 1 ? 4 * shape[0] : 4).fill(1),
      file: "",
      offset: 0,
    };
  };
  return {
    directory: "full size",
    codec,
    codecWeights: { take } as unknown as Weights,
  } as unknown as Checkpoint;
}
