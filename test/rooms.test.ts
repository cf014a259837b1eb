// The rooms of the house: what each part may import, checked from the imports themselves. Read STAIR,
// PACKAGES and HABITS as documentation.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ROOT } from "./_support.ts";

/**
 * Each step has one room or several; the lowest comes first. A file may import from its own room and from all
 * rooms on lower steps.
 */
const STAIR: readonly (readonly string[])[] = [
  ["src/types.ts", "src/errors.ts", "src/nearest.ts", "src/npu-vendors.ts"],
  ["ffi/", "src/ranges.ts", "src/io/read.ts", "src/io/folders.ts"],
  ["src/cores.ts", "src/child.ts"],
  ["src/limits.ts"],
  ["src/config.ts"],
  ["src/worker.ts", "src/sampler.ts", "src/io/"],
  ["src/formats/", "src/audio/"],
  ["src/machine/"],
  ["src/text/", "src/backends/"],
  ["src/stages/"],
  ["src/pipeline/"],
  ["src/convert/"],
  ["src/models/"],
  ["src/engine/", "src/serve/keeper.ts"],
  ["src/engine.ts", "src/serve/sockets/", "src/packaging/"],
  ["src/announce/", "src/serve/"],
  ["src/fleet/", "src/serve/remote/", "src/serve/http/", "src/serve/wyoming/", "src/serve/page/"],
  ["src/cli/"],
  ["tts.ts"],
];

/** Rooms that may use less than what lies below them: they reach models through the door alone. */
const NARROW: Readonly<Record<string, readonly string[]>> = {
  "src/announce/": [
    ...["src/types.ts", "src/errors.ts", "src/nearest.ts", "src/limits.ts", "src/config.ts"],
    ...["ffi/libc.ts", "src/io/", "src/audio/", "src/machine/", "src/engine.ts"],
  ],
  "src/fleet/": [
    ...["src/types.ts", "src/errors.ts", "src/nearest.ts", "src/limits.ts", "src/config.ts"],
    ...["ffi/libc.ts", "src/io/", "src/audio/", "src/formats/json.ts", "src/engine.ts", "src/announce/"],
  ],
  "src/serve/wyoming/": [
    ...["src/types.ts", "src/errors.ts", "src/nearest.ts", "src/limits.ts", "src/engine.ts"],
    ...["src/io/", "src/audio/", "src/serve/service.ts", "src/serve/one-line.ts", "src/serve/text-pieces.ts"],
  ],
  "src/serve/http/": [
    ...["src/types.ts", "src/errors.ts", "src/nearest.ts", "src/limits.ts", "src/config.ts"],
    ...["src/io/", "src/audio/", "src/engine.ts"],
    ...[
      "src/serve/service.ts",
      "src/serve/one-line.ts",
      "src/serve/text-pieces.ts",
      "src/serve/counts.ts",
      "src/serve/voices.ts",
      "src/serve/cloning.ts",
    ],
  ],
};

/** The rooms that may use a package. Nobody may use a package that is not named. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  "bun:ffi": ["ffi/"],
  "bun:jsc": ["src/pipeline/garbage.ts"],
  "node:net": ["src/serve/sockets/", "src/serve/wyoming/", "src/serve/forward.ts"],
  "node:crypto": ["src/serve/sockets/"], // others take src/io/hash.ts, which loads in no time
  "node:child_process": ["src/child.ts", "src/audio/play/", "src/serve/keeper.ts"],
  "@audio/decode": ["src/audio/"],
  "libflacjs/dist/libflac.js": ["src/audio/encode/"],
  "libopus-wasm": ["src/audio/encode/"],
  "wasm-media-encoders": ["src/audio/encode/"],
  "@huggingface/hub": ["src/models/"],
  "@nats-io/jetstream": ["src/fleet/"],
  "@nats-io/kv": ["src/fleet/"],
  "@nats-io/obj": ["src/fleet/"],
  "@nats-io/transport-node": ["src/fleet/"],
  mqtt: ["src/fleet/mqtt/"],
  "multicast-dns": ["src/serve/wyoming/"],
  "dns-packet": ["src/serve/wyoming/"], // its types; multicast-dns stands on it
  n2words: ["src/text/"],
  citty: ["src/cli/"],
  "consola/core": ["src/cli/"],
};

/** [habit, the pattern that breaks it, the files that must keep it] */
const HABITS: readonly [title: string, pattern: RegExp, among: (file: string) => boolean][] = [
  [
    "only src/config.ts reads the environment",
    /\bprocess\.env\b|\bBun\.env\b/,
    (file) => file !== "src/config.ts",
  ],
  [
    "only src/cli and the build write to the console",
    /\bconsole\./,
    (file) => !/^src\/(cli\/|packaging\/binary)/.test(file),
  ],
  [
    "only src/io/terminal.ts touches Bun's output streams",
    /\bprocess(\.std(out|err)\b|\[)|from "consola"/,
    (file) => file !== "src/io/terminal.ts",
  ],
  [
    "only src/cli and the build end the process",
    /\bprocess\.(exit\(|exitCode\b)/,
    (file) => /^src\/(?!cli\/|packaging\/binary)/.test(file),
  ],
  [
    "pure code uses nothing of Bun or the process",
    /\bBun\.|\bprocess\.|\bMath\.random\b/,
    (file) => /^src\/(text\/|sampler|audio\/(mel|reference))/.test(file),
  ],
  [
    "only ffi/load/environment.ts changes the environment of C, before threads start",
    /\bsetEnvironment\(/,
    (file) => !/^ffi\/(libc|load\/environment)\.ts$/.test(file),
  ],
  [
    "files that are renamed into place are written by src/io",
    /\brenameSync\(/,
    (file) => /^src\/(?!io\/)/.test(file),
  ],
  [
    "hints below the command line name settings, not options; whole commands may stand in them",
    /["`](?:(?!\btts )[^"`\n])*(?<=[\s"`])--[a-z$]/,
    (file) =>
      !/^(tts\.ts|src\/(cli\/|packaging\/|child\.ts|audio\/play\/players|convert\/npu\/_toolkit))/.test(file),
  ],
  [
    "a stage has no transport",
    /Atomics\.wait|postMessage|parentPort|node:net|Bun\.listen/,
    (file) => file.startsWith("src/stages/"),
  ],
];

const MOST_LINES = 450;
/** The width of the formatter, which leaves comments alone. */
const MOST_COLUMNS = 110;
/** The most files that lie flat in src/. */
const MOST_FILES = 12;

const sources = new Map(
  [
    "tts.ts",
    ...["src", "ffi"].flatMap((folder) => [...new Bun.Glob(`${folder}/**/*.ts`).scanSync(ROOT)]),
  ].map((file) => {
    return [file, withoutComments(readFileSync(join(ROOT, file), "utf8"))] as const;
  }),
);
const files = [...sources.keys()].sort();

/** Keeps the lines. A "//" inside a string has no space before it. */
function withoutComments(source: string): string {
  return source
    .replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, ""))
    .replace(/(^|\s)\/\/.*$/gm, "$1");
}

/** Static, bare and dynamic imports and re-exports, of types too; relative ones as paths from the root. */
function importsOf(file: string): string[] {
  const found = sources
    .get(file)!
    .matchAll(/\bfrom\s+"([^"]+)"|\bimport\(\s*"([^"]+)"|^import\s+"([^"]+)"/gm);
  const targets = [...found].map(([, fixed, lazy, bare]) => fixed ?? lazy ?? bare);
  return targets.map((target) => (target.startsWith(".") ? join(dirname(file), target) : target));
}

const holds = (room: string, path: string) => (room.endsWith("/") ? path.startsWith(room) : path === room);
const stepOf = (file: string) => STAIR.findIndex((rooms) => rooms.some((room) => holds(room, file)));
const roomOf = (file: string) => STAIR[stepOf(file)].find((room) => holds(room, file));

/** The shortest ways from a file back to itself, each once. */
function circles(): string[] {
  const reachable = (from: string) => {
    const seen = new Map<string, string>();
    const waiting = [from];
    for (const file of waiting) {
      for (const target of importsOf(file)) {
        if (seen.has(target) || !sources.has(target)) continue;
        seen.set(target, file);
        waiting.push(target);
      }
    }
    return seen;
  };
  const found = files.flatMap((file) => {
    const cameFrom = reachable(file);
    if (!cameFrom.has(file)) return [];
    const way = [file];
    do way.unshift(cameFrom.get(way[0])!);
    while (way[0] !== file);
    return [way.join(" -> ")];
  });
  const members = (way: string) => [...new Set(way.split(" -> "))].sort().join();
  return found.filter((way, i) => found.findIndex((other) => members(other) === members(way)) === i);
}

describe("rooms", () => {
  test("the checks see the imports", () => {
    expect(files.length).toBeGreaterThan(100);
    expect(importsOf("src/backends/predictor/ort.ts")).toEqual(
      expect.arrayContaining(["ffi/onnxruntime.ts", "src/backends/stage.ts"]),
    );
    expect(importsOf("src/models/download.ts")).toContain("node:fs"); // over several lines
    expect(importsOf("tts.ts")).toContain("src/cli/index.ts"); // lazy
    for (const file of files) {
      const counted = sources.get(file)!.match(/\bfrom "|\bimport\("|\bimport "/g)?.length ?? 0;
      expect([file, importsOf(file).length]).toEqual([file, counted]);
    }
  });

  test("every file has a room", () => {
    expect(files.filter((file) => stepOf(file) < 0)).toEqual([]);
  });

  test("imports go down the stair", () => {
    const upwards = files.flatMap((file) => {
      const targets = importsOf(file).filter((target) => sources.has(target));
      const wrong = targets.filter(
        (target) => stepOf(target) >= stepOf(file) && roomOf(target) !== roomOf(file),
      );
      return wrong.map((target) => `${file} imports ${target}`);
    });
    expect(upwards).toEqual([]);
  });

  test("narrow rooms use only what they may", () => {
    const wrong = Object.entries(NARROW).flatMap(([room, allowed]) =>
      files
        .filter((file) => holds(room, file))
        .flatMap((file) => importsOf(file).filter((target) => sources.has(target) && !holds(room, target)))
        .filter((target) => !allowed.some((other) => holds(other, target))),
    );
    expect(wrong).toEqual([]);
  });

  test("no import leads in a circle, types included", () => {
    expect(circles()).toEqual([]);
  });

  test("packages stay in their rooms", () => {
    const free =
      /^(node:(?!net$|crypto$|child_process$)|package\.json$|models\/manifest\.json$|src\/serve\/page\/\w+\.(css|html|js|svg)$)/;
    const wrong = files.flatMap((file) => {
      const packages = importsOf(file).filter((target) => !sources.has(target) && !free.test(target));
      const homes = (name: string) =>
        PACKAGES[Object.keys(PACKAGES).find((known) => name === known || name.startsWith(`${known}/`)) ?? ""];
      return packages
        .filter((name) => !homes(name)?.some((room) => holds(room, file)))
        .map((name) => `${file} imports ${name}`);
    });
    expect(wrong).toEqual([]);
  });

  test("a file whose name starts with _ stays in its folder", () => {
    const escaped = files.flatMap((file) => {
      const hidden = importsOf(file).filter(
        (target) => basename(target).startsWith("_") && dirname(target) !== dirname(file),
      );
      return hidden.map((target) => `${file} imports ${target}`);
    });
    expect(escaped).toEqual([]);
  });
});

describe("habits", () => {
  test.each(HABITS)("%s", (_title, pattern, among) => {
    expect(files.filter(among).filter((file) => pattern.test(sources.get(file)!))).toEqual([]);
  });

  test(`few files lie flat in src`, () => {
    expect(files.filter((file) => dirname(file) === "src").length).toBeLessThanOrEqual(MOST_FILES);
  });

  test(`files stay under ${MOST_LINES} lines`, () => {
    const tests = [...new Bun.Glob("test/**/*.ts").scanSync(ROOT)];
    const long = [...files, ...tests]
      .map((file) => [file, readFileSync(join(ROOT, file), "utf8").split("\n").length - 1] as const)
      .filter(([, lines]) => lines >= MOST_LINES);
    expect(long).toEqual([]);
  });

  test(`comments stay within ${MOST_COLUMNS} columns, as code does`, () => {
    const wide = [...files, ...new Bun.Glob("test/**/*.ts").scanSync(ROOT)].flatMap((file) => {
      const lines = readFileSync(join(ROOT, file), "utf8").split("\n");
      return lines.flatMap((line, i) =>
        line.length > MOST_COLUMNS && /^\s*(\/\/|\* |\/\*\*)/.test(line) ? [`${file}:${i + 1}`] : [],
      );
    });
    expect(wide).toEqual([]);
  });

  test("a file opens with what it is", () => {
    const silent = files.filter((file) => !/^(#!.*\n)?\/\/ \S/.test(readFileSync(join(ROOT, file), "utf8")));
    expect(silent).toEqual([]);
  });
});
