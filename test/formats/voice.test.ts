// The folder that keeps cloned voices.

import { describe, expect, test } from "bun:test";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { VoiceFolder } from "../../src/formats/voice.ts";
import { scratchFolder } from "../_support.ts";
import { anna } from "./_anna.ts";

const newFolder = () => mkdtempSync(join(scratchFolder(), "voices-"));

describe("voice files", () => {
  test("come back as they were written, number by number", () => {
    const folder = new VoiceFolder(newFolder());
    folder.write(anna);
    expect(folder.names()).toEqual(["anna"]);
    expect(folder.read("anna")).toEqual(anna);
    folder.remove("anna");
    expect(folder.names()).toEqual([]);
  });

  test.each(["", "..", "a/b", "Anna", "ä", "a".repeat(65), ".hidden"])("%p cannot be a name", (name) => {
    expect(() => new VoiceFolder(newFolder()).path(name)).toThrow("cannot be the name of a voice");
  });

  test("a mistyped name gets the nearest", () => {
    const folder = new VoiceFolder(newFolder());
    folder.write(anna);
    expect(() => folder.read("ana")).toThrow('there is no voice "ana"');
  });
});
