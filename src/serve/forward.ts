// Passes the connections of an inherited socket on to a private Unix socket: Bun's HTTP server cannot listen
// on a socket that somebody else opened.

import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TtsError } from "../errors.ts";

/** The path of a socket that only this user can reach; it goes with this process. */
export function privateSocket(): string {
  const folder = mkdtempSync(join(tmpdir(), "tts-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  return join(folder, "http.sock");
}

export interface Forward {
  /** No new connections; those that are there go on. */
  stop(): void;
}

/**
 * @param file a socket that listens
 * @throws TtsError OUTPUT_FAILED
 */
export async function forward(file: number, path: string): Promise<Forward> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (outside) => {
    const inside = connect({ path, allowHalfOpen: true });
    pass(outside, inside);
    pass(inside, outside);
  });
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ fd: file }, resolve);
    });
  } catch (cause) {
    throw new TtsError("OUTPUT_FAILED", `cannot listen on the inherited socket ${file}`, "", { cause });
  }
  return { stop: () => void server.close() };
}

/** Each end waits for the other's reader. An end that breaks takes the other with it. */
function pass(from: Socket, to: Socket): void {
  from.pipe(to);
  from.on("error", () => to.destroy());
  from.on("close", () => to.destroySoon());
}
