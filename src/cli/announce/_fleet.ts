// tts announce --to: says it on the boards of other rooms.

import { phraseFile, phraseKey } from "../../announce/phrases.ts";
import { toS16le } from "../../audio/pcm.ts";
import { loadConfig } from "../../config.ts";
import { TtsError } from "../../errors.ts";
import type { FleetAnnouncement, FleetReport } from "../../fleet/announcing.ts";
import type { HubClock } from "../../fleet/clock.ts";
import type { LocalSound } from "../../fleet/making.ts";
import type { MakeOrder } from "../../fleet/messages.ts";
import { roomsOf } from "../../fleet/names.ts";
import type { SharedPhrases } from "../../fleet/phrases.ts";
import { newHash } from "../../io/hash.ts";
import { enterFleet, nameOf } from "../shared/fleet-options.ts";
import { KeptModel } from "../shared/kept-model.ts";
import { clearProgress, log, showConversion, TELL } from "../shared/log.ts";
import { openOthersPhrases, openPhrases, readPhraseBase, readPhraseOptions } from "../shared/phrases.ts";
import { readSpeakOptions } from "../shared/speak-options.ts";
import { type Arguments, OWN_CHIME, type Request } from "./_options.ts";

/** What each board decides for itself. */
const OF_BOARDS = [
  ...["player", "device", "start", "volume", "lead", "rate", "loudness", "quiet-hours", "night-volume"],
  ...["text-mode", "raw-text", "sentence-pause", "paragraph-pause", "max-frames", "greedy", "lexicon"],
] as const;

/**
 * Sends an announcement to its rooms.
 * @returns what to tell about it
 * @throws TtsError USAGE, ROOM_EMPTY, FLEET_*, BOARDS_REFUSED, and what makes the sound
 */
export async function announceInRooms(args: Arguments, request: Request): Promise<string> {
  const values = args as Record<string, unknown>;
  const given = OF_BOARDS.find((name) => values[name] !== undefined);
  if (given !== undefined)
    throw new TtsError(
      "USAGE",
      `--to and --${given} do not go together`,
      "boards have their own: tts join --help",
    );
  const rooms = roomsOf("--to", args.to!);
  const name = nameOf(args);
  const { clock, hub } = await enterFleet(args.fleet, name, { tell: TELL });
  try {
    const { Sender, assertTaken } = await import("../../fleet/announcing.ts");
    const { SharedPhrases } = await import("../../fleet/phrases.ts");
    const phrases = new SharedPhrases(hub, openPhrases(), openOthersPhrases());
    const make = (order: MakeOrder) => makeHere(args, clock, order);
    const sender = new Sender(hub, clock, { name, phrases, make, tell: TELL, onProgress: showConversion });
    const announcement = {
      ...announcementOf(args, request, rooms),
      chime: await chimeOf(args, request, phrases),
    };
    if (request.prepare) {
      const { seconds } = await sender.prepare(announcement);
      return `prepared: ${seconds.toFixed(1)} s of sound at the hub`;
    }
    const report = await sender.announce(announcement);
    assertTaken(report);
    return inWords(report, clock.nowMs());
  } finally {
    clearProgress();
    await hub.close();
  }
}

function announcementOf(args: Arguments, request: Request, rooms: readonly string[]): FleetAnnouncement {
  const { instruct, language, normalize, seed, speaker } = readSpeakOptions(args);
  const { dedupeMs, mostLateMs, mostWaitMs, priority, repeat, shape, template } = request;
  return {
    ...{ rooms, priority, repeat, dedupeMs, instruct, language, normalize, seed },
    text: template,
    by: args.by,
    maxLateMs: args.by === undefined ? undefined : mostLateMs,
    maxWaitMs: mostWaitMs,
    speed: shape.speed,
    voice: args.voice ?? speaker,
    model: args.model,
  };
}

/** Where no board can: with the model that the options name on this machine. */
async function makeHere(args: Arguments, clock: HubClock, order: MakeOrder): Promise<LocalSound> {
  log.debug("this machine makes the sound");
  const options = await readPhraseOptions(args);
  const base = await readPhraseBase(args, options);
  const model = new KeptModel(base, options, loadConfig().voicesDir, clock);
  try {
    return await model.make({ ...order, settings: {} }); // the options say it all
  } finally {
    await model.close();
  }
}

/** A chime of the user's goes to the hub as a phrase. */
async function chimeOf(args: Arguments, { before }: Request, phrases: SharedPhrases): Promise<string> {
  if (args.chime === undefined) return "";
  if (args.chime === OWN_CHIME) return "own";
  const key = phraseKey({ chime: newHash().update(toS16le(before)).digest("hex") });
  phrases.own.putFile(key, phraseFile(key, { samples: before, words: [] }, false));
  return (await phrases.share(key)).phrase;
}

function inWords({ boards, moment }: FleetReport, nowMs: number): string {
  const silent = boards.filter(({ reason }) => reason !== "");
  for (const { board, reason } of silent) log.warn(`${board} will not say it: ${reason}`);
  const names = boards.filter(({ reason }) => reason === "").map(({ board }) => board);
  if (names.length === 0) return `no board says it, of ${boards.length}`;
  const when = moment - nowMs < 2_000 ? "now" : `at ${new Date(moment).toLocaleTimeString("en-GB")}`;
  const count = names.length === 1 ? "1 board says" : `${names.length} boards say`;
  return `${count} it ${when}: ${names.toSorted().join(", ")}`;
}
