// How the time of a render falls with its boards: make render. Starts a hub, and for each round 1, 2 and 4
// boards, each on one core of this machine, so that as many as there are cores stand for as many machines;
// more share cores. This machine alone, on all its cores, is measured beside them.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { removeScratch } from "../_support.ts";
import { TestServer } from "../fleet/_servers.ts";

const { values } = parseArgs({ options: { rounds: { type: "string" }, sentences: { type: "string" } } });
const rounds = Number(values.rounds || 5);
const sentences = Number(values.sentences || 40);
const BOARDS = [0, 1, 2, 4];

const folder = mkdtempSync(join(tmpdir(), "tts-render-"));
const WORDS = ["door", "lamp", "river", "garden", "window", "train", "letter", "kitchen", "table", "cat"];
const text = Array.from({ length: sentences }, (_, i) => {
  const word = (step: number) => WORDS[(i * step + 1) % WORDS.length];
  return `The ${word(3)} behind the old ${word(7)} was open when the ${word(9)} came back at half past ${i % 12}.`;
});
writeFileSync(join(folder, "book.txt"), text.join("\n\n"));

const server = await TestServer.nats();
const env = { ...process.env, TTS_FLEET: `nats://127.0.0.1:${server.port}` };
const start = (args: readonly string[], more = {}, before: readonly string[] = []) =>
  Bun.spawn([...before, process.execPath, join(import.meta.dir, "../../tts.ts"), ...args], {
    ...{ cwd: folder, env: { ...env, ...more }, stdin: "ignore", stdout: "pipe", stderr: "pipe" },
  });

async function board(number: number): Promise<Bun.Subprocess<"ignore", "pipe", "pipe">> {
  const name = `board-${number}`;
  const core = String(number % availableParallelism());
  const program = start(["join", "--name", name], {}, ["taskset", "-c", core]);
  let said = "";
  for await (const part of program.stderr) {
    said += Buffer.from(part).toString();
    if (said.includes("ready:")) return program;
  }
  throw new Error(`${name} does not join: ${said}`);
}

/** Seconds from the first sentence to the whole file. */
async function render(boards: number): Promise<number> {
  const open = await Promise.all(Array.from({ length: boards }, (_, i) => board(i)));
  const program = start(
    ["render", "book.txt", "--json", "-o", `${boards}.wav`],
    boards === 0 ? { TTS_FLEET: "" } : {},
  );
  const { wallSeconds } = JSON.parse(await new Response(program.stdout).text());
  for (const one of open) one.kill("SIGTERM");
  await Promise.all(open.map((one) => one.exited));
  return wallSeconds;
}

const seconds = new Map<number, number[]>(BOARDS.map((boards) => [boards, []]));
await render(0); // converts the model, and fills the caches of the system
for (let round = 0; round < rounds; round++)
  for (let i = 0; i < BOARDS.length; i++) {
    const boards = BOARDS[(i + round) % BOARDS.length];
    seconds.get(boards)!.push(await render(boards));
  }

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const one = median(seconds.get(1)!);
console.log(`${sentences} sentences, ${rounds} rounds, ${availableParallelism()} cores, medians:`);
for (const [boards, all] of seconds) {
  const time = median(all);
  const whom = boards === 0 ? "this machine alone" : `${boards} board${boards === 1 ? "" : "s"}`;
  console.log(`${whom}: ${time.toFixed(2)} s, ${(one / time).toFixed(2)} times as fast as one board`);
}
const files = BOARDS.map((boards) => readFileSync(join(folder, `${boards}.wav`)));
console.log(files.every((file) => file.equals(files[0])) ? "all files are equal" : "THE FILES DIFFER");
await server.kill();
rmSync(folder, { recursive: true });
removeScratch();
