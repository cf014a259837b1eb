// The choice among the backends of a stage. Each stage has its list in a folder of its own, so that a thread
// loads the code of its stage alone.

import { TtsError } from "../errors.ts";
import { assertFormable, BUNDLE_FILES, FORMED_STAGES, FORMS, type Form } from "../formats/bundle.ts";
import { type Backend, isAccelerator, type Opened, type OpenOptions } from "./stage.ts";

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
  if (!isFor(chosen)) {
    const [file, form] = [BUNDLE_FILES[chosen.file!], choice as Form];
    const stage = FORMED_STAGES.find((one) => FORMS[one][form].main === file)!;
    assertFormable(stage, form, manifest.weights);
    throw new TtsError(
      "MODEL_UNSUITABLE",
      `${directory} has no ${file}, which ${choice} needs`,
      `choose {${stage}} ${processors.map(({ name }) => name).join(" or ")}, or make the bundle with it: tts convert DIR -o BUNDLE --${stage} ${form}`,
    );
  }
  announce(chosen);
  return open(chosen);
}
