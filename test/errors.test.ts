// Errors of the system in words: real ones where a test can cause them, and every row of the table.

import { expect, test } from "bun:test";
import { mkdirSync, openSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { asTtsError, type FileUse, fileError, meaningOf, systemCode, TtsError } from "../src/errors.ts";
import { scratchFolder } from "./_support.ts";

const NAMED = [
  ...["EACCES", "EFBIG", "EIO", "EISDIR", "ELOOP", "EMFILE", "ENAMETOOLONG", "ENFILE", "ENOENT", "ENOSPC"],
  ...["ENOTDIR", "ENXIO", "EPERM", "EROFS", "ETXTBSY", "EDQUOT", "EBUSY", "EEXIST", "ENODEV", "ESTALE"],
];
const failed = (code: string) => Object.assign(new Error(`${code}: words of the system, open 'x'`), { code });
const USES: readonly FileUse[] = ["read", "write"];

test.each(NAMED)("%s says what happened and what to do next", (code) => {
  expect(constants.errno).toHaveProperty(code);
  for (const use of USES) {
    const { inOneLine } = fileError("INPUT_UNREADABLE", "x", failed(code), { use });
    expect(inOneLine).toMatch(new RegExp(`^cannot ${use} x: [a-z].+; .{8,}$`));
    expect(inOneLine).not.toContain("words of the system");
    expect(inOneLine).not.toContain(code);
  }
});

test("an error without a row keeps its words, a TtsError passes, and a given hint wins", () => {
  expect(meaningOf(failed("EBADMSG"), "read")).toEqual({
    what: "EBADMSG: words of the system, open 'x'",
    hint: "",
  });
  expect(meaningOf("torn", "write")).toEqual({ what: "torn", hint: "" });
  const known = new TtsError("USAGE", "no");
  expect(fileError("OUTPUT_FAILED", "x", known, { use: "write" })).toBe(known);
  const { inOneLine } = fileError("OUTPUT_FAILED", "x", failed("ENOSPC"), { use: "write", hint: "go" });
  expect(inOneLine).toBe("cannot write x: the disk is full; go");
  expect([known, new Error("no"), null, { code: 5 }].map(systemCode)).toEqual(["", "", "", ""]);
});

test("an error of the file system that nobody has named becomes one line with its path", () => {
  const of = (syscall: string) => asTtsError(Object.assign(failed("EROFS"), { path: "/a/b", syscall }));
  expect(of("open")).toMatchObject({
    code: "INPUT_UNREADABLE",
    message: "cannot read /a/b: the disk is read-only",
  });
  expect(of("mkdir")).toMatchObject({
    code: "OUTPUT_FAILED",
    message: "cannot write /a/b: the disk is read-only",
  });
  expect(asTtsError(failed("EROFS")).code).toBe("INTERNAL"); // nobody knows which file
});

const folder = join(scratchFolder(), "faults");
mkdirSync(join(folder, "full"), { recursive: true });
writeFileSync(join(folder, "file"), "x");
symlinkSync("b", join(folder, "a"));
symlinkSync("a", join(folder, "b"));
const read = (name: string) => () => readFileSync(join(folder, name));
const write = (name: string) => () => openSync(join(folder, name), "w");

test.each<[what: string, use: FileUse, call: () => unknown]>([
  ["there is no such file", "read", read("missing")],
  ["its folder does not exist", "write", write("missing/file")],
  ["it is a folder", "read", read("full")],
  ["it is a folder", "write", write("full")],
  ["a part of its path is no folder", "read", read("file/x")],
  ["its links lead in a circle", "read", read("a")],
  ["its name is too long", "read", read("n".repeat(256))],
  ["the disk is full", "write", () => writeFileSync("/dev/full", "x")],
])("really: %s (%s)", (what, use, call) => {
  expect(() => {
    try {
      call();
    } catch (error) {
      throw fileError("INPUT_UNREADABLE", "it", error, { use });
    }
  }).toThrow(`cannot ${use} it: ${what}`);
});
