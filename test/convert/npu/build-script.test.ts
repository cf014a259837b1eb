// build.py of a folder, with a stand-in for Rockchip's toolkit: what runs on the CPU, or one line that says
// which step failed and why, and the toolkit's noise in a file.

import { beforeAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RKNN_TOOLKIT } from "../../../src/convert/npu/_toolkit-rknn.ts";
import { scratchFolder } from "../../_support.ts";

const noPython = spawnSync("python3", ["--version"]).error !== undefined;

/** Prints as the toolkit does: bars of carriage returns, from C too, and the table of operators. */
const STAND_IN = `import os, sys

def say(kind):
    os.write(1, b"I Loading : 10%\\rI Loading : 100%\\r\\n")
    print("W load_onnx: The config.mean_values is None")
    if kind == "table":
        print("D RKNN: [10:15:53.528] ID   OpType  DataType Target InputShape  OutputShape  Cycles(DDR/NPU/Total)  RW(KB)  FullName")
        print("D RKNN: [10:15:53.528] 0    InputOperator FLOAT16 CPU \\\\ (1,8,4) 0/0/0 0 InputOperator:vectors")
        print("D RKNN: [10:15:53.528] 1    Reshape  FLOAT16 CPU (1,8,4),(4) (1,8,1,4) 0/0/0 9 Reshape:vectors_rs")
        print("D RKNN: [10:15:53.528] 2    Conv  FLOAT16 NPU (1,8,1,4),(8,8,1,1) (1,8,1,4) 0/0/0 9 Conv:Conv_0")

class RKNN:
    def __init__(self, verbose): self.fails = os.environ.get("FAILS", "")
    def config(self, target_platform): return None
    def load_onnx(self, model):
        say("load")
        return -1 if self.fails == "load" else 0
    def build(self, do_quantization):
        assert do_quantization is False
        say("table")
        open("check0_base_optimize.onnx", "w").close()
        if self.fails == "build":
            raise ValueError("Traceback (most recent call last):\\n  File \\"rknn/x.py\\"\\nTypeError: argument of type 'NoneType' is not iterable\\n\\n")
        return 0
    def export_rknn(self, path):
        open(path, "w").write("x" * 1234)
        return 0
    def release(self): pass
`;

let site = "";
function toolkit(version: string, code = STAND_IN): string {
  const folder = join(site, code === STAND_IN ? version : "broken");
  mkdirSync(join(folder, "rknn"), { recursive: true });
  mkdirSync(join(folder, `rknn_toolkit2-${version}.dist-info`));
  writeFileSync(
    join(folder, `rknn_toolkit2-${version}.dist-info/METADATA`),
    `Name: rknn-toolkit2\nVersion: ${version}\n`,
  );
  writeFileSync(join(folder, "rknn/__init__.py"), "");
  writeFileSync(join(folder, "rknn/api.py"), code);
  return folder;
}

describe.skipIf(noPython)("build.py", () => {
  const folders = new Map<string, string>();
  let made = 0;
  beforeAll(() => {
    site = join(scratchFolder(), "site");
    for (const version of ["2.5.0", "2.10.1", "2.3.2"]) folders.set(version, toolkit(version));
    folders.set("broken", toolkit("2.5.0", 'raise ImportError("libcublas.so is missing")'));
  });

  function build(packages: string, environment: Record<string, string> = {}, options: string[] = []) {
    const folder = join(scratchFolder(), `build-${made++}`);
    mkdirSync(folder);
    const part = { file: "vocoder.onnx", runs: "npu", inputs: [], outputs: [] } as const;
    for (const [path, text] of RKNN_TOOLKIT.files([{ ...part, inputs: [], outputs: [] }], {
      chip: "rk3588",
      cores: null,
    }))
      writeFileSync(join(folder, path), text);
    writeFileSync(join(folder, "vocoder.onnx"), "");
    const { status, stdout, stderr } = spawnSync("python3", ["-S", join(folder, "build.py"), ...options], {
      cwd: scratchFolder(),
      env: { ...process.env, PYTHONPATH: packages, PYTHONDONTWRITEBYTECODE: "1", ...environment },
    });
    return { folder, status, stdout: String(stdout), stderr: String(stderr) };
  }

  test.each(["2.5.0", "2.10.1"])("says what runs on the CPU, with toolkit %s", (version) => {
    const { folder, ...said } = build(folders.get(version)!);
    expect(said).toEqual({
      status: 0,
      stdout: expect.stringMatching(
        /^vocoder\.rknn: 1,234 bytes in \d+ s; 1 operators on the NPU, 1 on the CPU\n {2}CPU: 1 x Reshape \(1,8,4\) -> \(1,8,1,4\)\n$/,
      ),
      stderr: "",
    });
    expect(readdirSync(folder).sort()).toEqual(["build.py", "vocoder.log", "vocoder.onnx", "vocoder.rknn"]);
    const log = readFileSync(join(folder, "vocoder.log"), "utf8");
    expect(log).not.toContain("\r");
    expect(log).toContain("I Loading : 100%\n");
    expect(log).not.toContain("10%\r");
  });

  test.each([
    ["load", "loading vocoder.onnx failed: the toolkit returned -1"],
    [
      "build",
      "building vocoder.onnx failed: ValueError: TypeError: argument of type 'NoneType' is not iterable",
    ],
  ])("says in one line that the step %s failed", (fails, line) => {
    const { folder, ...said } = build(folders.get("2.5.0")!, { FAILS: fails });
    const stderr = `build.py: ${line}; the toolkit's messages are in vocoder.log\n`;
    expect(said).toEqual({ status: 1, stdout: "", stderr });
    expect(readdirSync(folder).sort()).toEqual(["build.py", "vocoder.log", "vocoder.onnx"]);
  });

  test("refuses an option, as earlier scripts had", () => {
    const { status, stderr } = build(folders.get("2.5.0")!, {}, ["--int8"]);
    expect([status, stderr]).toEqual([1, "build.py: there are no options, and --int8 is one too many\n"]);
  });

  test("says in one line that the toolkit does not load", () => {
    const { status, stderr } = build(folders.get("broken")!);
    const line = "build.py: rknn-toolkit2 2.5.0 does not load: ImportError: libcublas.so is missing\n";
    expect([status, stderr]).toEqual([1, line]);
  });

  test.each([
    ["an older toolkit", () => folders.get("2.3.2")!, "is 2.3.2, which is too old"],
    ["no toolkit", () => "", "is not installed"],
  ])("refuses %s", (_what, packages, why) => {
    const { status, stderr } = build(packages());
    expect([status, stderr]).toEqual([
      1,
      `build.py: rknn-toolkit2 ${why}; pip install rknn-toolkit2==2.5.0\n`,
    ]);
  });
});
