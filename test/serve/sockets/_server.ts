// Runs `tts serve` as a user does, for the tests of its sockets.

import { expect } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { bundleOf, ROOT, scratchFolder } from "../../_support.ts";
import { converse, Tables, vocode } from "./_client.ts";

export type Stage = "talker" | "predictor" | "vocoder";
export const STAGES: readonly Stage[] = ["talker", "predictor", "vocoder"];
export const TEXT = "The kettle is ready.";

export interface Spoken {
  frames: number[][];
  /** i16 samples of its wav */
  samples: Buffer;
}

const environment = (more: Record<string, string> = {}) => ({
  PATH: process.env.PATH,
  TTS_CACHE: join(scratchFolder(), "cache"),
  TTS_PREFIX_CACHE: "memory",
  ...more,
});

const SOURCES = [process.execPath, join(ROOT, "tts.ts")];

function run(
  args: readonly string[],
  more: Record<string, string>,
  cwd = scratchFolder(),
  program = SOURCES,
): ChildProcess {
  const [command, ...first] = program;
  return spawn(command, [...first, ...args], {
    env: environment(more),
    cwd,
    stdio: ["ignore", "ignore", "pipe"],
  });
}

export const newFolder = () => mkdtempSync(join(scratchFolder(), "serve-"));

/** The codes and samples that `tts` itself makes of a text. */
export async function speakItself(args: readonly string[]): Promise<Spoken> {
  const folder = newFolder();
  const child = run(
    [...args, "--text-mode", "whole", "--save-codes", "codes.json", "-o", "a.wav"],
    {},
    folder,
  );
  let stderr = "";
  child.stderr!.on("data", (chunk) => {
    stderr += chunk;
  });
  const status = await new Promise((resolve) => child.on("close", resolve));
  if (status !== 0) throw new Error(`tts ${args.join(" ")}: ${stderr}`);
  const { frames } = JSON.parse(readFileSync(join(folder, "codes.json"), "utf8"));
  return { frames, samples: readFileSync(join(folder, "a.wav")).subarray(44) };
}

const started: Server[] = [];
/** For afterAll: no test leaves a process behind. */
export async function stopServers(): Promise<void> {
  await Promise.all(started.map((server) => server.stop("SIGKILL")));
}

export class Server {
  stderr = "";
  readonly exited: Promise<number>;
  private readonly child: ChildProcess;
  private status: number | null = null;
  private wake = () => {};

  constructor(
    readonly folder: string,
    args: readonly string[],
    more: Record<string, string> = {},
    program?: string[],
  ) {
    this.child = run(["serve", "--sockets", folder, ...args], more, undefined, program);
    this.child.stderr!.on("data", (chunk) => {
      this.stderr += chunk;
      this.wake();
    });
    this.exited = new Promise((resolve) => {
      this.child.on("close", (code) => {
        this.status = code ?? -1;
        this.wake();
        resolve(this.status);
      });
    });
    started.push(this);
  }

  /** A server that is ready. */
  static async start(
    args: readonly string[],
    more: Record<string, string> = {},
    folder = newFolder(),
    program?: string[],
  ): Promise<Server> {
    const server = new Server(folder, args, more, program);
    await server.says(/^ready: /m);
    return server;
  }

  /** Waits until standard error, from `from` on, matches. */
  async says(pattern: RegExp, from = 0): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(this.stderr.slice(from));
      if (found !== null) return found;
      if (this.status !== null) throw new Error(`ended with ${this.status}: ${this.stderr}`);
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** The id of a stage's current process. */
  processOf(stage: Stage): number {
    const lines = [...this.stderr.matchAll(new RegExp(`^${stage}: .*process (\\d+)\\)$`, "gm"))];
    return Number(lines.at(-1)![1]);
  }

  socket(stage: Stage): string {
    return join(this.folder, `${stage}.sock`);
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number> {
    if (this.status === null) this.child.kill(signal);
    return this.exited;
  }
}

/** The starter voice on its server, and what TEXT sounds like there. */
export interface Served {
  /** Folder of the bundle. */
  starter: string;
  tables: Tables;
  server: Server;
  expected: Spoken;
  /** Asserts that a client of this server, or of another one, gets the expected frames and samples. */
  allGood(other?: Server): Promise<void>;
}

/** For beforeAll. @param more options of the server */
export async function serveStarter(...more: string[]): Promise<Served> {
  const starter = bundleOf("starter").directory;
  const tables = new Tables(starter);
  const server = await Server.start(["-m", starter, "--greedy", ...more]);
  const expected = await speakItself(["-m", starter, "--greedy", TEXT]);
  const allGood = async ({ folder } = server) => {
    const frames = await converse(folder, tables, { text: TEXT });
    expect(frames).toEqual(expected.frames);
    expect((await vocode(folder, frames)).equals(expected.samples)).toBe(true);
  };
  return { starter, tables, server, expected, allGood };
}

export const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export const isRunning = (pid: number) =>
  existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));

/** Polls for something that happens soon and sends no event. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await pause(10);
}
