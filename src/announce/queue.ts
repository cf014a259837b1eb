// Who speaks next: one announcement at a time on this machine, for one user. Those that wait have a ticket
// each, a file that its process holds locked; so a killed one leaves the queue by itself. The turn is such a
// file as well, which the player inherits: it ends with the last sound, also where its process was killed.

import { chmodSync, ftruncateSync, lstatSync, mkdirSync, readdirSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monotonicMs } from "../../ffi/libc.ts";
import { endGroup, type PlayerTurn } from "../audio/play/group.ts";
import { ANNOUNCE_LIMITS } from "../config.ts";
import { fileError, TtsError } from "../errors.ts";
import { removeAbandoned, removeLitter } from "../io/atomic.ts";
import { createHeld, type HeldFile, isHeld, tryHold } from "../io/held-file.ts";
import { identity, isLiving } from "../io/lock.ts";
import { textOrNull } from "../io/read.ts";

/** From the one that waits for all others to the one that interrupts them. */
export const PRIORITIES = ["low", "normal", "high", "urgent"] as const;
export type Priority = (typeof PRIORITIES)[number];

/** The right to speak. */
export interface Turn extends PlayerTurn {
  waitedMs: number;
  /** Whether an urgent announcement waits that this one must make room for. */
  isWanted(): boolean;
  end(): void;
}

const OWNER_ONLY = 0o700;
const SPEAKER = "speaker";
const TICKETS = "tickets";
/** A ticket's name: first comes who goes first. The clock is that of all processes, which nobody can set. */
const TICKET = /^\d-[01]-(\d{15})-\d+$/;
const ticketName = (priority: Priority, isDue: boolean) =>
  [
    PRIORITIES.length - 1 - PRIORITIES.indexOf(priority),
    isDue ? 0 : 1,
    String(Math.round(1_000 * monotonicMs())).padStart(15, "0"),
    process.pid,
  ].join("-");
const enteredOf = (ticket: string) => Number(TICKET.exec(ticket)![1]);

/**
 * The folder of the queue: in the cache, so that it does not depend on variables that cron lacks; where that
 * cannot be written, in the folder for temporary files. For the owner alone.
 * @throws TtsError OUTPUT_FAILED
 */
export function queueFolder(cacheDir: string): string {
  const shared = join(tmpdir(), `qwen3-tts-${process.getuid?.() ?? 0}`);
  const places = [join(cacheDir, "announce"), join(shared, "announce")];
  let failure: unknown;
  for (const place of places) {
    try {
      return owned(place);
    } catch (error) {
      failure ??= error;
    }
  }
  throw fileError("OUTPUT_FAILED", places[0], failure, { use: "write" });
}

function owned(folder: string): string {
  mkdirSync(join(folder, TICKETS), { recursive: true, mode: OWNER_ONLY });
  const { mode, uid } = lstatSync(folder);
  if (uid !== (process.getuid?.() ?? uid)) throw new Error("it belongs to another user");
  if ((mode & 0o077) !== 0) chmodSync(folder, OWNER_ONLY);
  tryHold(join(folder, SPEAKER))?.release(); // or it cannot be written
  removeAbandoned(join(folder, TICKETS));
  return folder;
}

/**
 * Waits until nobody speaks and nobody who goes first waits.
 * @param folder {@link queueFolder}
 * @param isDue it has a time, and goes before others of its priority
 * @throws TtsError SPEAKER_BUSY when too many wait, or after `mostWaitMs`
 */
export async function takeTurn(
  folder: string,
  priority: Priority,
  mostWaitMs: number,
  isDue = false,
): Promise<Turn> {
  const startMs = monotonicMs();
  const own = ticketName(priority, isDue);
  const ticket = createHeld(join(folder, TICKETS, own));
  try {
    const before = livingTickets(folder).filter((other) => enteredOf(other) < enteredOf(own)).length;
    if (before >= ANNOUNCE_LIMITS.waiting)
      throw busy(`${before} announcements wait already`, "try again when fewer do");
    for (;;) {
      const speaker = firstTicket(folder) === own ? holdSpeaker(folder) : null;
      const waitedMs = monotonicMs() - startMs;
      if (speaker !== null) {
        const isWanted = () => priority !== "urgent" && isUrgent(firstTicket(folder));
        return { ...speaker, waitedMs, isWanted };
      }
      if (waitedMs >= mostWaitMs) throw busy(`others have spoken for ${(waitedMs / 1_000).toFixed(1)} s`);
      await Bun.sleep(Math.min(ANNOUNCE_LIMITS.pollMs, mostWaitMs - waitedMs));
    }
  } finally {
    ticket.release();
  }
}

/** Takes the turn if it is free. What a killed announcement has left sounding is ended, and frees it soon. */
function holdSpeaker(folder: string): (PlayerTurn & Pick<Turn, "end">) | null {
  const path = join(folder, SPEAKER);
  const held = tryHold(path);
  if (held === null) {
    const [, holder, group] = NOTE.exec(textOrNull(path) ?? "") ?? [];
    if (holder !== undefined && !isLiving(holder)) endGroup(Number(group));
    return null;
  }
  note(held, "");
  return {
    file: held.file,
    notePlayer: (group) => note(held, `${identity(process.pid)} ${group}`),
    end() {
      note(held, "");
      held.release();
    },
  };
}

/** In the file of the turn: who has it, as in lock.ts, and the group of its player. */
const NOTE = /^(\d+ \d+) (\d+)$/;

function note({ file }: HeldFile, text: string): void {
  try {
    ftruncateSync(file);
    writeSync(file, text, 0);
  } catch {
    // a full disk, or the turn has ended
  }
}

const busy = (what: string, hint = "try again, with a longer {maxWait} or a higher {priority}") =>
  new TtsError("SPEAKER_BUSY", `${what}: nothing was said`, hint);

const isUrgent = (ticket: string | null) => ticket?.startsWith("0-") ?? false;

const tickets = (folder: string) =>
  readdirSync(join(folder, TICKETS))
    .filter((name) => TICKET.test(name))
    .sort();

const livingTickets = (folder: string) =>
  tickets(folder).filter((name) => isHeld(join(folder, TICKETS, name)));

/** Who goes first, or null. Removes tickets of the dead on the way. */
function firstTicket(folder: string): string | null {
  for (const name of tickets(folder)) {
    const path = join(folder, TICKETS, name);
    if (isHeld(path)) return name;
    removeLitter(path);
  }
  return null;
}
