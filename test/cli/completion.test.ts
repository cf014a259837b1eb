// Completion in bash, zsh and fish, and the manual page: generated from the definitions, so both must have
// everything the definitions have.

import { beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadCommands } from "../../src/cli/commands.ts";
import { allOptions } from "../../src/cli/shared/command.ts";
import { VOCODER_CHOICES } from "../../src/config.ts";
import { modelFolder, writeRecord } from "../../src/models/catalog.ts";
import { GOLDEN } from "../_support.ts";
import { complete, makePlace, output, type Place, SHELLS } from "./_shells.ts";
import { newFolder } from "./_tts.ts";

const commands = await loadCommands();
const names = [...commands.keys()].filter((name) => name !== "");
/** With those of subcommands. */
const optionsOf = (name: string) => allOptions(commands.get(name)!);
const missing = (program: string) =>
  Bun.which(program) === null ? ` (skipped: ${program} is not installed)` : "";

let place: Place;
beforeAll(() => {
  place = makePlace(newFolder(), ["song.wav", "some codes.json"], ["anna", "berta"]);
});

const CASES: [line: string, offered: readonly string[]][] = [
  ["tts ", names],
  ["tts de", ["decode"]],
  ["tts hello de", []], // a text
  ["tts -- de", []],
  ["tts --vocoder ", VOCODER_CHOICES],
  ["tts --vocoder=ax", ["axcl", "axengine"]],
  ["tts hello --greedy --text-mode ", ["whole", "stream"]],
  ["tts hello --seed ", []],
  ["tts hello --play --start ", ["now", "safe", "complete"]],
  ["tts decode a --player pl", ["play"]],
  ["tts -s ", ["none", "starter"]],
  ["tts --language e", ["english"]],
  ["tts -m st", ["starter"]],
  ["tts -m bi", ["bin"]],
  ["tts --voice be", ["berta"]],
  ["tts -i so", ["some codes.json", "song.wav"]],
  ["tts decode so", ["some codes.json", "song.wav"]],
  ["tts decode --json so", ["some codes.json", "song.wav"]],
  ["tts decode song.wav ", []],
  ["tts decode -o so", ["some codes.json", "song.wav"]],
  ["tts convert vo", ["voices"]],
  ["tts convert --weights q8", ["q8_0"]],
  ["tts pull 1", ["1.7b-base", "1.7b-custom", "1.7b-design"]],
  ["tts voices ex", ["export"]],
  ["tts voices re", ["rename"]],
  ["tts voices rename an", ["anna"]],
  ["tts voices rename anna ", []],
  ["tts voices export ", ["anna", "berta"]],
  ["tts voices --json export an", ["anna"]],
  ["tts voices --text export rm b", ["berta"]], // "export" is the text here
  ["tts voices export anna so", ["some codes.json", "song.wav"]],
  ["tts completion z", ["zsh"]],
];

for (const shell of SHELLS)
  describe.skipIf(Bun.which(shell) === null)(`completion in ${shell}${missing(shell)}`, () => {
    test("offers what fits the place", () => {
      const offered = complete(
        shell,
        place,
        CASES.map(([line]) => line),
      );
      const pairs = offered.map((list, i) => [CASES[i][0], list]);
      expect(pairs).toEqual(CASES.map(([line, list]) => [line, list.toSorted()]));
    });

    test("has every option of every command", () => {
      const all = ["", ...names];
      const offered = complete(
        shell,
        place,
        all.map((name) => (name === "" ? "tts --" : `tts ${name} --`)),
      );
      const expected = all.map((name) => Object.keys(optionsOf(name)).map((option) => `--${option}`));
      const long = (list: string[]) =>
        list.filter((word) => word.startsWith("--")).map((word) => word.replace(/=$/, ""));
      expect(offered.map((list, i) => [all[i], long(list)])).toEqual(
        expected.map((list, i) => [all[i], list.toSorted()]),
      );
    });
  });

test("a pulled model adds its speakers and its languages, but no dialects", () => {
  const here = makePlace(newFolder(), [], []);
  const revision = "0".repeat(40);
  const directory = join(modelFolder(here.env.TTS_CACHE, "acme/tiny"), revision);
  mkdirSync(directory, { recursive: true });
  copyFileSync(join(GOLDEN, "tiny-custom/config.json"), join(directory, "config.json"));
  writeRecord({ hub: "acme/tiny", revision, files: [], directory });
  const namesOf = (kind: string) => output(here, "completion", kind).trim().split("\n");
  expect(namesOf("speakers")).toEqual(expect.arrayContaining(["starter", "eric", "dylan"]));
  expect(namesOf("languages")).toContain("chinese");
  expect(namesOf("languages").filter((name) => name.includes("dialect"))).toEqual([]);
});

test("short options are completed like long ones", () => {
  const lines = (shell: string) => output(place, "completion", shell).split("\n");
  const [bash, zsh, fish] = SHELLS.map(lines);
  const functions = zsh.join("\n").split("\n}\n");
  for (const name of ["", ...names])
    for (const [option, { alias }] of Object.entries(optionsOf(name))) {
      if (alias === undefined) continue;
      expect(bash.find((line) => line.includes(`'${name}') echo `))).toMatch(
        new RegExp(`['\\s]-${alias} --${option}['\\s]`),
      );
      expect(functions.find((body) => body.includes(`_tts_command_${name}()`))).toContain(
        `'(-${alias} --${option})'{-${alias},--${option}`,
      );
      expect(fish.join("\n")).toContain(`complete -c tts -n "__tts_is '${name}'" -s ${alias} -l ${option} `);
    }
});

describe("tts completion", () => {
  test("prints names, one per line", () => {
    expect(output(place, "completion", "voices")).toBe("anna\nberta\n");
    expect(output(place, "completion", "models")).toBe("starter\n");
  });

  test("says what there is if the word is missing or unknown", () => {
    expect(() => output(place, "completion")).toThrow("choose one of bash, zsh, fish, models");
    expect(() => output(place, "completion", "zhs")).toThrow("did you mean zsh?");
  });
});

describe("--version", () => {
  test("names the program, its runtime and every library it was built for", () => {
    const [first, ...lines] = output(place, "--version").trimEnd().split("\n");
    expect(first).toMatch(/^tts \d+\.\d+\.\d+$/);
    const versions = Object.fromEntries(lines.map((line) => line.split(/ +/, 2)));
    expect(versions).toMatchObject({
      bun: Bun.version,
      "llama.cpp": expect.stringMatching(/^\d/),
      onnxruntime: expect.stringMatching(/^\d/),
    });
    expect(lines.length).toBeGreaterThan(6);
  });

  test("loads no library, so that a wrong path does not matter; --verbose loads it", () => {
    const nowhere = { ...place, env: { ...place.env, TTS_LIBLLAMA: "/nowhere" } };
    expect(output(nowhere, "--version")).toBe(output(place, "--version"));
    expect(output(nowhere, "--version", "--verbose")).toMatch(
      /^llama here +libllama .*was not found; tried \/nowhere/m,
    );
    expect(output(place, "--version", "--verbose")).toMatch(/^onnxruntime here +1\.\d+\.\d+, \//m);
  });
});

describe("the manual page", () => {
  const plain = (roff: string) =>
    roff
      .replace(/\\f[BIP]/g, "")
      .replace(/\\-/g, "-")
      .replace(/\\\(aq/g, "'")
      .replace(/\\\(ti/g, "~");
  let page = "";
  beforeAll(() => {
    page = output(place, "man", "--date", "2026-01-31");
  });

  test("has every option of every command, with its value", () => {
    const [speaking, ...sections] = page.split(/^\.SS tts /m);
    const sectionOf = (name: string) =>
      name === "" ? speaking : sections.find((section) => section.startsWith(`${name}\n`));
    const all = [...commands].flatMap(([name, { options, subcommands = {} }]) => [
      [name, options] as const,
      ...Object.entries(subcommands).map(([word, { options }]) => [`${name} ${word}`, options] as const),
    ]);
    expect(all.length).toBeGreaterThan(commands.size);
    for (const [name, options] of all) {
      const tags = plain(sectionOf(name)!).matchAll(/^\.TP\n(-.*)$/gm);
      const expected = Object.entries(options).map(([option, { alias, type, valueHint }]) => {
        return `${alias === undefined ? "" : `-${alias}, `}--${option}${type === "string" ? ` ${valueHint ?? "VALUE"}` : ""}`;
      });
      expect([name, [...tags].map(([, tag]) => tag).toSorted()]).toEqual([name, expected.toSorted()]);
    }
  });

  test("says what every command does, and its date", () => {
    expect(page).toStartWith(".TH TTS 1 2026-01-31 ");
    for (const command of commands.values()) {
      for (const text of command.description) expect(plain(page).replace(/\n(?!\.)/g, " ")).toContain(text);
      for (const [line] of command.examples) expect(plain(page)).toContain(line);
    }
    for (const date of ["today", "", "2026-1-31", "2026-13-01", "2026-02-30", "2026-01-31T00:00"])
      expect(() => output(place, "man", "--date", date)).toThrow(`--date is "${date}"`);
    expect(output(place, "man", "--date", "2028-02-29")).toStartWith(".TH TTS 1 2028-02-29 ");
  });

  test("has no line that roff would take for a request by accident", () => {
    const requests = page.split("\n").filter((line) => /^[.']/.test(line));
    expect(requests.filter((line) => !/^\.(TH|SH|SS|TP|PP|br)\b/.test(line))).toEqual([]);
  });

  for (const [program, ...flags] of [
    ["groff", "-man", "-ww", "-Tutf8", "-z"],
    ["mandoc", "-Tlint"],
  ])
    test.skipIf(Bun.which(program) === null)(
      `${program} finds nothing to complain about${missing(program)}`,
      () => {
        const file = join(place.folder, "tts.1");
        writeFileSync(file, page);
        const { exitCode, stderr, stdout } = Bun.spawnSync([program, ...flags, file]);
        expect([exitCode, stdout.toString(), stderr.toString()]).toEqual([0, "", ""]);
      },
    );
});
