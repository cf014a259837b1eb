// The folder that keeps cloned voices.

import { describe, expect, test } from "bun:test";
import { mkdtempSync, truncateSync } from "node:fs";
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

  test("is replaced only where that is said", () => {
    const folder = new VoiceFolder(newFolder());
    folder.write(anna);
    expect(() => folder.write({ ...anna, text: "Other words." })).toThrow("there is a voice anna already");
    expect(folder.read("anna")).toEqual(anna);
    folder.write({ ...anna, text: "Other words." }, { replace: true });
    expect(folder.read("anna").text).toBe("Other words.");
  });

  test("rename keeps all but the name, and loses no voice", () => {
    const folder = new VoiceFolder(newFolder());
    folder.write(anna);
    folder.write({ ...anna, name: "berta" });
    expect(() => folder.rename("anna", "berta")).toThrow("there is a voice berta already");
    for (const replace of [false, true])
      expect(() => folder.rename("anna", "anna", { replace })).toThrow("the voice is called anna already");
    expect(() => folder.rename("nobody", "carla")).toThrow('there is no voice "nobody"');
    expect(() => folder.rename("anna", "../carla")).toThrow("cannot be the name of a voice");
    expect(folder.names()).toEqual(["anna", "berta"]);
    folder.rename("anna", "carla");
    expect(folder.read("carla")).toEqual({ ...anna, name: "carla" });
    folder.rename("carla", "berta", { replace: true });
    expect(folder.names()).toEqual(["berta"]);
  });

  test("a damaged voice can be removed and replaced", () => {
    const folder = new VoiceFolder(newFolder());
    folder.write(anna);
    truncateSync(folder.path("anna"), 10);
    folder.write(anna, { replace: true });
    expect(folder.read("anna")).toEqual(anna);
    truncateSync(folder.path("anna"), 10);
    folder.remove("anna");
    expect(folder.names()).toEqual([]);
  });
});
