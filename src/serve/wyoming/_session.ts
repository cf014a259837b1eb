// One client of the Wyoming server: its requests are spoken in the order in which they come, one at a time,
// while `describe` and `ping` are answered at once. A request that fails ends with `error` and the end of the
// connection, so that nobody takes what was heard of it for the whole, or waits for more.

import type { Socket } from "node:net";
import { toS16le } from "../../audio/pcm.ts";
import { SAMPLE_RATE_HZ } from "../../engine.ts";
import { asTtsError, type ErrorCode, TtsError } from "../../errors.ts";
import { WYOMING_LIMITS } from "../../limits.ts";
import type { Tell } from "../../types.ts";
import { oneLine } from "../one-line.ts";
import { Refusal, type ServedSpeech, type Service, type SpeechRequest } from "../service.ts";
import { canBeSaid, TextPieces } from "../text-pieces.ts";
import { EventReader, eventBytes, type WyomingEvent } from "./_events.ts";
import type { Info } from "./_info.ts";

export interface SessionHost {
  service: Pick<Service, "speak" | "state">;
  info: Info;
  tell: Tell;
}

const FORMAT = { rate: SAMPLE_RATE_HZ, width: 2, channels: 1 };
const NONE = new Uint8Array(0);
/** Errors of requests; all others are the server's own, and their details, such as paths, stay in its log. */
const TOLD: ReadonlySet<ErrorCode> = new Set([
  ...(["REQUEST_INVALID", "USAGE", "TEXT_EMPTY", "TEXT_TOO_LONG", "LANGUAGE_UNKNOWN"] as const),
  ...(["SPEAKER_UNKNOWN", "VOICE_UNKNOWN", "MODEL_UNSUITABLE", "CANCELLED"] as const),
]);

export class Session {
  private readonly reader = new EventReader();
  private readonly left = new AbortController();
  /** The stream whose text is still coming. */
  private stream: TextPieces | null = null;
  private readonly requests: (() => Promise<void>)[] = [];
  private isSpeaking = false;
  /** Of the request that is spoken. */
  private hasStarted = false;
  /** The client sends no more, but may still listen. */
  private hasEnded = false;
  /** Nothing more is said or heard. */
  isOver = false;
  private waitsSinceMs = performance.now();
  /**
   * The last sample so far. A client fails when the connection ends inside an event; at the end of one it
   * takes what it has for the whole, and a server that is killed cannot say otherwise.
   */
  private heldBack: Uint8Array = NONE;

  constructor(
    private readonly socket: Socket,
    /** Who asks: clients share the places fairly. */
    private readonly client: string,
    private readonly host: SessionHost,
  ) {
    socket.on("data", (bytes) => this.take(bytes as Uint8Array));
    socket.on("end", () => this.takeEnd());
    socket.on("drain", () => this.drained());
    socket.on("error", () => {}); // "close" follows
    socket.on("close", () => this.leave());
  }

  /** Since when nothing but the client is waited for, and for what; null while sound is made. */
  waiting(): { sinceMs: number; stalls: boolean; idle: boolean } | null {
    const stalls = this.socket.writableNeedDrain;
    const idle = !this.isSpeaking && this.requests.length === 0;
    const needsText = this.stream !== null;
    return stalls || idle || needsText ? { sinceMs: this.waitsSinceMs, stalls, idle } : null;
  }

  /** Ends it now. @param reason told to a client that waits for something */
  end(reason: string | null): void {
    if (this.isOver) return;
    if (reason !== null) this.write(eventBytes("error", { text: reason, code: "ended" }));
    this.close();
  }

  /** Ends it as soon as what was asked for is spoken. */
  finish(): void {
    this.hasEnded = true;
    if (!this.isSpeaking) this.close();
  }

  private take(bytes: Uint8Array): void {
    if (this.isOver) return;
    this.waitsSinceMs = performance.now();
    try {
      for (const event of this.reader.push(bytes)) {
        this.answer(event);
        if (this.isOver) return;
      }
    } catch (thrown) {
      this.fail(thrown);
    }
    // answers that nobody reads would fill the memory
    if (this.socket.writableLength > WYOMING_LIMITS.unreadBytes) this.socket.pause();
  }

  /** Skips what it does not know. */
  private answer({ data, type }: WyomingEvent): void {
    const { stream } = this;
    if (type === "describe") this.write(eventBytes("info", this.host.info.describe()));
    else if (type === "ping")
      this.write(eventBytes("pong", { text: typeof data.text === "string" ? data.text : null }));
    // inside a stream it repeats the whole text, for servers that know no streams
    else if (type === "synthesize" && stream === null) this.synthesize(textIn(type, data), data.voice);
    else if (type === "synthesize-start") this.startStream(data.voice);
    else if (type === "synthesize-chunk") stream?.push(textIn(type, data));
    else if (type === "synthesize-stop") {
      stream?.end();
      this.stream = null;
    }
  }

  private synthesize(text: string, voice: unknown): void {
    this.enqueue(() => this.speak(text, canBeSaid(text), voice));
  }

  private startStream(voice: unknown): void {
    if (this.stream !== null)
      throw new TtsError("REQUEST_INVALID", "a stream begins before the one before it has ended");
    const pieces = new TextPieces();
    this.stream = pieces;
    this.enqueue(async () => {
      await this.speak(pieces, await pieces.begun(), voice);
      await this.send(eventBytes("synthesize-stopped"));
    });
  }

  private enqueue(request: () => Promise<void>): void {
    const { length } = this.requests;
    if (length >= WYOMING_LIMITS.requests)
      throw new TtsError("REQUEST_INVALID", `${length} requests wait on this connection, the most at once`);
    this.requests.push(request);
    if (!this.isSpeaking) void this.work();
  }

  private async work(): Promise<void> {
    this.isSpeaking = true;
    try {
      for (let next = this.requests.shift(); next !== undefined; next = this.requests.shift()) {
        this.hasStarted = false;
        await next();
        if (this.isOver) return;
      }
    } catch (thrown) {
      if (!this.left.signal.aborted) this.fail(thrown);
    } finally {
      this.isSpeaking = false;
      this.waitsSinceMs = performance.now();
    }
    if (this.hasEnded) this.close();
  }

  /** One group: clients of a plain request stop listening at its end, and that of a stream may have many. */
  private async speak(text: SpeechRequest["text"], isSound: boolean, voice: unknown): Promise<void> {
    const beganMs = performance.now();
    const speech = isSound ? await this.begin(text, voice) : silence();
    const firstMs = performance.now() - beganMs;
    this.startSound();
    let samples = 0;
    const at = () => Math.round((samples / SAMPLE_RATE_HZ) * 1000);
    for await (const chunk of speech) {
      const parts = [chunk.subarray(0, -1), chunk.subarray(-1)].filter(({ length }) => length > 0);
      const events = parts.map((part) => {
        const bytes = eventBytes("audio-chunk", { ...FORMAT, timestamp: at() }, toS16le(part));
        samples += part.length;
        return bytes;
      });
      await this.send(Buffer.concat(events), FORMAT.width);
    }
    if (this.left.signal.aborted) return;
    if ("summary" in speech && speech.summary().stop === "cancelled")
      throw new TtsError("CANCELLED", "the speech was cut off: the server is ending");
    await this.send(eventBytes("audio-stop", { timestamp: at() }));
    this.host.tell.debug(
      `Wyoming: ${this.client}: ${at()} ms of sound, the first after ${Math.round(firstMs)} ms`,
    );
  }

  private startSound(): void {
    if (!this.hasStarted) this.write(eventBytes("audio-start", { ...FORMAT, timestamp: 0 }));
    this.hasStarted = true;
  }

  /** A model that is being opened is waited for: no client has a time limit for the first sound. */
  private async begin(text: SpeechRequest["text"], voice: unknown): Promise<ServedSpeech> {
    const { info, service } = this.host;
    const deadlineMs = performance.now() + WYOMING_LIMITS.openingMs;
    const { signal } = this.left;
    while (service.state === "opening" && performance.now() < deadlineMs && !signal.aborted)
      await Bun.sleep(WYOMING_LIMITS.openingPollMs);
    const { language, voice: name } = info.chosen(voice);
    return await service.speak({ text, client: this.client, voice: name, signal, options: { language } });
  }

  /** @returns whether the client keeps up */
  private write(bytes: Uint8Array): boolean {
    if (this.isOver) return true;
    const all = Buffer.concat([this.heldBack, bytes]);
    this.heldBack = NONE;
    return this.socket.write(all);
  }

  /**
   * Writes when the client reads: the next sound is not asked for before.
   * @param heldBack bytes at the end that wait for what comes next
   */
  private async send(bytes: Uint8Array, heldBack = 0): Promise<void> {
    const end = bytes.length - heldBack;
    const keepsUp = this.write(bytes.subarray(0, end));
    this.heldBack = bytes.subarray(end);
    if (this.isOver || keepsUp) return;
    this.waitsSinceMs = performance.now();
    await new Promise<void>((resolve) => {
      this.onDrain = resolve;
    });
  }

  private onDrain = () => {};

  private drained(): void {
    this.waitsSinceMs = performance.now();
    this.onDrain();
    this.socket.resume();
  }

  private takeEnd(): void {
    this.hasEnded = true;
    if (this.stream !== null)
      this.fail(new TtsError("REQUEST_INVALID", "the connection ended inside a stream"));
    else if (!this.isSpeaking) this.close();
    // one that has gone answers it with the end of the connection, one that still listens needs it
    else this.startSound();
  }

  private fail(thrown: unknown): void {
    if (this.isOver) return;
    const { code, isOwn, text } = described(thrown);
    const { tell } = this.host;
    if (isOwn) tell.warn(`Wyoming: ${this.client}: ${oneLine(asTtsError(thrown).inOneLine)}`);
    // whoever sends nonsense must not fill the log
    else if (code === "request-invalid") tell.debug(`Wyoming: ${this.client}: ${text}`);
    else tell.info(`Wyoming: ${this.client}: ${text}`);
    this.write(eventBytes("error", { text, code }));
    this.close();
  }

  /** What was written is still sent. */
  private close(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.requests.length = 0;
    this.socket.end();
    this.abandon();
    // what a client still sends must be read, or it loses the last answer
    this.socket.resume();
    setTimeout(() => this.socket.destroy(), WYOMING_LIMITS.lingerMs).unref();
  }

  private leave(): void {
    this.isOver = true;
    this.requests.length = 0;
    this.abandon();
  }

  private abandon(): void {
    this.left.abort();
    this.stream?.end();
    this.onDrain();
  }
}

function textIn(type: string, { text }: WyomingEvent["data"]): string {
  if (typeof text === "string") return text;
  throw new TtsError("REQUEST_INVALID", `${type} needs a text`);
}

/** What a client is told. */
function described(thrown: unknown): { text: string; code: string; isOwn: boolean } {
  if (thrown instanceof Refusal) return { text: thrown.message, code: thrown.reason, isOwn: false };
  const error = asTtsError(thrown);
  const code = error.code.toLowerCase().replaceAll("_", "-");
  const isOwn = !TOLD.has(error.code);
  const text = isOwn ? "the speech failed; the server's log says why" : oneLine(error.inOneLine);
  return { text, code, isOwn };
}

async function* silence(): AsyncGenerator<Float32Array> {
  yield new Float32Array((SAMPLE_RATE_HZ * WYOMING_LIMITS.silenceMs) / 1000);
}
