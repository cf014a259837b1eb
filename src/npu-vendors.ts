// The NPUs that this program can use: a row for each vendor's library, and the targets that models are built
// for. Only facts: settings, options, help and tts doctor are made from them. The code that uses a library is
// in ffi/npu, src/backends/npu and src/convert/npu.

/** Chips that take the same models are one target; the names are those of `--target`. */
export const NPU_BUILDS = {
  rknn: { suffix: ".rknn", purpose: "a Rockchip board's own" },
  axcl: { suffix: ".axmodel", purpose: "an AX650N" },
} as const satisfies Record<string, NpuBuild>;
export type NpuTarget = keyof typeof NPU_BUILDS;
export const NPU_TARGETS = Object.keys(NPU_BUILDS) as NpuTarget[];

interface NpuBuild {
  /** What the vendor's toolkit calls the models it builds. */
  suffix: string;
  /** Whose NPU it is; help writes "for" before it. */
  purpose: string;
}

/**
 * Rockchip's chips, by the names of its toolkit and of the boards' device trees; the first is the default.
 * Models are built for one of them.
 */
export const RKNN_CHIPS = {
  rk3588: { models: "rk3588", cores: 3, tops: 6, hasSine: false, rowUnit: 8 },
  rk3576: { models: "rk3576", cores: 2, tops: 6, hasSine: true, rowUnit: 1 },
  rk3566: { models: "rk356x", cores: 1, tops: 1, hasSine: false, rowUnit: Number.POSITIVE_INFINITY },
  rk3568: { models: "rk356x", cores: 1, tops: 1, hasSine: false, rowUnit: Number.POSITIVE_INFINITY },
  rk3562: { models: "rk3562", cores: 1, tops: 1, hasSine: false, rowUnit: 1 },
} as const satisfies Record<string, RknnChipFacts>;
export type RknnChip = keyof typeof RKNN_CHIPS;
export const RKNN_CHIP_NAMES = Object.keys(RKNN_CHIPS) as RknnChip[];
export const DEFAULT_RKNN_CHIP = RKNN_CHIP_NAMES[0];

interface RknnChipFacts {
  /** Chips with the same word run each other's models. */
  models: string;
  /** Cores of its NPU. */
  cores: number;
  /** What the vendor states for all cores: 10^12 operations of 8 bits a second, two for a multiply-add. */
  tops: number;
  /** Whether the NPU computes sines; otherwise the chip's CPU does. */
  hasSine: boolean;
  /**
   * Inputs and outputs are reshaped on the CPU unless their rows are a multiple of this: what toolkit 2.5.0
   * does with these graphs.
   */
  rowUnit: number;
}

/**
 * In the order in which `auto` tries them. A key is the library's name in Config and in the JSON of tts
 * doctor.
 */
export const NPU_VENDORS = {
  rknn: {
    title: "Rockchip NPU (RKNN)",
    variable: "TTS_LIBRKNNRT",
    target: "rknn",
    vocoder: "rknn",
    predictor: null,
    node: "",
    sign: /^r[kv]\d|rknpu/i, // /dev/dri alone may be any graphics card's
  },
  axcl: {
    title: "AXERA card (AXCL)",
    variable: "TTS_LIBAXCL",
    target: "axcl",
    vocoder: "axcl",
    predictor: "axcl",
    node: "/dev/axcl_host",
    sign: /1f4b:0650|axcl_host/,
  },
  axEngine: {
    title: "AXERA NPU on the chip",
    variable: "TTS_LIBAXENGINE",
    target: "axcl",
    vocoder: "axengine",
    predictor: null,
    node: "/dev/npu",
    sign: /\/dev\/npu/,
  },
} as const satisfies Record<string, NpuVendor>;
export type NpuName = keyof typeof NPU_VENDORS;
export const NPU_NAMES = Object.keys(NPU_VENDORS) as NpuName[];

interface NpuVendor {
  /** What people call it. */
  title: string;
  /** The environment variable that names the library's file or folder. */
  variable: string;
  target: NpuTarget;
  /**
   * The backend's name for each stage that it can run, as in `--vocoder` and `--predictor`; null where it
   * cannot.
   */
  vocoder: string | null;
  predictor: string | null;
  /** The device node that tells it from another one of the same target; "" where there is no other. */
  node: string;
  /**
   * Matches the name of a board's chip, or what its library says of a device, when the NPU is really there.
   */
  sign: RegExp;
}

/** A stage that an NPU may run. */
export type NpuStage = "vocoder" | "predictor";
type BackendName<Stage extends NpuStage> = Exclude<(typeof NPU_VENDORS)[NpuName][Stage], null>;

/** Names of the backends that run a stage on an NPU. */
export const npuBackends = <Stage extends NpuStage>(stage: Stage) =>
  NPU_NAMES.map((name) => NPU_VENDORS[name][stage]).filter(
    (backend) => backend !== null,
  ) as BackendName<Stage>[];
