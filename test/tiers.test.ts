// The two tiers of tests. `make check` runs all of test/, `make test` leaves out the folders that the
// Makefile names: so every test has a tier. These tests check that no test hides from both, and that nothing
// in the first tier needs processes.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ROOT } from "./_support.ts";

const files = [...new Bun.Glob("test/**/*.ts").scanSync(ROOT)];
const textOf = (file: string) => readFileSync(join(ROOT, file), "utf8");
const importsOf = (file: string) =>
  [...textOf(file).matchAll(/\bfrom "(\.[^"]+)"/g)].map(([, path]) => join(dirname(file), path));

const [, names] = /^PROCESSES := (.+)$/m.exec(textOf("Makefile"))!;
const folders = names.split(" ");
const isSecond = (file: string) =>
  dirname(file)
    .split("/")
    .some((folder) => folders.includes(folder));

/** Files that start the program, or stand in for the library of an NPU. */
const OF_PROCESSES = ["test/cli/_tts.ts", "test/_npu.ts"];

test("every folder of the second tier has tests", () => {
  expect(
    folders.filter(
      (folder) => !files.some((file) => file.endsWith(".test.ts") && file.split("/").includes(folder)),
    ),
  ).toEqual([]);
});

test("every file is a test, belongs to one, or is a tool that a person runs", () => {
  const used = new Set(files.flatMap(importsOf));
  const run = (file: string) =>
    /\.test\.ts$/.test(file) || file === "test/_setup.ts" || textOf("Makefile").includes(file);
  expect(files.filter((file) => !run(file) && !used.has(file))).toEqual([]);
});

test("the first tier starts neither the program nor a stand-in", () => {
  const first = files.filter((file) => file.endsWith(".test.ts") && !isSecond(file));
  const wrong = first.filter(
    (file) =>
      importsOf(file).some((path) => OF_PROCESSES.includes(path)) || /\bcompileStandIns\(/.test(textOf(file)),
  );
  expect(wrong).toEqual([]);
  expect(first.length).toBeGreaterThan(30);
});
