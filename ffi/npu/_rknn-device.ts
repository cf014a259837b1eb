// What the system says about Rockchip's NPU (device nodes, who may open them, driver and chip), and what each
// code of the runtime means here. Reads files only and does not use the NPU.

import { readdirSync, readFileSync, realpathSync } from "node:fs";
import { basename, join } from "node:path";
import { type ErrorCode, TtsError } from "../../src/errors.ts";
import { mayUse, REPORT } from "./_node.ts";

const DRIVER = "RKNPU";

export interface RknpuFacts {
  /** The NPU's nodes under /dev/dri, or all nodes there when the system does not tell which are the NPU's. */
  nodes: { path: string; driver: string; usable: boolean }[];
  /** Other nodes there. */
  others: string[];
  /** Version of the kernel driver, or "". */
  driver: string;
  /** The chip's name as the converter spells it, such as "rk3588", or "". */
  chip: string;
}

function attempt<T>(get: () => T, otherwise: T): T {
  try {
    return get();
  } catch {
    return otherwise;
  }
}

/**
 * @param root of the file system; tests pass another one
 * @param usable whether this user may read and write a node; tests pass another answer
 */
export function rknpuFacts(root = "/", usable = mayUse): RknpuFacts {
  const folder = join(root, "dev/dri");
  const all = attempt(() => readdirSync(folder).sort(), [])
    .filter((name) => /^(card|renderD)\d+$/.test(name))
    .map((name) => {
      const path = join(folder, name);
      const driver = attempt(
        () => basename(realpathSync(join(root, "sys/class/drm", name, "device/driver"))),
        "",
      );
      return { path, driver, usable: usable(path) };
    });
  const own = all.filter(({ driver }) => driver.toUpperCase() === DRIVER || driver === "");
  const compatible = attempt(() => readFileSync(join(root, "proc/device-tree/compatible"), "latin1"), "");
  return {
    nodes: own,
    others: all.filter((node) => !own.includes(node)).map(({ driver, path }) => `${path} (${driver})`),
    driver: attempt(() => readFileSync(join(root, "sys/module/rknpu/version"), "latin1").trim(), ""),
    chip: /rockchip,(rk\d+|rv\d+)\w*/.exec(compatible)?.[1] ?? "",
  };
}

/** Why the NPU cannot be opened, and what to do about it; empty texts when no reason is known. */
export function deviceProblem({ nodes, others }: RknpuFacts): { problem: string; hint: string } {
  if (nodes.length === 0) {
    const has = others.length === 0 ? "nothing" : `only ${others.join(", ")}`;
    const hint = `start a kernel with Rockchip's RKNPU driver (dmesg | grep -i rknpu; mainline's rocket driver does not serve this library), or pass /dev/dri into the container`;
    return { problem: `no NPU device: /dev/dri has ${has}`, hint };
  }
  if (nodes.some((node) => node.usable)) return { problem: "", hint: "" };
  const paths = nodes.map(({ path }) => path).join(", ");
  return {
    problem: `this user may not read and write ${paths}`,
    hint: `add it to the groups that own them (sudo usermod -aG video,render NAME) and log in again`,
  };
}

/** What an error is about. */
export interface RknnCall {
  /** Name of the function. */
  call: string;
  code: number;
  /** Whether the model was running; else it was being opened. */
  running: boolean;
  model: { path: string; bytes: number };
  /** Versions of the library and the kernel driver, "" where they are not known. */
  api: string;
  driver: string;
}

interface Meaning {
  symbol: string;
  means: string;
  /** The error's code unless a model was running. */
  code: ErrorCode;
  hint: (call: RknnCall, facts: RknpuFacts) => string;
}

const olderRuntime = ({ api }: RknnCall) =>
  `the file is damaged, or made by a newer rknn-toolkit2 than this librknnrt ${api}: update librknnrt.so to at least the toolkit's version, or build the model again with the older toolkit`;
const LOOK =
  "look at dmesg | grep -i rknpu, update the RKNPU driver to 0.9.2 or newer, and restart the board if it stays";

const MEANINGS: Readonly<Record<number, Meaning>> = {
  [-1]: {
    symbol: "RKNN_ERR_FAIL",
    means: "it failed and gave no reason",
    code: "NPU_MODEL_INVALID",
    hint: (call) => (call.running ? `the NPU refused a job: ${LOOK}` : olderRuntime(call)),
  },
  [-2]: {
    symbol: "RKNN_ERR_TIMEOUT",
    means: "a job did not end in time",
    code: "NPU_UNAVAILABLE",
    hint: () => LOOK,
  },
  [-3]: {
    symbol: "RKNN_ERR_DEVICE_UNAVAILABLE",
    means: "the NPU cannot be used",
    code: "NPU_UNAVAILABLE",
    hint: () => `the device node can be opened, so the driver is at fault: ${LOOK}`,
  },
  [-4]: {
    symbol: "RKNN_ERR_MALLOC_FAIL",
    means: "there is no memory left for the NPU",
    code: "NPU_UNAVAILABLE",
    hint: () =>
      "close other programs that use the NPU, or give it more memory: cma=512M on the kernel's command line",
  },
  [-5]: {
    symbol: "RKNN_ERR_PARAM_INVALID",
    means: "a parameter is wrong",
    code: "LIBRARY_FAILED",
    hint: () => REPORT,
  },
  [-6]: {
    symbol: "RKNN_ERR_MODEL_INVALID",
    means: "the runtime does not accept the model",
    code: "NPU_MODEL_INVALID",
    hint: olderRuntime,
  },
  [-7]: {
    symbol: "RKNN_ERR_CTX_INVALID",
    means: "the context is not valid",
    code: "LIBRARY_FAILED",
    hint: () => REPORT,
  },
  [-8]: {
    symbol: "RKNN_ERR_INPUT_INVALID",
    means: "an input is wrong",
    code: "NPU_MODEL_INVALID",
    hint: () => "build the model again with f32 inputs of fixed shape",
  },
  [-9]: {
    symbol: "RKNN_ERR_OUTPUT_INVALID",
    means: "an output is wrong",
    code: "NPU_MODEL_INVALID",
    hint: () => "build the model again with f32 outputs of fixed shape",
  },
  [-10]: {
    symbol: "RKNN_ERR_DEVICE_UNMATCH",
    means: "library and driver do not fit each other",
    code: "NPU_UNAVAILABLE",
    hint: ({ api, driver }) =>
      `update both: librknnrt is ${api || "unknown"}, the kernel driver ${driver || "unknown"}`,
  },
  [-11]: {
    symbol: "RKNN_ERR_INCOMPATILE_PRE_COMPILE_MODEL",
    means: "the model was compiled for another driver",
    code: "NPU_MODEL_INVALID",
    hint: () => "build the model again without pre-compilation, or update the driver",
  },
  [-12]: {
    symbol: "RKNN_ERR_INCOMPATILE_OPTIMIZATION_LEVEL_VERSION",
    means: "the driver does not know the model's optimisation level",
    code: "NPU_MODEL_INVALID",
    hint: () => "update the driver, or build the model again with a lower optimization_level",
  },
  [-13]: {
    symbol: "RKNN_ERR_TARGET_PLATFORM_UNMATCH",
    means: "the model was built for another chip",
    code: "NPU_MODEL_INVALID",
    hint: (_call, { chip }) =>
      `make the folder again: tts convert DIR --target rknn --chip ${chip || "CHIP"} -o FOLDER${chip === "" ? ", CHIP being this board's, such as rk3588" : ""}`,
  },
};

/** Codes that may come from a missing device or permission. */
const DEVICE_CODES = [-1, -3];

/** A code of the runtime as an error that says what to do here. */
export function rknnError(call: RknnCall, facts = rknpuFacts()): TtsError {
  const meaning = MEANINGS[call.code];
  const name =
    meaning === undefined ? "a code this program does not know" : `${meaning.symbol}: ${meaning.means}`;
  const versions = `librknnrt ${call.api || "of unknown version"}, driver ${call.driver || facts.driver || "of unknown version"}`;
  const what = `${call.call} gave ${call.code} (${name}) for ${call.model.path} (${call.model.bytes} bytes; ${versions})`;
  const { problem, hint } = DEVICE_CODES.includes(call.code)
    ? deviceProblem(facts)
    : { problem: "", hint: "" };
  const code = call.running
    ? "NPU_FAILED"
    : problem !== ""
      ? "NPU_UNAVAILABLE"
      : (meaning?.code ?? "LIBRARY_FAILED");
  if (problem !== "") return new TtsError(code, `${what}; ${problem}`, hint);
  return new TtsError(code, what, meaning?.hint(call, facts) ?? REPORT);
}
