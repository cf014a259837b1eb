// Words that are to be spoken and look like something else: behind --, from make, and names of commands that
// were mistyped.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../_support.ts";
import { newFolder, shell } from "./_tts.ts";

const SAY = '-m "$STARTER" --greedy --quiet --save-codes codes';
const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
const textIn = (folder: string) => JSON.parse(readFileSync(join(folder, "codes"), "utf8")).text;

describe("what stands behind -- is spoken", () => {
  test.each(["-5 degrees", "--version", "decode", "doctr", "-- one", "it's $5"])("%s", async (text) => {
    const folder = newFolder();
    const { status, stderr } = await shell(`$TTS ${SAY} -o a -- ${quoted(text)}`, folder);
    expect({ status, stderr, text: textIn(folder) }).toEqual({ status: 0, stderr: "", text });
  });

  // Here nothing stands before it, and there is no place for options. bun run has options of its own.
  const [program, run] = ["$TTS", `${process.execPath} run ${join(ROOT, "tts.ts")}`];
  test.each([
    ...["-5 degrees", "--version", "decode", "doctr", "-- -- one", "--child library {}"].map(
      (text) => [text, program] as const,
    ),
    ...["--version", "-- -- one"].map((text) => [text, run] as const),
  ])("%s, where -- stands first: %s", async (text, command) => {
    const { status, stderr } = await shell(`${command} -- ${text}`, newFolder());
    expect(stderr).toMatch(/^output\.wav: /m);
    expect(status).toBe(0);
  });
});

describe("a single word near a command", () => {
  test.each([
    ["doctr", "doctor"],
    ["Doctr", "doctor"],
    ["DOCOTR", "doctor"],
    ["Voices", "voices"],
    ["modles", "models"],
    ["licenses", "licences"],
    ["sevre", "serve"],
  ])("%s is refused, and nothing is written", async (word, meant) => {
    const folder = newFolder();
    const line = `tts: there is no command "${word}"; did you mean tts ${meant}? To speak the word, put -- before it\n`;
    expect(await shell(`$TTS ${word}`, folder)).toEqual({ status: 2, stdout: "", stderr: line });
    expect(readdirSync(folder)).toEqual([]);
  });

  test.each(["doctr --quiet -o a", "pul", "nab", "dctr", '"doctr doctr"', "doctr doctr"])(
    "%s is spoken",
    async (words) => {
      expect((await shell(`$TTS ${words}`, newFolder())).status).toBe(0);
    },
  );
});

describe("make", () => {
  const makefile = readFileSync(join(ROOT, "Makefile"), "utf8");
  const hostile = `It costs $5: "hi" & 'bye' $(HOME) \`id\``;

  test("gives the text as it was typed", async () => {
    const variable = /-- "\$\$(\w+)"/.exec(makefile)![1];
    const folder = newFolder();
    writeFileSync(join(folder, "Makefile"), `${makefile}\nshow: ; @printf '%s' "$$${variable}"\n`);
    for (const text of ["-5 degrees", hostile])
      expect((await shell(`make -s show TEXT=${quoted(text)}`, folder)).stdout).toBe(text);
  });

  test.each(["--version", hostile])("speaks %s", async (text) => {
    const folder = newFolder();
    for (const name of ["Makefile", "tts.ts", "node_modules", "package.json", "bun.lock"])
      symlinkSync(join(ROOT, name), join(folder, name));
    const { status, stderr } = await shell(`make -s run TEXT=${quoted(text)}`, folder);
    expect(stderr).toMatch(/^output\.wav: /m);
    expect(status).toBe(0);
  });
});
