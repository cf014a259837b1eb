// tts render as a user calls it: the file of the single run, alone and by boards of which one is killed.

import { beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bundleOf, patient, ROOT, scratchFolder } from "../_support.ts";
import { describeWith, TestServer } from "./_servers.ts";

const WORDS = ["door", "lamp", "river", "garden", "window", "train", "letter", "kitchen"];
const BOOK = Array.from(
  { length: 16 },
  (_, i) => `The ${WORDS[i % 8]} was ${WORDS[(3 * i + 1) % 8]} number ${i}.`,
)
  .map((sentence, i) => sentence + (i % 6 === 5 ? "\n\n" : " "))
  .join("");
const LOOK_MS = 20;

let folder: string;
let single: Buffer;

interface Program {
  process: Bun.Subprocess<"ignore", "pipe", "pipe">;
  /** Both outputs in one, when it has ended. */
  said: Promise<string>;
}

function tts(args: readonly string[], fleet = ""): Program {
  const env = {
    PATH: process.env.PATH,
    TTS_CACHE: join(folder, "cache"),
    TTS_CONFIG: folder,
    TTS_PREFIX_CACHE: "off",
    ...(fleet === "" ? {} : { TTS_FLEET: fleet }),
  };
  const command = ["setpriv", "--pdeathsig", "KILL", process.execPath, join(ROOT, "tts.ts"), ...args];
  const program = Bun.spawn(command, { cwd: folder, env, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const said = Promise.all([new Response(program.stdout).text(), new Response(program.stderr).text()]);
  return { process: program, said: said.then((parts) => parts.join("")) };
}

const render = (out: string, fleet = "", more: readonly string[] = []) =>
  tts(["render", "book.txt", "-m", bundleOf("starter").directory, "--seed", "5", "-o", out, ...more], fleet);

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + patient(30_000);
  while (!condition()) {
    if (performance.now() > deadline) throw new Error("it did not happen");
    await Bun.sleep(LOOK_MS);
  }
}

const home = () => join(folder, "cache", "render");
/** Finished sentences of the book that is rendered. */
const onShelf = () => {
  const books = existsSync(home()) ? readdirSync(home()).filter((name) => !name.includes(".lock")) : [];
  return books.length === 0 ? 0 : readdirSync(join(home(), books[0])).length;
};

beforeAll(async () => {
  folder = mkdtempSync(join(scratchFolder(), "render-"));
  writeFileSync(join(folder, "book.txt"), BOOK);
  await tts(["-i", "book.txt", "-m", bundleOf("starter").directory, "--seed", "5", "-o", "single.wav"]).said;
  single = readFileSync(join(folder, "single.wav"));
}, patient(30_000));

describe("alone", () => {
  test(
    "a render that a signal ends goes on, also with a hub that is away, and gives the file of the single run",
    async () => {
      const first = render("alone.wav");
      await until(() => onShelf() >= 3);
      first.process.kill("SIGINT");
      expect(await first.said).toEndWith("the render was ended; the same command goes on from here\n");
      expect(await first.process.exited).toBe(130);
      expect(existsSync(join(folder, "alone.wav"))).toBe(false);
      const said = await render("alone.wav", "nats://127.0.0.1:1", ["--json"]).said;
      const outcome = JSON.parse(said.split("\n").find((line) => line.startsWith("{"))!);
      expect(said).toContain("the hub at nats://127.0.0.1:1 does not answer");
      expect(outcome.found).toBeGreaterThanOrEqual(3);
      expect(outcome.found + outcome.here).toBe(outcome.sentences);
      expect(readFileSync(join(folder, "alone.wav")).equals(single)).toBe(true);
      expect(readdirSync(home())).toEqual([]);
    },
    patient(30_000),
  );

  test.each([
    [[], "render takes one file, not 0; tts render FILE -o OUT"],
    [["nowhere.txt"], "nowhere.txt"],
    [["book.txt", "--fleet", "http://x"], "is no address of a server"],
  ])("wrong arguments %p are told in one line", async (args, line) => {
    const program = tts(["render", ...args]);
    expect(await program.said).toContain(line);
    expect(await program.process.exited).toBe(2);
  });
});

describeWith(["nats-server"], "by boards", () => {
  test(
    "one of which is killed in the middle, the file is that of the single run",
    async () => {
      const server = await TestServer.nats();
      const fleet = `nats://127.0.0.1:${server.port}`;
      const boards = ["alpha", "beta"].map((name) =>
        tts(["join", "--name", name, "-m", bundleOf("starter").directory], fleet),
      );
      const book = render("boards.wav", fleet, ["--json"]);
      await until(() => onShelf() >= 4);
      boards[0].process.kill("SIGKILL");
      const said = await book.said;
      const outcome = JSON.parse(said.split("\n").find((line) => line.startsWith("{"))!);
      boards[1].process.kill("SIGTERM");
      await boards[1].said;
      await server.kill();
      expect(readFileSync(join(folder, "boards.wav")).equals(single)).toBe(true);
      expect(outcome.boards.beta).toBeGreaterThan(outcome.here);
      expect(await boards[1].process.exited).toBe(0);
    },
    patient(60_000),
  );
});
