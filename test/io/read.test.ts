// Files that have no end, or that nobody writes to: every reader of whole files has a limit.

import { expect, test } from "bun:test";
import { cpSync, mkdtempSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readRecording } from "../../src/audio/read.ts";
import { TtsError } from "../../src/errors.ts";
import { sourceFiles } from "../../src/formats/checkpoint-files.ts";
import { JsonFile } from "../../src/formats/json.ts";
import { readVoiceFile, receiveVoice } from "../../src/formats/voice.ts";
import { jsonOrNull, readBytes, readRegularFile, readTextFile, textOrNull } from "../../src/io/read.ts";
import { GOLDEN, scratchFolder } from "../_support.ts";

const folder = mkdtempSync(join(scratchFolder(), "read-"));
const [fifo, link, large] = ["fifo", "link", "large"].map((name) => join(folder, name));
Bun.spawnSync(["mkfifo", fifo]);
symlinkSync("/dev/zero", link);
writeFileSync(large, "");
truncateSync(large, 2 ** 33);
const FAULT = { code: "CHECKPOINT_INVALID", hint: "", unreadable: "" } as const;

test.each(["/dev/zero", fifo, link, large])(
  "%s is refused by all that reads files, without a wait",
  (path) => {
    expect(() => readRegularFile(path, 1_000)).toThrow(/it is no regular file|it has more than 1000 bytes/);
    expect([textOrNull(path), jsonOrNull(path)]).toEqual([null, null]);
    expect(() => readVoiceFile(path)).toThrow(
      /cannot read .*: it is no regular file|is too large for a voice/,
    );
    expect(() => JsonFile.read(path, FAULT)).toThrow(/cannot be read/);
  },
);

test.each(["/dev/zero", link, large])("%s is read up to the limit where a pipe may stand", async (path) => {
  const tooLarge = new TtsError("INPUT_UNREADABLE", "too large");
  expect(readBytes(path, 100_000, tooLarge)).rejects.toBe(tooLarge);
  expect(readTextFile(path, 100_000)).rejects.toThrow(`${path} has more than 100000 bytes`);
  expect(receiveVoice(path)).rejects.toThrow("is too large for a voice");
  expect(readRecording(path)).rejects.toThrow(`${path} has more than 200000000 bytes`);
});

test("a pipe that ends is read whole", async () => {
  const writer = Bun.spawn(["sh", "-c", `printf 'a b' > "${fifo}"`]);
  expect(await readTextFile(fifo, 10)).toBe("a b");
  await writer.exited;
});

test("files of the system, which say that they are empty, are read", () => {
  expect(textOrNull("/proc/self/status")).toContain("Cpus_allowed");
  expect(() => readRegularFile(folder)).toThrow("EISDIR");
});

test("a checkpoint's files are regular ones", () => {
  const checkpoint = join(folder, "checkpoint");
  cpSync(join(GOLDEN, "tiny-custom"), checkpoint, { recursive: true });
  const names = sourceFiles(checkpoint);
  expect(names).toContain("speech_tokenizer/model.safetensors");
  for (const path of names.map((name) => join(checkpoint, name))) {
    renameSync(path, `${path}.kept`);
    symlinkSync(fifo, path);
    expect(() => sourceFiles(checkpoint)).toThrow(`${path}: is no regular file`);
    rmSync(path);
    renameSync(`${path}.kept`, path);
  }
});
