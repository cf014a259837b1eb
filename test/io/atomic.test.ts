// Files and folders that are made beside their place: whole or not there, with the right mode, and nothing
// left behind.

import { beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Draft, replaceFile } from "../../src/io/atomic.ts";
import { jsonOrNull, textOrEmpty, textOrNull } from "../../src/io/read.ts";
import { scratchFolder } from "../_support.ts";

const listeners = process.listenerCount("exit");
let folder = "";
let target = "";

beforeEach(() => {
  folder = mkdtempSync(join(scratchFolder(), "atomic-"));
  target = join(folder, "it");
});

const endedProcess = () => Bun.spawnSync(["true"]).pid;
const entries = () => readdirSync(folder).toSorted();

describe("a file", () => {
  test.each([{ flush: true }, { flush: false }])(
    "takes the place of the old one in one moment (%p)",
    (options) => {
      writeFileSync(target, "old");
      replaceFile(target, "new", { mode: 0o600, ...options });
      expect(readFileSync(target, "utf8")).toBe("new");
      expect(statSync(target).mode & 0o777).toBe(0o600);
      expect(entries()).toEqual(["it"]);
      expect(process.listenerCount("exit")).toBe(listeners);
    },
  );

  test("that cannot take its place leaves nothing, and what was there stays", () => {
    mkdirSync(join(target, "full"), { recursive: true });
    expect(() => replaceFile(target, "new")).toThrow(/EISDIR|ENOTEMPTY|EEXIST/);
    expect(entries()).toEqual(["it"]);
    expect(() => replaceFile(join(folder, "nowhere/it"), "new")).toThrow(/ENOENT/);
    expect(process.listenerCount("exit")).toBe(listeners);
  });

  test("that fills the disk leaves nothing", () => {
    const full = ["bash", "-c", 'ulimit -f 8; trap "" XFSZ; exec "$@"', "bash", process.execPath, "-e"];
    const script = `require(${JSON.stringify(join(import.meta.dir, "../../src/io/atomic.ts"))}).replaceFile(${JSON.stringify(target)}, Buffer.alloc(1e6))`;
    writeFileSync(target, "old");
    const { exitCode, stderr } = Bun.spawnSync([...full, script], { stderr: "pipe" });
    expect([exitCode, String(stderr)]).toEqual([1, expect.stringContaining("EFBIG")]);
    expect(entries()).toEqual(["it"]);
    expect(readFileSync(target, "utf8")).toBe("old");
  });
});

describe("a draft", () => {
  test("removes what dead processes left of its family, and nothing else", () => {
    const ended = endedProcess();
    const [dead, old, living, foreign] = [
      `.it.part-${ended}-0a1b2c3d`,
      `.it.part-${ended}-0a1b2c3d.old`,
      `.it.part-${process.pid}-0`,
      ".its",
    ];
    mkdirSync(join(folder, old));
    for (const name of [dead, living, foreign]) writeFileSync(join(folder, name), "");
    replaceFile(join(folder, "other"), "", { family: target });
    expect(entries()).toEqual([living, foreign, "other"].toSorted());
  });

  test("goes with its process", () => {
    const script = `const { Draft } = require(${JSON.stringify(join(import.meta.dir, "../../src/io/atomic.ts"))});
      require("node:fs").mkdirSync(new Draft(${JSON.stringify(target)}).path); process.exit(3);`;
    expect(Bun.spawnSync([process.execPath, "-e", script]).exitCode).toBe(3);
    expect(entries()).toEqual([]);
  });

  test("of a folder takes the place of a full one", () => {
    mkdirSync(target);
    writeFileSync(join(target, "a"), "");
    const draft = new Draft(target);
    mkdirSync(draft.path);
    writeFileSync(join(draft.path, "b"), "");
    draft.replaceFolder();
    expect([entries(), readdirSync(target)]).toEqual([["it"], ["b"]]);
  });

  test("that was never made gives the old folder back", () => {
    mkdirSync(target);
    const draft = new Draft(target);
    expect(() => draft.replaceFolder()).toThrow("ENOENT");
    draft.discard();
    expect([entries(), existsSync(target)]).toEqual([["it"], true]);
    expect(process.listenerCount("exit")).toBe(listeners);
  });
});

test("a file that is missing, a folder or no JSON gives an empty text or null", () => {
  symlinkSync(join(folder, "nowhere"), target);
  writeFileSync(join(folder, "cut.json"), '{"a":');
  for (const path of [target, folder, join(target, "below")])
    expect([textOrNull(path), textOrEmpty(path), jsonOrNull(path)]).toEqual([null, "", null]);
  expect([textOrEmpty(join(folder, "cut.json")), jsonOrNull(join(folder, "cut.json"))]).toEqual([
    '{"a":',
    null,
  ]);
});
