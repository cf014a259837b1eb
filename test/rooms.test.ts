// The table of rooms: what each part of the program may import, checked from the imports themselves. Read ROOMS as documentation.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ROOT } from "./_support.ts";

interface Room {
  /** Paths from the root: a folder ends in "/", "*" stands for any part of a name. */
  files: string[];
  /** What its files may import. Files of the same entry may import each other where `files` is listed here too. */
  may: string[];
  /** What they may import as types only. */
  types?: string[];
}

/** Shared by every room of src/: nouns, failures, limits. */
const NOUNS = ["src/types.ts", "src/errors.ts", "src/config.ts", "src/cpus.ts"];

/** The first entry that names a file is its room. Everything not named is forbidden. */
const ROOMS: Record<string, Room> = {
  "entry: picks the role of the thread": {
    files: ["tts.ts"],
    may: [
      "node:worker_threads",
      "src/worker.ts",
      "src/cli/index.ts",
      "src/convert/index.ts",
      "src/convert/npu.ts",
      "src/pipeline/stage.ts",
      "src/pipeline/encoder.ts",
      "src/pipeline/measure.ts",
      "src/pipeline/record.ts",
      "src/bandwidth.ts",
      "src/speed.ts",
      "src/libraries.ts",
    ],
  },
  "foreign libraries: the only room that knows bun:ffi": { files: ["ffi/"], may: ["bun:ffi", "node:", "ffi/", "src/errors.ts"] },
  "nouns and failures: import nothing": { files: ["src/types.ts", "src/errors.ts"], may: [] },
  "settings: the only file that reads the environment": {
    files: ["src/config.ts", "src/cpus.ts"],
    // Files: the token of a hub, when the environment has none, and what the kernel tells of the cores. The last: whether this is a binary.
    may: ["node:fs", "node:os", "node:path", "src/errors.ts", "src/cpus.ts", "ffi/embedded.ts"],
  },
  "pure: text to rows, logits to codes": {
    files: ["src/text/", "src/sampler.ts"],
    may: ["src/text/", "src/types.ts", "src/errors.ts", "n2words"],
    types: ["src/bundle.ts"],
  },
  "stages: worker threads that drive backends": {
    files: ["src/pipeline/"],
    may: [
      ...NOUNS,
      "node:worker_threads",
      "src/pipeline/",
      "src/backends/index.ts",
      "src/text/",
      "src/sampler.ts",
      "src/tables.ts",
      "src/bundle.ts",
      "src/prefixes.ts",
      "ffi/libc.ts",
    ],
  },
  "prompts on disk": { files: ["src/prefixes.ts"], may: [...NOUNS, "node:", "src/bundle.ts", "src/parts.ts"] },
  "backends: the choice": { files: ["src/backends/index.ts"], may: [...NOUNS, "src/backends/"], types: ["src/bundle.ts"] },
  "backends: what steps share": {
    files: ["src/backends/_*"],
    may: [
      "src/sampler.ts",
      ...[...NOUNS, "node:fs", "node:path", "src/backends/_*", "src/tables.ts", "src/bundle.ts", "src/gguf.ts", "src/npu.ts"],
      ...["ffi/libc.ts", "ffi/npu.ts", "ffi/onnxruntime.ts"], // the last: what an NPU leaves to the CPU
    ],
    types: ["src/backends/index.ts"],
  },
  "backends on NPUs": {
    files: ["src/backends/*-rknn.ts", "src/backends/*-axcl.ts", "src/backends/*-axengine.ts"],
    may: [...NOUNS, "ffi/rknn.ts", "ffi/axcl.ts", "ffi/ax-engine.ts", "src/backends/_*", "src/npu.ts"],
    types: ["src/backends/index.ts", "ffi/npu.ts"],
  },
  "backends on libllama": {
    files: ["src/backends/*-llama.ts"],
    may: [...NOUNS, "ffi/llama.ts", "ffi/ggml.ts", "ffi/libc.ts", "src/backends/_*", "src/bundle.ts", "src/tables.ts"],
    types: ["src/backends/index.ts"],
  },
  "backends on ONNX Runtime": {
    files: ["src/backends/*-ort.ts"],
    may: [
      ...NOUNS,
      ...["ffi/onnxruntime.ts", "ffi/libc.ts", "src/backends/_*", "src/bundle.ts", "src/tables.ts"],
      ...["src/audio/mel.ts", "src/audio/reference.ts"], // pure: what an encoder does before its model
    ],
    types: ["src/backends/index.ts"],
  },
  "converter: checkpoint to bundle": {
    files: ["src/convert/"],
    may: [
      ...NOUNS,
      ...[
        "node:",
        "src/convert/",
        "src/bundle.ts",
        "src/npu.ts",
        "src/json.ts",
        "src/safetensors.ts",
        "src/tables.ts",
        "src/parts.ts",
        "src/worker.ts",
      ],
      ...["ffi/libc.ts", "ffi/llama.ts", "ffi/ggml.ts", "ffi/onnxruntime.ts"], // mapping, quantisers, folding the text table
      "ffi/embedded.ts", // what mends a damaged file that a binary unpacked
    ],
    types: ["src/store.ts", "src/pipeline/wire.ts"],
  },
  "pure: samples to what encoders read": { files: ["src/audio/mel.ts", "src/audio/reference.ts"], may: [...NOUNS] },
  "sound: files and players": {
    files: ["src/audio/"],
    may: [...NOUNS, "node:", "@audio/decode", "src/audio/", "src/parts.ts", "src/nearest.ts"],
  },
  "the door for programs": {
    files: ["src/engine.ts", "src/speech.ts", "src/prepare.ts"],
    may: [
      ...NOUNS,
      ...["node:crypto", "node:fs", "node:worker_threads", "src/engine.ts", "src/speech.ts", "src/prepare.ts", "src/worker.ts"],
      ...["src/text/", "src/bundle.ts", "src/npu.ts", "src/store.ts", "src/nearest.ts"],
      ...["src/pipeline/ring.ts", "src/pipeline/signals.ts", "src/pipeline/wire.ts", "src/pipeline/mailbox.ts"], // shared memory and messages
      ...["src/pipeline/late.ts", "src/pipeline/timeline.ts", "src/sampler.ts"],
    ],
  },
  "single stages, served to other programs": {
    files: ["src/serve/sockets.ts", "src/serve/_*"],
    may: [
      ...[
        ...NOUNS,
        "node:",
        "src/serve/",
        "src/pipeline/hosted.ts",
        "src/pipeline/wire.ts",
        "src/pipeline/late.ts",
        "src/pipeline/settle.ts",
        "src/bundle.ts",
        "src/prepare.ts",
        "src/text/reading.ts",
      ],
      ...["src/audio/pcm.ts", "src/lock.ts", "src/worker.ts"],
    ],
  },
  "commands and servers": {
    files: ["src/cli/"],
    may: [
      ...NOUNS,
      ...["node:", "citty", "consola", "package.json", "src/cli/", "src/serve/", "src/audio/"],
      ...[
        "src/engine.ts",
        "src/prepare.ts",
        "src/store.ts",
        "src/convert/index.ts",
        "src/convert/npu.ts",
        "src/convert/synthetic.ts",
        "src/bundle.ts",
        "src/npu.ts",
        "src/nearest.ts",
        "src/parts.ts",
        "src/voices.ts",
      ],
      ...["src/catalog.ts", "src/licences.ts", "src/pull.ts", "src/versions.ts"],
      ...["src/machine.ts", "src/bandwidth.ts", "src/cost.ts"], // what is measured, and what with
      ...["src/board.ts", "src/libraries.ts", "src/speed.ts", "src/forecast.ts"], // what a machine has, and what is to be expected of it
    ],
  },
  "licences of all parts": { files: ["src/licences.ts"], may: ["node:fs", "node:path", "package.json", "ffi/embedded.ts"] },
  "versions of foreign interfaces: loads none": { files: ["src/versions.ts"], may: ["ffi/versions.ts"] },
  "files: models, bundles, tables": {
    files: [
      "src/store.ts",
      "src/catalog.ts",
      "src/bundle.ts",
      "src/npu.ts",
      "src/json.ts",
      "src/gguf.ts",
      "src/safetensors.ts",
      "src/tables.ts",
    ],
    may: [
      ...NOUNS,
      "node:",
      "src/json.ts",
      "models/manifest.json",
      "src/catalog.ts",
      "src/bundle.ts",
      "src/safetensors.ts",
      "src/parts.ts",
      "src/nearest.ts",
      "src/convert/index.ts",
      "src/convert/files.ts",
      "ffi/libc.ts",
      ...["ffi/embedded.ts", "ffi/unpack.ts"], // the shipped voice of a binary
    ],
  },
  "this machine and what a frame costs: facts, a probe of memory, sizes of weights": {
    files: ["src/machine.ts", "src/board.ts", "src/bandwidth.ts", "src/cost.ts", "src/forecast.ts"],
    may: [
      ...[...NOUNS, "node:fs", "node:os", "node:path", "ffi/libc.ts", "src/machine.ts", "src/board.ts", "src/worker.ts"],
      ...["src/bundle.ts", "src/gguf.ts", "src/json.ts", "src/safetensors.ts", "src/tables.ts"],
    ],
    types: ["src/cost.ts", "src/speed.ts"],
  },
  "libraries that may crash: tried in a process of their own": {
    files: ["src/libraries.ts", "src/speed.ts"],
    may: [...NOUNS, "node:fs", "ffi/", "src/convert/onnx/graph.ts", "src/machine.ts", "src/worker.ts"],
    types: ["src/cost.ts"],
  },
  "voices: files of a user": { files: ["src/voices.ts"], may: [...NOUNS, "node:", "src/nearest.ts", "src/parts.ts"] },
  "network: the only room that has one": {
    files: ["src/pull.ts", "src/hub.ts", "src/download.ts", "src/lock.ts"],
    may: [
      ...[...NOUNS, "node:", "@huggingface/hub", "src/pull.ts", "src/hub.ts", "src/download.ts", "src/lock.ts"],
      ...["src/catalog.ts", "src/store.ts", "src/nearest.ts"],
    ],
    types: ["src/bundle.ts"],
  },
  "small helpers": { files: ["src/nearest.ts", "src/parts.ts"], may: ["node:"] },
  "threads and processes": { files: ["src/worker.ts"], may: ["node:", "src/errors.ts", "ffi/embedded.ts"] },
};

interface Import {
  target: string;
  typeOnly: boolean;
}

const sources = new Map(
  ["tts.ts", ...["src", "ffi"].flatMap((folder) => [...new Bun.Glob(`${folder}/**/*.ts`).scanSync(ROOT)])].map((file) => {
    return [file, withoutComments(readFileSync(join(ROOT, file), "utf8"))] as const;
  }),
);

/** Line structure stays; a "//" inside a string has no space before it. */
function withoutComments(source: string): string {
  return source.replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, "")).replace(/(^|\s)\/\/.*$/gm, "$1");
}

/** Static, bare and dynamic imports and re-exports; relative ones as paths from the root. */
function importsOf(file: string): Import[] {
  const source = sources.get(file)!;
  const resolve = (target: string) => (target.startsWith(".") ? join(dirname(file), target) : target);
  const found = source.matchAll(/^\s*(?:import|export)\s+(type\s)?\s*(\{[^}]*\}|\*\s*(?:as\s+\w+)?|\w+)\s+from\s+["']([^"']+)["']/gm);
  const fixed = [...found].map(([, type, names, target]) => {
    const inner = /^\{([^}]*)\}$/.exec(names)?.[1].split(",");
    const typeOnly = type !== undefined || (inner?.every((name) => name.trim() === "" || name.trim().startsWith("type ")) ?? false);
    return { target: resolve(target), typeOnly };
  });
  const bareOrLazy = [...source.matchAll(/\bimport(?:\(\s*|\s+)["']([^"']+)["']/g)].map(([, target]) => ({
    target: resolve(target),
    typeOnly: false,
  }));
  return [...fixed, ...bareOrLazy];
}

/** `bun:ffi` is itself, `node:` every module of Node, a folder everything below it, `*` any part of a name. */
function matches(pattern: string, path: string): boolean {
  if (pattern.endsWith("/") || pattern === "node:") return path.startsWith(pattern);
  if (pattern.includes("*")) return new Bun.Glob(pattern).match(path);
  return path === pattern || path.startsWith(`${pattern}/`);
}

const anyOf = (patterns: readonly string[], path: string) => patterns.some((pattern) => matches(pattern, path));
const roomOf = (file: string) => Object.keys(ROOMS).find((name) => anyOf(ROOMS[name].files, file));
const files = [...sources.keys()].sort();
const linesWith = (pattern: RegExp, among: string[]) => among.filter((file) => pattern.test(sources.get(file)!));

describe("rooms", () => {
  test("the checks see the imports", () => {
    expect(files.length).toBeGreaterThan(40);
    expect(importsOf("src/backends/predictor-ort.ts")).toContainEqual({ target: "ffi/onnxruntime.ts", typeOnly: false });
    expect(importsOf("src/backends/predictor-ort.ts")).toContainEqual({ target: "src/backends/index.ts", typeOnly: true });
    expect(importsOf("src/download.ts")).toContainEqual({ target: "node:fs", typeOnly: false }); // over several lines
    expect(importsOf("tts.ts")).toContainEqual({ target: "src/cli/index.ts", typeOnly: false }); // lazy
    for (const file of files) {
      const counted = sources.get(file)!.match(/\bfrom "|\bimport\("|\bimport "/g)?.length ?? 0;
      expect([file, importsOf(file).length]).toEqual([file, counted]);
    }
  });

  test("every file has one", () => {
    expect(files.filter((file) => roomOf(file) === undefined)).toEqual([]);
  });

  test.each(Object.entries(ROOMS))("%s", (name, { may, types = [] }) => {
    const wrong = files
      .filter((file) => roomOf(file) === name)
      .flatMap((file) => importsOf(file).map((used) => ({ file, ...used })))
      .filter(({ target, typeOnly }) => !anyOf(may, target) && !(typeOnly && anyOf(types, target)));
    expect(wrong.map(({ file, target }) => `${file} imports ${target}`)).toEqual([]);
  });

  test("a file whose name starts with _ stays in its folder", () => {
    const escaped = files.flatMap((file) => {
      const targets = importsOf(file).map(({ target }) => target);
      return targets
        .filter((target) => basename(target).startsWith("_") && dirname(target) !== dirname(file))
        .map((target) => `${file} imports ${target}`);
    });
    expect(escaped).toEqual([]);
  });
});

describe("habits", () => {
  const inSrc = files.filter((file) => file.startsWith("src/"));
  test.each<[string, RegExp, string[]]>([
    ["only src/config.ts reads the environment", /\bprocess\.env\b|\bBun\.env\b/, files.filter((file) => file !== "src/config.ts")],
    ["only src/cli writes to the console", /\bconsole\./, files.filter((file) => !file.startsWith("src/cli/"))],
    ["only src/cli ends the process", /\bprocess\.(exit\(|exitCode\b)/, inSrc.filter((file) => !file.startsWith("src/cli/"))],
    [
      "what is pure uses nothing of Bun or the process",
      /\bBun\.|\bprocess\.|\bMath\.random\b/,
      inSrc.filter((file) => /^src\/(text\/|sampler|audio\/(mel|reference))/.test(file)),
    ],
  ])("%s", (_habit, pattern, among) => {
    expect(linesWith(pattern, among)).toEqual([]);
  });

  test("files stay under 400 lines", () => {
    const tests = [...new Bun.Glob("test/**/*.ts").scanSync(ROOT)];
    const long = [...files, ...tests]
      .map((file) => [file, readFileSync(join(ROOT, file), "utf8").split("\n").length - 1] as const)
      .filter(([, lines]) => lines >= 400);
    expect(long).toEqual([]);
  });

  test("a file opens with what it is", () => {
    const silent = files.filter((file) => !/^(#!.*\n)?\/\/ \S/.test(readFileSync(join(ROOT, file), "utf8")));
    expect(silent).toEqual([]);
  });
});
