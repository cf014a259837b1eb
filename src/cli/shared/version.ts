// What tts --version says. It reads only constants, so that it answers at once; --verbose also asks the
// libraries of this machine.

import { dependencies, optionalDependencies, version } from "../../../package.json";
import { loadConfig } from "../../config.ts";
import { NPU_NAMES } from "../../npu-vendors.ts";
import { BUILT_FOR } from "../../packaging/versions.ts";
import type { Options } from "./options.ts";

export const VERSION_OPTION = {
  version: {
    type: "boolean",
    description:
      "Show the version of this program and what it was built for; with --verbose also the libraries on this machine.",
    group: "Messages",
  },
} as const satisfies Options;

const TITLE_WIDTH = 18;
const line = (title: string, value: string) => `${title.padEnd(TITLE_WIDTH)} ${value}\n`;

/** One line each: the program, and what it runs on and was built for. */
export function versions(): string {
  const { "onnxruntime-node": onnxruntime, ...packages } = dependencies;
  return [
    `tts ${version}\n`,
    line("bun", Bun.version),
    line(
      "llama.cpp",
      `${BUILT_FOR.llama} with ggml ${BUILT_FOR.ggml} (@node-llama-cpp ${optionalDependencies["@node-llama-cpp/linux-x64"]})`,
    ),
    line("onnxruntime", `${onnxruntime} (interface ${BUILT_FOR.onnxruntimeInterface})`),
    ...Object.entries(packages).map(([name, value]) => line(name, value)),
  ].join("");
}

/** One line per library of this machine; each is loaded in a process of its own. */
export async function versionsHere(): Promise<string> {
  const { describeLibrary, describeNpu, NEEDED_LIBRARIES } = await import("../../machine/libraries.ts");
  const config = loadConfig();
  const needed = NEEDED_LIBRARIES.map(async (name) => {
    const { failure, path, version } = await describeLibrary(name, config);
    return line(`${name} here`, failure === null ? `${version}, ${path}` : failure.message);
  });
  const npus = NPU_NAMES.map(async (name) => {
    const { library } = await describeNpu(name, config);
    return line(
      `${name} here`,
      library === null ? "none; tts doctor says why" : `${library.version}, ${library.path}`,
    );
  });
  return (await Promise.all([...needed, ...npus])).join("");
}
