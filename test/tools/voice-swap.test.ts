// `make voice`: a voice that does not fit is refused before anything has changed; one that fits is put in
// place whole.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { GOLDEN, STARTER, scratchFolder, setJson } from "../_support.ts";
import { type Places, swapVoice } from "./voice-swap.ts";

let [given, places] = ["", { voice: "", golden: "" } as Places];

/** A voice to be put in place: the one that ships, with other figures. */
function layOut(folder: string): void {
  const without = (names: string[]) => (path: string) => !names.some((name) => path.endsWith(name));
  cpSync(STARTER, join(folder, "out"), { recursive: true, filter: without(["NOTICE", "README.md"]) });
  cpSync(join(GOLDEN, "starter"), join(folder, "golden"), {
    recursive: true,
    filter: without(["heard.json"]),
  });
  writeFileSync(
    join(folder, "README.md"),
    "# A voice\n\n## How well it is understood\n\nBetter.\n\n## Licence\n\nFree.\n",
  );
}

beforeAll(() => {
  const folder = join(scratchFolder(), "voice-swap");
  given = join(folder, "given");
  layOut(given);
  places = { voice: join(folder, "place/starter"), golden: join(folder, "place/golden") };
  cpSync(STARTER, places.voice, { recursive: true });
  cpSync(join(GOLDEN, "starter"), places.golden, { recursive: true });
});
afterAll(() => rmSync(join(scratchFolder(), "voice-swap"), { recursive: true, force: true }));

/** Sum over names and bytes of all that is in the places, and beside them. */
function stateOf({ voice, golden }: Places): string {
  const hash = createHash("sha256").update(readdirSync(join(voice, "..")).join());
  for (const folder of [voice, golden]) {
    for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      hash.update(path).update(readFileSync(path));
    }
  }
  return hash.digest("hex");
}

/** A copy of the given voice, damaged. */
function damaged(damage: (folder: string) => void): string {
  const folder = join(scratchFolder(), "voice-swap/damaged");
  rmSync(folder, { recursive: true, force: true });
  cpSync(given, folder, { recursive: true });
  damage(folder);
  return folder;
}

const SUMS = "0".repeat(64);
/** Changes the value at a path of the first golden case. */
const setCase = (key: string, value: unknown) => setJson("golden/cases.json", `cases.0.${key}`, value);
/** Flips a bit of the byte at `at`, counted from the end. */
const flip = (file: string, at: number) => (folder: string) => {
  const bytes = readFileSync(join(folder, file));
  bytes[bytes.length - at] ^= 0x40;
  writeFileSync(join(folder, file), bytes);
};

describe("a voice that does not fit is refused, and nothing is changed", () => {
  test.each<[string, (folder: string) => void, RegExp]>([
    [
      "without weights",
      (folder) => rmSync(join(folder, "out/model.safetensors")),
      /out\/model\.safetensors: is missing; /,
    ],
    [
      "without golden runs",
      (folder) => rmSync(join(folder, "golden"), { recursive: true }),
      /golden: is missing, or no folder; /,
    ],
    [
      "without one run",
      (folder) => rmSync(join(folder, "golden/starter-03.safetensors")),
      /starter-03\.safetensors: is missing; /,
    ],
    ["without cases", (folder) => rmSync(join(folder, "golden/cases.json")), /cases\.json: is missing; /],
    [
      "without figures",
      (folder) => writeFileSync(join(folder, "README.md"), "# A voice\n"),
      /has no section "## How well it is understood" with anything in it; /,
    ],
    [
      "with a file that belongs to no voice",
      (folder) => writeFileSync(join(folder, "out/run.py"), ""),
      /out\/run\.py: is no file of the voice; /,
    ],
    [
      "with a wrong sum",
      (folder) => writeFileSync(join(folder, "SHA256SUMS"), `${SUMS}  out/vocab.json\n`),
      /SHA256SUMS says 0{64}; /,
    ],
    [
      "with a line that is no sum",
      (folder) => writeFileSync(join(folder, "SHA256SUMS"), "abc\n"),
      /"abc" is no line of sha256sum; /,
    ],
    [
      "with a file that has no sum",
      (folder) => writeFileSync(join(folder, "SHA256SUMS"), ""),
      /SHA256SUMS: has no sum of out\/config\.json; /,
    ],
    [
      "with cases that are no JSON",
      (folder) => writeFileSync(join(folder, "golden/cases.json"), "{"),
      /cases\.json: is no JSON \(.*\); /,
    ],
    [
      "without any case",
      (folder) => writeFileSync(join(folder, "golden/cases.json"), '{"cases": []}'),
      /cases\.json: lists no cases; /,
    ],
    ["with a case without text", setCase("text", undefined), /cases\.json: case 0 lacks name, text, /],
    ["with a case twice", setCase("name", "starter-01"), /starter-01\.safetensors is named twice; /],
    [
      "with another file that is no JSON",
      (folder) => writeFileSync(join(folder, "out/preprocessor_config.json"), ""),
      /_config\.json: is no JSON/,
    ],
    [
      "with another speaker",
      setJson("out/config.json", "talker_config.spk_id", { bob: 1264 }),
      /speakers is bob, the voice here has starter/,
    ],
    [
      "with an empty section",
      (folder) => writeFileSync(join(folder, "README.md"), "## How well it is understood\n\n## Licence\n"),
      /with anything in it/,
    ],
    [
      "with weights cut short",
      (folder) => writeFileSync(join(folder, "out/model.safetensors"), "x"),
      /model\.safetensors/,
    ],
    [
      "with another shape",
      setJson("out/config.json", "talker_config.intermediate_size", 641),
      /talker\.intermediate is 641, .* has 640/,
    ],
    [
      "with other codebooks",
      setJson("out/speech_tokenizer/config.json", "decoder_config.codebook_size", 256),
      /codebook_size is 256/,
    ],
    [
      "with a text read otherwise",
      setCase("ipa", "dˈɪnɝ."),
      /is read as dˈɪnɝ ˈɪz rˈɛdi\., not as dˈɪnɝ\.; /,
    ],
    ["with other ids", setCase("input_ids", [1]), /starter-00\.safetensors: its text has other ids; /],
    ["with other frames", setCase("frames", 19), /starter-00\.safetensors: it does not have 19 frames; /],
    ["with another end", setCase("stops_by_itself", false), /the voice ends by eos; /],
    [
      "with other codes",
      flip("golden/starter-02.safetensors", 3),
      /starter-02\.safetensors: frame \d+ has other codes; /,
    ],
    [
      "with another sound",
      flip("golden/starter-00.safetensors", 18 * 16 * 4 + 4001),
      /starter-00\.safetensors: its sound differs by .*,/,
    ],
    [
      "with another weight",
      flip("out/model.safetensors", 5_000_001),
      /(has other codes|goes on after|is not a number)/,
    ],
  ])("%s", async (_title, damage, message) => {
    const before = stateOf(places);
    await expect(swapVoice(damaged(damage), places, () => {})).rejects.toThrow(message);
    expect(stateOf(places)).toBe(before);
  });
});

test("a voice that fits is put in place, with its figures and our own files", async () => {
  for (const file of ["out/lexicon.tsv", "out/generation_config.json"])
    appendFileSync(join(given, file), "\n");
  renameSync(join(given, "golden/starter-07.safetensors"), join(given, "golden/starter-09.safetensors"));
  setJson("golden/cases.json", "cases.7.name", "starter-09")(given);
  chmodSync(join(given, "out/config.json"), 0o444);
  mkdirSync(join(places.voice, "../.starter.new")); // what a killed swap left
  await swapVoice(given, places, () => {});
  const read = (folder: string, name: string) => readFileSync(join(folder, name), "utf8");
  for (const name of ["config.json", "generation_config.json", "lexicon.tsv"]) {
    expect(read(places.voice, name)).toBe(read(join(given, "out"), name));
  }
  for (const name of ["starter-00.safetensors", "starter-09.safetensors", "cases.json"]) {
    expect(read(places.golden, name)).toBe(read(join(given, "golden"), name));
  }
  expect(readdirSync(places.golden)).not.toContain("starter-07.safetensors");
  expect(read(places.golden, "heard.json")).toBe(read(join(GOLDEN, "starter"), "heard.json"));
  expect(read(places.voice, "NOTICE")).toBe(read(STARTER, "NOTICE"));
  const [readme, before] = [read(places.voice, "README.md"), read(STARTER, "README.md")];
  expect(readme).toContain("## How well it is understood\n\nBetter.\n\n## Shapes");
  expect(readme.replace(/## How well it is understood[\s\S]*?\n## /, "## ")).toBe(
    before.replace(/## How well it is understood[\s\S]*?\n## /, "## "),
  );
  expect(readdirSync(join(places.voice, "..")).sort()).toEqual(["golden", "starter"]);
  expect(readdirSync(places.voice)).toContain("speech_tokenizer");
});

test.each([
  ["the first folder is moved away", ["starter"], []],
  ["both are", ["starter", "golden"], []],
  ["one of the new ones is there", ["starter", "golden"], ["starter"]],
  ["both are there, and nothing else is done", ["starter", "golden"], ["starter", "golden"]],
])("a swap that is killed when %s is taken back by the next one", async (_title, moved, placed) => {
  const base = join(places.voice, "..");
  const before = stateOf(places);
  for (const name of moved) renameSync(join(base, name), join(base, `.${name}.old`));
  for (const name of placed) mkdirSync(join(base, name));
  // this voice fits nothing
  await expect(swapVoice(join(given, "out"), places, () => {})).rejects.toThrow(/out\/out: is missing/);
  expect(stateOf(places)).toBe(before);
});

test("a swap that is killed after the last rename stays", async () => {
  const base = join(places.voice, "..");
  const before = stateOf(places);
  mkdirSync(join(base, ".golden.old"));
  mkdirSync(join(base, ".starter.new"));
  await expect(swapVoice(join(given, "out"), places, () => {})).rejects.toThrow();
  expect(stateOf(places)).toBe(before);
});
