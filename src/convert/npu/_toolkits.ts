// The toolkit of each target, its files in a folder, and the folder's README.

import { NPU_MANIFEST, type NpuManifest, type NpuPart } from "../../formats/npu-folder.ts";
import { NPU_BUILDS, type NpuTarget, RKNN_CHIPS, type RknnChip } from "../../npu-vendors.ts";
import { CALIBRATION } from "./_calibration.ts";
import { partName, type Toolkit } from "./_toolkit.ts";
import { PULSAR_TOOLKIT } from "./_toolkit-pulsar.ts";
import { RKNN_TOOLKIT } from "./_toolkit-rknn.ts";

export const TOOLKITS: Readonly<Record<NpuTarget, Toolkit>> = { rknn: RKNN_TOOLKIT, axcl: PULSAR_TOOLKIT };

/** Operators of an NPU beyond those that all targets have. */
export const operatorsOf = (target: NpuTarget, chip: RknnChip | null = null): string[] => [
  ...TOOLKITS[target].operators,
  ...(chip !== null && RKNN_CHIPS[chip].hasSine ? ["Sin"] : []),
];

/** The parts that a toolkit builds. */
function builtParts({ predictor, vocoder }: NpuManifest): NpuPart[] {
  return [...vocoder, predictor.step, predictor.frame].filter((part) => part?.runs === "npu") as NpuPart[];
}

/** The files for the target's toolkit: path in the folder and content. */
export const toolkitFiles = (manifest: NpuManifest) =>
  TOOLKITS[manifest.target].files(builtParts(manifest), manifest);

export function npuReadme(manifest: NpuManifest, snakes: "npu" | "cpu"): string {
  const { chip, frames, name, predictor, selfTest, target, vocoder } = manifest;
  const { calibrates, device, facts, how, tried } = TOOLKITS[target];
  const onCpu = [...vocoder, predictor.heads]
    .filter((part) => part?.runs === "cpu")
    .map((part) => part!.file);
  const onBoard = [...onCpu, NPU_MANIFEST, selfTest.file];
  const built = builtParts(manifest).map((part) => `${partName(part)}${NPU_BUILDS[target].suffix}`);
  const cut =
    snakes === "cpu"
      ? [
          "This folder is cut: the NPU computes the part before the first Snake, and vocoder-tail.onnx the rest on the CPU.",
        ]
      : [];
  return `# ${name} for ${device(chip)}

Made by \`tts convert --target ${target}${chip === null ? "" : ` --chip ${chip}`}\`: graphs of fixed shapes, ${frames} frame${frames === 1 ? "" : "s"} a run, which the vendor's toolkit has yet to build.

${how.join("\n")}
3. Copy this folder to the board; it needs only ${[...built, ...onBoard].join(", ")}. Then run \`tts --npu FOLDER "Hello."\`. Put the folder into the model's bundle as \`npu/\`, and it is found without the option.

**Nothing here has been tried on hardware.** On ONNX Runtime the graphs give what the program's own vocoder gives (within 1e-4 of the peak). ${tried}

${[...cut, ...facts(chip)].map((fact) => `- ${fact}`).join("\n")}
- \`${selfTest.file}\`: real codes and their samples. The program runs this test when it opens the models; below ${selfTest.leastSnrDb} dB
  (\`leastSnrDb\` in ${NPU_MANIFEST}) it does not use them.
- \`${NPU_MANIFEST}\`: what the files are, and the checkpoint they were made of; models of another checkpoint are refused.
${calibrates ? `- \`${CALIBRATION}/\`: only for the toolkit.\n` : ""}`;
}
