// Announcing on many boards, from any machine: finds who is there, has the sound made once, sends it with the
// moment at which all begin, and waits until every board has taken it.

import type { Priority } from "../announce/queue.ts";
import { appointment } from "../announce/times.ts";
import { ANNOUNCE_LIMITS, FLEET_LIMITS, type FleetLimits } from "../config.ts";
import { asTtsError, TtsError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import type { Progress, Tell } from "../types.ts";
import type { HubClock } from "./clock.ts";
import { hasGone, isIn, listBoards, whoAnswers } from "./directory.ts";
import { asHubError, type Hub } from "./hub.ts";
import { type MakeSound, makeAndShare, makeAt, makersAmong } from "./making.ts";
import {
  type Answer,
  type BoardState,
  type MadeSound,
  type MakeOrder,
  readAnswer,
  type SayMessage,
  type VoiceSettings,
  writeSay,
} from "./messages.ts";
import { ALL_ROOMS, answerSubject, saySubject } from "./names.ts";
import type { SharedPhrases } from "./phrases.ts";

export interface FleetAnnouncement extends VoiceSettings {
  /** Names of rooms, or "all". */
  rooms: readonly string[];
  /** {time}, {date} and {weekday} are filled in. */
  text: string;
  /** A local time of day, HH:MM or HH:MM:SS. Default: as soon as possible. */
  by?: string;
  /** How late it may begin. Default: 5 minutes with `by`, else as long as it may wait for others. */
  maxLateMs?: number;
  priority?: Priority;
  repeat?: number;
  /** "own": the usual chime; the key of a phrase; default: none. */
  chime?: string;
  dedupeMs?: number;
  maxWaitMs?: number;
  speed?: number;
  /** The model that is to speak. Default: the one that most boards have. */
  model?: string;
}

/** What the boards of the rooms said. */
export interface FleetReport {
  id: string;
  /** When it begins, by the hub's clock. */
  moment: number;
  /** Boards that have gone meanwhile are not in it. */
  boards: (Omit<Answer, "state"> & { state: Answer["state"] | "silent" })[];
}

export interface SenderOptions {
  /** What boards know it by. */
  name: string;
  phrases: SharedPhrases;
  /** What makes a sound where no board can; null: nothing. */
  make: MakeSound | null;
  tell: Tell;
  /** Called while a board makes the sound. */
  onProgress?: (progress: Progress) => void;
  limits?: FleetLimits;
}

export class Sender {
  private readonly limits: FleetLimits;

  /** @param clock that has looked at the hub's */
  constructor(
    private readonly hub: Hub,
    private readonly clock: HubClock,
    private readonly options: SenderOptions,
  ) {
    this.limits = options.limits ?? FLEET_LIMITS;
  }

  /**
   * Sends it. Every board that has answered has taken it, or has said why not.
   * @throws TtsError ROOM_EMPTY, USAGE for a time that cannot be, TEXT_EMPTY, TEXT_TOO_LONG, what makes the
   * sound, FLEET_UNREACHABLE, FLEET_REFUSED; the reason of an aborted signal
   */
  async announce(request: FleetAnnouncement, signal?: AbortSignal): Promise<FleetReport> {
    const { clock, limits } = this;
    checkText(request.text);
    checkRooms(request.rooms);
    const { moment: wanted, mostLateMs } = this.timesOf(request);
    const known = await this.known();
    const { present, silent } = await whoAnswers(this.hub, boardsIn(request.rooms, known));
    if (silent.length > 0) this.options.tell.warn(`no answer from ${silent.slice(0, SHOWN).join(", ")}`);
    boardsIn(request.rooms, present, known);
    const made = await this.make(request, wanted, known, signal);
    signal?.throwIfAborted();
    const soonest = clock.nowMs() + this.leadMs(made.bytes, present.length);
    const moment = Math.round(Math.max(wanted ?? 0, soonest));
    if (wanted !== null && moment > wanted && moment - wanted >= mostLateMs)
      throw tooLate(request.by!, moment - wanted);
    const message: SayMessage = {
      id: crypto.randomUUID(),
      sender: this.options.name,
      rooms: request.rooms,
      moment,
      latest: Math.round((wanted ?? moment) + mostLateMs),
      freshUntil: wanted === null ? moment + limits.freshMs : Math.round(wanted + mostLateMs),
      priority: request.priority ?? "normal",
      repeat: request.repeat ?? 1,
      chime: request.chime ?? "",
      dedupeMs: request.dedupeMs ?? 0,
      mostWaitMs: request.maxWaitMs ?? ANNOUNCE_LIMITS.waitMs,
      phrases: made.phrases,
      loudness: made.loudness,
      speed: request.speed ?? 1,
    };
    const expected = present.map(({ name }) => name);
    return { id: message.id, moment, boards: await this.send(message, expected, signal) };
  }

  /** What boards need until they have the message and the sound. */
  private leadMs(bytes: number, boards: number): number {
    const { leadBoards, leadBytes, leadMs, leadPerBoardMs } = this.limits;
    return leadMs + leadPerBoardMs * boards + (bytes / leadBytes) * Math.max(1, boards / leadBoards);
  }

  /** Makes the sound and leaves it at the hub, so that the same announcement sounds at once. @throws as it */
  async prepare(request: FleetAnnouncement, signal?: AbortSignal): Promise<MadeSound> {
    checkText(request.text);
    return this.make(request, this.timesOf(request).moment, await this.known(), signal);
  }

  /** Boards that have told of themselves a short while ago. */
  private async known(): Promise<BoardState[]> {
    try {
      return await listBoards(this.hub, this.clock.nowMs());
    } catch (error) {
      throw asHubError(this.hub.url, error);
    }
  }

  /** @returns `moment` null: as soon as possible */
  private timesOf({ by, maxLateMs, maxWaitMs }: FleetAnnouncement): {
    moment: number | null;
    mostLateMs: number;
  } {
    if (by === undefined)
      return { moment: null, mostLateMs: maxLateMs ?? maxWaitMs ?? ANNOUNCE_LIMITS.waitMs };
    const mostLateMs = maxLateMs ?? ANNOUNCE_LIMITS.lateMs;
    const found = appointment("the time", by, this.clock.now(), mostLateMs);
    if (found.kind === "dropped") throw tooLate(by, found.lateMs);
    return { moment: found.moment.getTime(), mostLateMs };
  }

  /** At the best board, or at the next one where that goes away; here, where no board has a model. */
  private async make(
    request: FleetAnnouncement,
    moment: number | null,
    known: readonly BoardState[],
    signal?: AbortSignal,
  ): Promise<MadeSound> {
    const { hub, limits } = this;
    const { model, text } = request;
    const { make, phrases, tell } = this.options;
    const settings = settingsOf(request);
    const order: MakeOrder = { text, moment: Math.round(moment ?? this.clock.nowMs()), settings };
    let failure: TtsError | null = null;
    const able = makersAmong(known, model);
    const idle = makersAmong((await whoAnswers(hub, able.slice(0, limits.makersAsked))).present, model);
    for (const board of [...idle, ...able.slice(limits.makersAsked)].slice(0, limits.makersAsked)) {
      try {
        tell.debug(`${board.name} makes the sound`);
        return await makeAt(hub, board.name, order, this.signOf(board.name), signal, limits);
      } catch (error) {
        signal?.throwIfAborted();
        failure = asTtsError(error);
        if (failure.exitStatus === 2) throw failure; // the text or the voice is wrong everywhere
        tell.warn(`${board.name}: ${failure.inOneLineWith(failure.markedHint)}`);
      }
    }
    if (make !== null) return makeAndShare(order, make, phrases);
    if (failure !== null) throw failure;
    const models = [...new Set(known.flatMap((board) => board.model ?? []))];
    throw new TtsError(
      "MODEL_UNSUITABLE",
      model === undefined ? "no board has a model that could speak" : `no board has the model ${model}`,
      models.length === 0 ? "start one board without {playOnly}" : `they have ${models.join(", ")}`,
    );
  }

  private signOf(board: string): () => void {
    const startMs = this.clock.monotonicMs();
    return () => {
      const seconds = Math.round((this.clock.monotonicMs() - startMs) / 1_000);
      if (seconds > 0)
        this.options.onProgress?.({
          step: `${board} makes the sound, ${seconds} s so far`,
          done: 0,
          total: 1,
        });
    };
  }

  private async send(
    message: SayMessage,
    expected: readonly string[],
    signal?: AbortSignal,
  ): Promise<FleetReport["boards"]> {
    const { connection, streams, url } = this.hub;
    const answers = new Map<string, Answer>();
    const inbox = connection.subscribe(answerSubject(message.id));
    const timer = setTimeout(() => inbox.unsubscribe(), this.limits.answerMs);
    const stop = () => inbox.unsubscribe();
    signal?.addEventListener("abort", stop);
    try {
      const text = writeSay(message);
      for (const room of message.rooms)
        await streams
          .publish(saySubject(room, message.sender), text, { msgID: `${message.id}.${room}` })
          .catch((error) => {
            throw asNameError(message.sender, error);
          });
      for await (const { data } of inbox) {
        const answer = this.answerIn(data);
        if (answer !== null) answers.set(answer.board, answer);
        if (expected.every((board) => answers.has(board))) break;
      }
      if (connection.isClosed()) throw new Error("closed; it may be said nevertheless");
    } catch (error) {
      throw asHubError(url, error);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
      inbox.unsubscribe();
    }
    signal?.throwIfAborted();
    const missing = expected.filter((board) => !answers.has(board));
    const gone = await Promise.all(missing.map((board) => hasGone(this.hub, board)));
    const silent = missing.filter((_, i) => !gone[i]);
    const reason = `no answer in ${this.limits.answerMs / 1_000} s`;
    return [...answers.values(), ...silent.map((board) => ({ board, state: "silent" as const, reason }))];
  }

  /** null: whoever wrote it is no board. */
  private answerIn(bytes: Uint8Array): Answer | null {
    try {
      return readAnswer(bytes);
    } catch (error) {
      this.options.tell.debug(asTtsError(error).inOneLine);
      return null;
    }
  }
}

/** Whether every board has taken it. @throws TtsError BOARDS_REFUSED, ROOM_EMPTY where all have gone */
export function assertTaken({ boards }: FleetReport): void {
  if (boards.length === 0)
    throw new TtsError("ROOM_EMPTY", "all boards have gone while it was sent", "see who is there: tts fleet");
  const faults = boards.filter(({ state }) => state !== "accepted");
  if (faults.length === 0) return;
  const what = faults.map(({ board, reason }) => `${board}: ${reason}`).join("; ");
  throw new TtsError(
    "BOARDS_REFUSED",
    `${faults.length} of ${boards.length} boards will not say it: ${what}`,
  );
}

/** A user may be let in, and may speak under another name alone. */
function asNameError(sender: string, error: unknown): unknown {
  if (!/permission.*tts\.say\./i.test(String(error))) return error;
  const what = `the hub does not let this user speak as ${sender}`;
  return new TtsError("FLEET_REFUSED", what, "give the {name} that it may speak as", { cause: error });
}

function checkText(text: string): void {
  if (text.trim() === "") throw new TtsError("TEXT_EMPTY", "there is no text to speak");
  const bytes = Buffer.byteLength(text);
  if (bytes <= ANNOUNCE_LIMITS.textBytes) return;
  throw new TtsError(
    "TEXT_TOO_LONG",
    `the text has ${bytes} bytes`,
    `an announcement has at most ${ANNOUNCE_LIMITS.textBytes}`,
  );
}

function checkRooms(rooms: readonly string[]): void {
  if (rooms.length > 0 && rooms.length <= FLEET_LIMITS.rooms) return;
  const hint = `give 1 to ${FLEET_LIMITS.rooms}, or ${ALL_ROOMS}`;
  throw new TtsError("USAGE", `an announcement for ${rooms.length} rooms`, hint);
}

const tooLate = (by: string, lateMs: number) =>
  new TtsError(
    "USAGE",
    `${by} has passed by ${(lateMs / 1_000).toFixed(1)} s: nothing is said`,
    "give a later time, or a longer {maxLate}",
  );

/**
 * Those that speak in these rooms.
 * @param known whose rooms are named to who asks for another one
 * @throws TtsError ROOM_EMPTY for a room without a board
 */
function boardsIn(
  rooms: readonly string[],
  boards: readonly BoardState[],
  known: readonly BoardState[] = boards,
): BoardState[] {
  for (const room of rooms) if (!boards.some((board) => isIn(board, room))) throw emptyRoom(room, known);
  return boards.filter((board) => rooms.some((room) => isIn(board, room)));
}

function emptyRoom(room: string, known: readonly BoardState[]): TtsError {
  const silent = known.filter((board) => isIn(board, room)).map(({ name }) => name);
  if (silent.length > 0) {
    const what = `nothing in ${room === ALL_ROOMS ? "any room" : room} answers: ${silent.slice(0, SHOWN).join(", ")}`;
    return new TtsError("ROOM_EMPTY", what, "start it there: tts join");
  }
  const names = [...new Set(known.flatMap((board) => board.rooms))].toSorted();
  const guess = nearest(room, names);
  const example = room === ALL_ROOMS ? "ROOM" : room;
  const hint =
    names.length === 0 || room === ALL_ROOMS
      ? `start one there: tts join --rooms ${example}`
      : guess === null
        ? `there are ${namesOf(names)}`
        : `did you mean ${guess}?`;
  const where = room === ALL_ROOMS ? "any room" : `the room ${room}`;
  return new TtsError("ROOM_EMPTY", `no board is in ${where}`, hint);
}

/** A building may have a hundred. */
const namesOf = (rooms: readonly string[]) =>
  [...rooms.slice(0, SHOWN), ...(rooms.length > SHOWN ? ["others"] : []), ALL_ROOMS].join(", ");
const SHOWN = 10;

function settingsOf({ instruct, language, normalize, seed, voice }: VoiceSettings): VoiceSettings {
  return { voice, language, instruct, seed, normalize };
}
