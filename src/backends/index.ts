// The ordered list of backends for each stage, and the choice among them.

import { TtsError } from "../errors.ts";
import { BUNDLE_FILES } from "../formats/bundle.ts";
import { encoderOrt } from "./encoder-ort.ts";
import { NPU_PREDICTORS, NPU_VOCODERS } from "./npu/index.ts";
import { predictorLlama } from "./predictor-llama.ts";
import { predictorOrt } from "./predictor-ort.ts";
import {
  type Backend,
  type Encoder,
  isAccelerator,
  type Opened,
  type OpenOptions,
  type Predictor,
  type Talker,
  type Vocoder,
} from "./stage.ts";
import { talkerLlama } from "./talker-llama.ts";
import { talkerOrt } from "./talker-ort.ts";
import { vocoderOrt } from "./vocoder-ort.ts";

export const TALKERS: readonly Backend<Talker>[] = [talkerLlama, talkerOrt];
/** In the order that `auto` tries them where nothing was measured. */
export const PROCESSOR_PREDICTORS = [predictorLlama, predictorOrt] as const;
/** Accelerators come first. */
export const PREDICTORS: readonly Backend<Predictor>[] = [...NPU_PREDICTORS, ...PROCESSOR_PREDICTORS];
export const VOCODERS: readonly Backend<Vocoder>[] = [...NPU_VOCODERS, vocoderOrt];
export const ENCODERS: readonly Backend<Encoder>[] = [encoderOrt];

/**
 * Opens the chosen backend. `auto` takes a prepared accelerator that works, or else a processor backend: the
 * fastest in `measuredMs`, or the first when there are no times.
 * @param choice "auto" or the name of one of `backends`. A named backend is not probed: its own error, with
 * its own code, says what is wrong
 * @throws TtsError whatever the opening throws
 */
export function openBackend<Stage>(
  backends: readonly Backend<Stage>[],
  choice: string,
  options: OpenOptions,
  measuredMs: Readonly<Record<string, number>> = {},
): Opened<Stage> {
  const unused: string[] = [];
  const announce = (backend: Backend<Stage>) =>
    options.onOpening?.({ backend: backend.name, isAccelerator: isAccelerator(backend) });
  const open = (backend: Backend<Stage>) => ({ stage: backend.open(options), name: backend.name, unused });
  const prepared =
    choice === "auto" ? backends.filter(isAccelerator).filter((backend) => backend.isPrepared(options)) : [];
  for (const backend of prepared) {
    announce(backend);
    try {
      const reason = backend.probe(options);
      if (reason === null) return open(backend);
      unused.push(reason);
    } catch (error) {
      if (!(error instanceof TtsError)) throw error;
      unused.push(error.inOneLine);
    }
  }
  const { directory, manifest } = options.bundle;
  const isFor = ({ file }: Backend<Stage>) =>
    file === undefined || Object.hasOwn(manifest.files, BUNDLE_FILES[file]);
  const timeOf = ({ name }: Backend<Stage>) => measuredMs[name] ?? Number.MAX_VALUE;
  const processors = backends
    .filter((backend) => !isAccelerator(backend) && isFor(backend))
    .toSorted((a, b) => timeOf(a) - timeOf(b));
  const chosen = choice === "auto" ? processors[0] : backends.find(({ name }) => name === choice);
  if (chosen === undefined)
    throw new RangeError(`there is no backend ${choice} among ${backends.map(({ name }) => name)}`);
  if (!isFor(chosen))
    throw new TtsError(
      "MODEL_UNSUITABLE",
      `${directory} has no ${BUNDLE_FILES[chosen.file!]}, which ${choice} needs`,
      `choose ${processors.map(({ name }) => name).join(" or ")}, or convert the checkpoint again for ${choice}`,
    );
  announce(chosen);
  return open(chosen);
}
