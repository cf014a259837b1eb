// Codec encoder and speaker encoder on ONNX Runtime, for taking a voice from a recording. A model is open
// only while it computes: a voice is taken once, and the memory for a long recording must not stay.

import {
  loadOnnxRuntime,
  OrtSession,
  OrtTensor,
  PreparedRun,
  type TensorData,
} from "../../../ffi/onnxruntime.ts";
import { logMel, MEL_BANDS } from "../../audio/mel.ts";
import { checkReference } from "../../audio/reference.ts";
import { LIMITS } from "../../config.ts";
import { TtsError } from "../../errors.ts";
import { type Bundle, bundlePath } from "../../formats/bundle.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../../types.ts";
import type { Backend, Encoder, OpenOptions } from "../stage.ts";

/** The longest reference plus the silence after it. */
const CODES_MOST_SECONDS = LIMITS.referenceSeconds + LIMITS.referenceTailSeconds;

export const encoderOrt: Backend<Encoder> = { name: "ort", open: (options) => new OrtEncoder(options) };

class OrtEncoder implements Encoder {
  private readonly bundle: Bundle;
  private readonly threads: number;

  constructor({ bundle, config }: OpenOptions) {
    const { name, prompt } = bundle.manifest;
    if (prompt.modelType !== "base") {
      throw new TtsError(
        "MODEL_UNSUITABLE",
        `${name} is a ${prompt.modelType} model and has no encoders`,
        "take voices with a Base model",
      );
    }
    loadOnnxRuntime(config.libraries.onnxruntime);
    [this.bundle, this.threads] = [bundle, config.threads];
  }

  codes(samples: Float32Array): Int32Array {
    checkReference(samples, 0, CODES_MOST_SECONDS);
    const frames = Math.ceil(samples.length / SAMPLES_PER_FRAME);
    // native code needs memory that does not move
    const audio = new Float32Array(new ArrayBuffer(4 * samples.length));
    audio.set(samples);
    const codes = new Int32Array(new ArrayBuffer(4 * frames * CODES_PER_FRAME)); // [frames, 16]
    this.compute(
      "codecEncoder",
      ["audio", audio, [audio.length]],
      ["codes", codes, [frames, CODES_PER_FRAME]],
    );
    return codes;
  }

  xVector(samples: Float32Array): Float32Array {
    checkReference(samples);
    const mel = logMel(samples); // [frames, 128]
    const { hidden } = this.bundle.manifest.shape;
    const vector = new Float32Array(new ArrayBuffer(4 * hidden)); // [hidden]
    this.compute(
      "speakerEncoder",
      ["mel", mel, [mel.length / MEL_BANDS, MEL_BANDS]],
      ["x_vector", vector, [hidden]],
    );
    return vector;
  }

  /** One run of a model with one input and one output. */
  private compute(file: "codecEncoder" | "speakerEncoder", input: NamedTensor, output: NamedTensor): void {
    const session = OrtSession.open(bundlePath(this.bundle, file), { threads: this.threads });
    const tensors: OrtTensor[] = [];
    try {
      for (const [, data, shape] of [input, output]) tensors.push(new OrtTensor(data, shape));
      new PreparedRun(session, { [input[0]]: tensors[0] }, { [output[0]]: tensors[1] }).run();
    } finally {
      for (const tensor of tensors) tensor.close();
      session.close();
    }
  }

  /** Nothing is held between calls. */
  close(): void {}
}

type NamedTensor = [name: string, data: TensorData, shape: number[]];
