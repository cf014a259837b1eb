// The toolkit of each target, what it is given, and the folder's README.

import { NPU_MANIFEST, type NpuManifest, type NpuPart } from "../../formats/npu-folder.ts";
import { NPU_BUILDS, type NpuTarget } from "../../npu-vendors.ts";
import { CALIBRATION } from "./_calibration.ts";
import { partName, type Toolkit } from "./_toolkit.ts";
import { PULSAR_TOOLKIT } from "./_toolkit-pulsar.ts";
import { RKNN_TOOLKIT } from "./_toolkit-rknn.ts";

export const TOOLKITS: Readonly<Record<NpuTarget, Toolkit>> = { rknn: RKNN_TOOLKIT, axcl: PULSAR_TOOLKIT };

/** The parts that a toolkit builds. */
function builtParts({ predictor, vocoder }: NpuManifest): NpuPart[] {
  return [...vocoder, predictor.step, predictor.frame].filter((part) => part?.runs === "npu") as NpuPart[];
}

/** Path in the folder and content. */
export const toolkitFiles = (manifest: NpuManifest) => TOOLKITS[manifest.target].files(builtParts(manifest));

export function npuReadme(manifest: NpuManifest, snakes: "npu" | "cpu"): string {
  const { frames, name, predictor, selfTest, target, vocoder } = manifest;
  const { device, facts, how } = TOOLKITS[target];
  const onCpu = [...vocoder, predictor.heads]
    .filter((part) => part?.runs === "cpu")
    .map((part) => part!.file);
  const onBoard = [...onCpu, NPU_MANIFEST, selfTest.file];
  const built = builtParts(manifest).map((part) => `${partName(part)}${NPU_BUILDS[target].suffix}`);
  const cut =
    snakes === "cpu"
      ? [
          "This folder is cut: the NPU computes what comes before the first Snake, vocoder-tail.onnx the rest on the CPU.",
        ]
      : [];
  return `# ${name} for ${device}

Made by \`tts convert --target ${target}\`: graphs of fixed shapes, ${frames} frame${frames === 1 ? "" : "s"} a run, which the vendor's toolkit has yet to build.

${how.join("\n")}
3. On the board: this folder, or of it ${[...built, ...onBoard].join(", ")}. Then \`tts --npu FOLDER "Hello."\`; as \`npu/\` in the model's bundle it is found by itself.

**Nothing here has been tried on hardware or with the vendor's toolkit.** What has been: the graphs give on ONNX Runtime what the
program's own vocoder gives (within 1e-4 of the peak, by tests), their operators, strides, pads, dilations and sizes are in the vendor's lists,
and the calibration inputs are those of the model speaking.

${[...cut, ...facts].map((fact) => `- ${fact}`).join("\n")}
- \`${selfTest.file}\`: real codes and the samples that belong to them. The program runs it when it opens the models; below ${selfTest.leastSnrDb} dB
  (\`leastSnrDb\` in ${NPU_MANIFEST}) it does not use them.
- \`${NPU_MANIFEST}\`: what the files are, and the checkpoint they were made of; models of another checkpoint are refused.
- \`${CALIBRATION}/\`: only for the toolkit.
`;
}
