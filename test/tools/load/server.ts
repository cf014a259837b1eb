// A real tts serve, and what the system says of its two processes.

import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../../_support.ts";
import { dial, type Head, speechRequest, type Wire } from "./client.ts";

export const TTS = [process.execPath, join(ROOT, "tts.ts")] as const;
const LOOK_MS = 20;

/** What one process holds. */
export interface Holds {
  rssMb: number;
  handles: number;
}

export class Server {
  private stderr = "";
  private readonly child: ChildProcess;

  private constructor(args: readonly string[], env: Readonly<Record<string, string>>) {
    const [program, ...first] = [...TTS, "serve", "--port", "0", ...args];
    this.child = spawn(program, first, {
      env: { ...process.env, ...env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.child.stderr!.on("data", (chunk) => {
      this.stderr += chunk;
    });
  }

  /** @throws Error where it does not open, with what it says */
  static async start(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Server> {
    const server = new Server(args, env);
    while (!server.stderr.includes("ready: ")) {
      if (server.child.exitCode !== null) throw new Error(`tts serve has ended: ${server.stderr.trim()}`);
      await Bun.sleep(LOOK_MS);
    }
    return server;
  }

  get url(): string {
    return /ready: (http:\S+),/.exec(this.stderr)![1];
  }

  /** What it said since it was ready. */
  get said(): string {
    return this.stderr.replace(/^[\s\S]*?ready: .*\n/, "").trim();
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** The process of its engine; null while there is none. */
  get engine(): number | null {
    const children = readFileSync(`/proc/${this.pid}/task/${this.pid}/children`, "utf8").trim();
    return children === "" ? null : Number(children.split(" ")[0]);
  }

  /** A speech that was asked for, with the head of its answer. The wire is the caller's to leave. */
  async speak(body: object): Promise<{ wire: Wire; head: Head; startMs: number }> {
    const wire = await dial(this.url);
    const startMs = performance.now();
    wire.send(speechRequest(body));
    try {
      return { wire, head: await wire.head(), startMs };
    } catch (error) {
      wire.leave();
      throw error;
    }
  }

  /** Speeches under way, those that wait included. */
  async busy(): Promise<number> {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    return [...text.matchAll(/^tts_speeches\{.*\} (\d+)$/gm)].reduce((sum, [, n]) => sum + Number(n), 0);
  }

  async idle(): Promise<void> {
    while ((await this.busy()) > 0) await Bun.sleep(LOOK_MS);
  }

  async end(): Promise<number | null> {
    const ended = new Promise<number | null>((resolve) => this.child.once("exit", resolve));
    if (this.child.exitCode !== null) return this.child.exitCode;
    this.child.kill("SIGTERM");
    return ended;
  }
}

export function holds(pid: number): Holds {
  const kilobytes = /^VmRSS:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1];
  return { rssMb: Math.round(Number(kilobytes) / 1024), handles: readdirSync(`/proc/${pid}/fd`).length };
}

/** Of the last minute. */
export const loadAverage = (): string => readFileSync("/proc/loadavg", "utf8").split(" ")[0];

/** @param share 0.5: the median */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}
export const median = (values: readonly number[]) => quantile(values, 0.5);
