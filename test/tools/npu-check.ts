// `make npu-check`: what Rockchip's toolkit makes of the vocoder's graphs. Installs rknn-toolkit2 into a
// folder of its own (once: half a minute, 0.7 GB), builds each graph by its folder's build.py, counts what
// the toolkit puts on an RK3588's CPU, and decodes the self-test in the toolkit's simulator. Both are
// compared: the count with the table of test/convert/npu/_placement.ts, the sound with what the graphs gave
// before they left the CPU nothing. FULL=1 adds graphs of full size (minutes, and 3 GB of disk). No part of
// make check: it needs Python and PyPI on x86-64, and says so where they are missing.

import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { loadConfig } from "../../src/config.ts";
import { runNpuConversion } from "../../src/convert/npu/index.ts";
import { vocoderNpuGraph } from "../../src/convert/npu/vocoder.ts";
import { isSyntheticCheckpoint, writeSyntheticCheckpoint } from "../../src/convert/synthetic.ts";
import { openCheckpoint } from "../../src/formats/checkpoint.ts";
import { syntheticFolder } from "../../src/models/catalog.ts";
import { CODES_PER_FRAME } from "../../src/types.ts";
import {
  copyCheckpoint,
  type Edit,
  editDecoder,
  GoldenFile,
  ROOT,
  removeScratch,
  STARTER,
  scratchFolder,
} from "../_support.ts";
import { calm } from "../conformance/vocoder.ts";
import { onCpu } from "../convert/npu/_placement.ts";

const TOOLKIT = join(ROOT, ".bun/rknn-toolkit2");
const PYTHON = join(TOOLKIT, "bin/python");
/** Versions that the toolkit accepts. torch is left out: it is 3 GB, imported, and not used for ONNX. */
const PACKAGES = [
  ...["numpy==1.26.4", "onnx==1.18.0", "onnxruntime==1.17.3", "protobuf==4.25.4", "scipy==1.13.1"],
  ...["opencv-python-headless==4.11.0.86", "fast-histogram==0.14", "psutil==7.2.2", "ruamel.yaml==0.19.1"],
  "tqdm==4.70.1",
];
const TOOLKIT_PACKAGE = "rknn-toolkit2==2.5.0";
const NO_TORCH = `import sys
from unittest.mock import MagicMock

for name in ("torch", "torch.nn", "torch.nn.functional"):
    sys.modules[name] = MagicMock()
`;
/** How much worse than before the sound may be. */
const MOST_LOSS_DB = 0.5;
const FULL_FRAMES = 28;

interface Subject {
  name: string;
  checkpoint: () => string;
  speech: (codes: number) => Int32Array;
  /** Signal to noise of the self-test, in decibels, while the graphs still had Max, Min and odd rows. */
  beforeDb: { npu: number; cpu: number };
  frames: { npu: readonly number[]; cpu: readonly number[] };
}

/** The last convolution such that little is clipped, and Snakes whose periodic part is smaller. */
const calmFull: Edit = (name, value) => {
  if (name.endsWith(".beta")) return value + 2;
  return name.startsWith("decoder.decoder.6.conv.") ? value / 4 : value;
};

const STARTER_SUBJECT: Subject = {
  name: "starter",
  checkpoint: () => STARTER,
  speech: () => new GoldenFile("starter/starter-01.safetensors").ints("codes"),
  beforeDb: { npu: 42.2, cpu: 42.2 },
  frames: { npu: [4, 3, 2, 1], cpu: [4, 3, 2, 1] },
};
const TINY_SUBJECT: Subject = {
  name: "calm tiny",
  checkpoint: () => {
    const folder = join(scratchFolder(), "calm-tiny");
    copyCheckpoint("tiny-custom", folder);
    editDecoder(folder, calm);
    return folder;
  },
  speech: (codes) =>
    new GoldenFile("tiny-custom/golden/custom-ryan-english-whole.safetensors")
      .ints("codes")
      .map((code) => code % codes),
  beforeDb: { npu: 44.4, cpu: 58.6 },
  frames: { npu: [4], cpu: [4, 3, 2, 1] },
};
const FULL_SUBJECT: Subject = {
  name: "full size",
  checkpoint: () => {
    const folder = join(scratchFolder(), "full-size");
    mkdirSync(folder);
    let whole = join(syntheticFolder(loadConfig().cacheDir), "0.6b");
    if (!isSyntheticCheckpoint(whole)) {
      whole = join(scratchFolder(), "0.6b");
      writeSyntheticCheckpoint(whole, "0.6b", () => {});
    }
    for (const file of readdirSync(whole))
      if (file !== "speech_tokenizer") symlinkSync(join(whole, file), join(folder, file));
    cpSync(join(whole, "speech_tokenizer"), join(folder, "speech_tokenizer"), { recursive: true });
    editDecoder(folder, calmFull);
    return folder;
  },
  speech: (codes) => {
    let state = 12_345;
    return Int32Array.from({ length: FULL_FRAMES * CODES_PER_FRAME }, () => {
      state = (state * 1_103_515_245 + 12_345) >>> 0;
      return (state >>> 8) % codes;
    });
  },
  beforeDb: { npu: 70.3, cpu: 113.8 },
  frames: { npu: [4], cpu: [4] },
};

const reason = install();
if (reason !== null) {
  console.error(`npu-check is skipped: ${reason}`);
  process.exit(0);
}
try {
  const subjects = [STARTER_SUBJECT, TINY_SUBJECT, ...(process.env.FULL ? [FULL_SUBJECT] : [])];
  const wrong = subjects.flatMap(checkSubject);
  for (const what of wrong) console.error(`npu-check: ${what}`);
  process.exitCode = wrong.length === 0 ? 0 : 1;
} finally {
  removeScratch();
}

/** Why the toolkit cannot be had here, or null. */
function install(): string | null {
  if (process.arch !== "x64") return `the toolkit is for x86-64, and this is ${process.arch}`;
  const ready = join(TOOLKIT, "ready");
  const wanted = [...PACKAGES, TOOLKIT_PACKAGE].join("\n");
  if (existsSync(ready) && readFileSync(ready, "utf8") === wanted) return null;
  if (Bun.which("python3") === null) return "there is no python3";
  console.error(`installing ${TOOLKIT_PACKAGE} into ${TOOLKIT}`);
  rmSync(TOOLKIT, { recursive: true, force: true });
  const pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
  const steps = [
    ["python3", "-m", "venv", TOOLKIT],
    [...pip, ...PACKAGES],
    [...pip, "--no-deps", TOOLKIT_PACKAGE],
  ];
  for (const step of steps) {
    const { exitCode, stdout, stderr } = Bun.spawnSync(step);
    const said = `${stdout}${stderr}`.trim().split("\n").at(-1);
    if (exitCode !== 0) return `${step.slice(0, 4).join(" ")} ended with ${exitCode}: ${said}`;
  }
  const packages = Bun.spawnSync([PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]);
  const folder = packages.stdout.toString().trim();
  writeFileSync(join(folder, "no_torch.py"), NO_TORCH);
  writeFileSync(join(folder, "no_torch.pth"), "import no_torch\n");
  writeFileSync(ready, wanted);
  return null;
}

/** What is wrong with the subject's graphs, in words. */
function checkSubject(subject: Subject): string[] {
  const source = subject.checkpoint();
  const kinds = (["npu", "cpu"] as const).flatMap((snakes) =>
    subject.frames[snakes].map((frames) => ({ snakes, frames })),
  );
  return kinds.flatMap(({ frames, snakes }) => checkGraph(subject, source, frames, snakes));
}

function checkGraph(subject: Subject, source: string, frames: number, snakes: "npu" | "cpu"): string[] {
  const title = `${subject.name}, snakes on the ${snakes}, ${frames} a run`;
  const checkpoint = openCheckpoint(source);
  const ranges = { scales: [1, 1, 1, 1, 1], folds: {} };
  const end = snakes === "npu" ? "samples" : "front";
  const expected = onCpu(vocoderNpuGraph(checkpoint, { target: "rknn", end, frames, ranges }));
  const speech = { codes: subject.speech(checkpoint.codes), hidden: new Float32Array(0) };
  checkpoint.close();
  const target = join(scratchFolder(), title.replace(/\W+/g, "-"));
  runNpuConversion({
    ...{ source, target, part: target, name: subject.name, weights: "f32", npu: "rknn", frames, snakes },
    ...{ speeches: [speech], libraries: { onnxruntime: "" } },
  });
  const { exitCode, stdout, stderr } = Bun.spawnSync([
    PYTHON,
    join(import.meta.dir, "npu-simulate.py"),
    target,
  ]);
  rmSync(target, { recursive: true });
  const text = stdout.toString();
  const [, size, seconds, onNpu, count] =
    /^vocoder\.rknn: (.+) bytes in (\d+) s; (\d+) operators on the NPU, (\d+) on the CPU$/m.exec(text) ?? [];
  const [, decibels] = /^self-test: (\S+) dB$/m.exec(text) ?? [];
  if (exitCode !== 0 || count === undefined || decibels === undefined)
    return [`${title}: status ${exitCode}: ${stderr.toString().trim().split("\n").at(-1)}`];
  console.log(
    `${title}: ${onNpu} operators, ${count} on the CPU, ${decibels} dB, ${size} bytes, ${seconds} s`,
  );
  const places = [...text.matchAll(/^ {2}CPU: .+$/gm)].map(([line]) => line.trim());
  const least = subject.beforeDb[snakes] - MOST_LOSS_DB;
  return [
    ...(Number(count) === expected.length
      ? []
      : [`${title}: the table puts [${expected}] on the CPU, the toolkit [${places}]`]),
    ...(Number(decibels) >= least ? [] : [`${title}: ${decibels} dB, at least ${least} wanted`]),
  ];
}
