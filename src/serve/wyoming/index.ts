// The Wyoming server, with which Home Assistant speaks: connections come in, sessions answer them. Stands on
// the service alone.

import { rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { systemCode, TtsError } from "../../errors.ts";
import { authority, isLoopback } from "../../io/address.ts";
import { SERVE_LIMITS, WYOMING_LIMITS, type WyomingLimits } from "../../limits.ts";
import type { Tell } from "../../types.ts";
import type { Service } from "../service.ts";
import { Info } from "./_info.ts";
import { Session } from "./_session.ts";
import { type Announced, announce, usualName } from "./_zeroconf.ts";

/** An address, the path of a Unix socket, or a socket that listens already. */
export type Where = { host: string; port: number } | { socket: string } | { fd: number };

export interface WyomingServer {
  /** As clients name it, such as `tcp://127.0.0.1:10200`. */
  readonly where: string;
  /** 0 for a Unix socket. */
  readonly port: number;
  /** No new connections; what is being spoken may finish in this time. */
  stop(graceMs?: number): Promise<void>;
}

export interface WyomingOptions {
  tell: Tell;
  /** Has Home Assistant find the server by itself. Default: nobody is told. */
  zeroconf?: { name?: string };
  /** Of connections. Default: {@link WYOMING_LIMITS}. */
  limits?: Partial<ConnectionLimits>;
}

type ConnectionLimits = Pick<WyomingLimits, "connections" | "idleMs" | "stallMs" | "patienceMs" | "sweepMs">;

/** @throws TtsError OUTPUT_FAILED if the place is taken or cannot be used, USAGE for an unusable name */
export async function serveWyoming(
  service: Service,
  where: Where,
  { limits: given, tell, zeroconf }: WyomingOptions,
): Promise<WyomingServer> {
  const limits: ConnectionLimits = { ...WYOMING_LIMITS, ...given };
  const host = { service, tell, info: new Info(service, (voice) => tell.info(remade(voice))) };
  const sessions = new Map<Socket, Session>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const living = [...sessions.values()].filter(({ isOver }) => !isOver);
    const isFull = living.length >= limits.connections && !makeRoom(living, limits);
    const session = new Session(socket, socket.remoteAddress ?? "the socket", host);
    sessions.set(socket, session);
    socket.once("close", () => sessions.delete(socket));
    if (isFull) session.end("too many connections");
    if (sessions.size > 2 * limits.connections) socket.destroy();
  });
  await listening(server, where);
  server.on("error", (error) => tell.warn(`Wyoming: ${error.message}`));
  const sweep = setInterval(() => sendAway([...sessions.values()], limits), limits.sweepMs);
  sweep.unref();
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const announced = zeroconf === undefined ? null : await announcedAs(zeroconf.name, server, tell);
  return {
    where: spelled(where, port),
    port,
    async stop(graceMs = SERVE_LIMITS.endMs) {
      clearInterval(sweep);
      await announced?.stop();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const session of sessions.values()) session.finish();
      const late = setTimeout(() => {
        for (const [socket, session] of sessions) {
          session.end("the server is ending");
          setTimeout(() => socket.destroy(), SERVE_LIMITS.endPollMs);
        }
      }, graceMs);
      await closed;
      clearTimeout(late);
    },
  };
}

/** @returns null where it would be useless */
async function announcedAs(name = usualName(), server: Server, tell: Tell): Promise<Announced | null> {
  const address = server.address();
  if (typeof address === "object" && address !== null && !isLoopback(address.address))
    try {
      return await announce(name, address.address, address.port, tell);
    } catch (error) {
      server.close();
      throw error;
    }
  tell.warn("only this machine can reach the Wyoming server: the local network is not told of it");
  return null;
}

const remade = (voice: string) =>
  `the voice ${voice} was made anew: Home Assistant keeps what the old one said until its action ` +
  `tts.clear_cache is run`;

const MEANINGS: Readonly<Record<string, readonly [what: string, hint: string]>> = {
  EADDRINUSE: ["another program has it", "end that program, or choose another"],
  EACCES: ["no permission", "choose a port above 1023, or a folder you may write to"],
  EADDRNOTAVAIL: ["this machine has no such address", "choose one of its addresses, or 0.0.0.0 for all"],
  ENOENT: ["its folder does not exist", "make the folder first"],
};

async function listening(server: Server, where: Where): Promise<void> {
  const path = "socket" in where ? where.socket : null;
  if (path !== null && (await isLeftOver(path))) rmSync(path, { force: true });
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path === null ? where : { path }, resolve);
    });
  } catch (cause) {
    const [what, hint] = MEANINGS[systemCode(cause)] ?? [String(cause), "choose another place"];
    throw new TtsError("OUTPUT_FAILED", `cannot serve Wyoming on ${spelled(where, 0)}: ${what}`, hint, {
      cause,
    });
  }
}

/** Whether the socket of a server that was killed lies there. */
const isLeftOver = (path: string) =>
  new Promise<boolean>((resolve) => {
    const socket = connect({ path });
    socket.once("connect", () => {
      socket.destroy();
      resolve(false);
    });
    socket.once("error", (error) => resolve(systemCode(error) === "ECONNREFUSED"));
  });

function spelled(where: Where, port: number): string {
  if ("socket" in where) return `unix://${where.socket}`;
  if ("fd" in where) return port > 0 ? `port ${port}` : `file descriptor ${where.fd}`;
  return `tcp://${authority(where.host, port || where.port)}`;
}

/** Sends the client away that has been idle longest, if it was for long. */
function makeRoom(sessions: readonly Session[], { patienceMs }: ConnectionLimits): boolean {
  const idle = sessions.flatMap((session) => {
    const waiting = session.waiting();
    return waiting?.idle === true ? [{ session, sinceMs: waiting.sinceMs }] : [];
  });
  const [oldest] = idle.sort((a, b) => a.sinceMs - b.sinceMs);
  if (oldest === undefined || performance.now() - oldest.sinceMs < patienceMs) return false;
  oldest.session.end(null);
  return true;
}

function sendAway(sessions: readonly Session[], { idleMs, stallMs }: ConnectionLimits): void {
  for (const session of sessions) {
    const waiting = session.waiting();
    if (waiting === null) continue;
    const most = waiting.stalls ? stallMs : idleMs;
    if (performance.now() - waiting.sinceMs > most)
      session.end(waiting.idle ? null : "nothing came for too long");
  }
}
