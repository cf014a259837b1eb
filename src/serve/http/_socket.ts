// The WebSocket: text goes in in pieces, sound and the times of words come out. Speeches follow each other on
// one connection.

import { FORMATS } from "../../audio/encode/formats.ts";
import { openEncoder } from "../../audio/encode/open.ts";
import { HTTP_LIMITS, type HttpLimits, SERVE_LIMITS } from "../../limits.ts";
import { SAMPLE_RATE_HZ } from "../../types.ts";
import { Refusal, type ServedSpeech, type Service } from "../service.ts";
import { TextPieces } from "../text-pieces.ts";
import type { Call, Route, Session, Socket } from "./_call.ts";
import { ApiError, asApiError, type ErrorBody, invalid } from "./_errors.ts";
import { fieldsOf, type ObjectSchema, type Schema } from "./_fields.ts";
import { type Asked, askedStart, START } from "./_request.ts";
import { assertWhole } from "./_speech.ts";
import { type IndexedWord, WORD, WordFeed } from "./_words.ts";

/** What the server says, besides sound in binary messages. */
type Said =
  | {
      type: "started";
      seed: number;
      response_format: string;
      content_type: string;
      rate: number;
      ignored: string[];
    }
  | { type: "words"; words: IndexedWord[] }
  | { type: "done"; stop: string; [figure: string]: unknown }
  | { type: "error"; error: ErrorBody; ended: boolean };

const TEXT: ObjectSchema = {
  type: "object",
  description: "The next piece of the text, joined to the one before as it is.",
  properties: { type: { type: "string", const: "text" }, text: { type: "string" } },
  required: ["type", "text"],
};
const plain = (type: string, description: string): ObjectSchema => ({
  type: "object",
  description,
  properties: { type: { type: "string", const: type } },
  required: ["type"],
});
const NUMBER: Schema = { type: "number" };
const COUNT: Schema = { type: "integer" };
const STRINGS: Schema = { type: "array", items: { type: "string" } };

/** Messages by their types, of clients and of the server. */
export const SOCKET_SCHEMAS: Readonly<Record<string, ObjectSchema>> = {
  Start: START,
  Text: TEXT,
  End: plain("end", "The text is whole."),
  Cancel: plain("cancel", "Ends the speech at once; done follows."),
  Started: {
    type: "object",
    description: "Comes before the first sound.",
    properties: {
      type: { type: "string", const: "started" },
      seed: COUNT,
      response_format: { type: "string" },
      content_type: { type: "string" },
      rate: { ...COUNT, description: "Samples a second." },
      ignored: { ...STRINGS, description: "Fields that the model has no use for." },
    },
    required: ["type", "seed", "response_format", "content_type", "rate", "ignored"],
  },
  Words: {
    type: "object",
    description: "Come before the sound that they begin in.",
    properties: { type: { type: "string", const: "words" }, words: { type: "array", items: WORD } },
    required: ["type", "words"],
  },
  Done: {
    type: "object",
    description: "The speech has ended, and another may start. One that was cancelled has no figures.",
    properties: {
      type: { type: "string", const: "done" },
      stop: { type: "string", enum: ["eos", "length", "cancelled"] },
      audio_seconds: NUMBER,
      wall_seconds: NUMBER,
      rtf: NUMBER,
      first_audio_ms: NUMBER,
      frames: COUNT,
      repairs: COUNT,
      unread: { ...STRINGS, description: "What the voice cannot read of the text." },
    },
    required: ["type", "stop"],
  },
  Failed: {
    type: "object",
    description: "A speech has failed, or a message was not understood.",
    properties: {
      type: { type: "string", const: "error" },
      error: { type: "object" },
      ended: { type: "boolean", description: "Whether another speech may start: none is under way." },
    },
    required: ["type", "error", "ended"],
  },
};

/** A speech of a connection. */
interface Current {
  text: TextPieces;
  ending: AbortController;
  /** Why it ends, where its client did not ask for that. */
  failure: ApiError | null;
  timer: Timer | undefined;
}

/** One connection. */
class SocketSession implements Session {
  private socket: Socket | null = null;
  private current: Current | null = null;
  private goOn: () => void = () => {};

  private readonly service: Service;
  private readonly client: string;
  private readonly limits: HttpLimits;
  private readonly sockets: Set<Session>;
  private readonly warn: (line: string) => void;

  constructor({ client, limits, service, sockets, warn }: Call) {
    this.service = service;
    this.client = client;
    this.limits = limits;
    this.sockets = sockets;
    this.warn = warn;
  }

  get speaks(): boolean {
    return this.current !== null;
  }

  opened(socket: Socket): void {
    this.socket = socket;
    this.sockets.add(this);
  }

  closed(): void {
    this.socket = null;
    this.current?.ending.abort();
    this.goOn();
    this.sockets.delete(this);
  }

  drained(): void {
    this.goOn();
  }

  received(message: string | Uint8Array): void {
    try {
      this.obey(message);
    } catch (thrown) {
      this.fail(thrown);
    }
  }

  private obey(message: string | Uint8Array): void {
    const value = parsed(message);
    const { current } = this;
    const type = (value as { type?: unknown } | null)?.type;
    if (type === "start") this.start(value);
    else if (type === "cancel")
      current?.ending.abort(); // the speech may have ended meanwhile
    else if (type !== "text" && type !== "end")
      throw invalid("type", "the type of a message is unknown", "give start, text, end or cancel");
    else if (current === null)
      throw new ApiError(409, "no_speech", `${type} came without a speech; start one first`, {
        param: "type",
      });
    else this.goOnWith(current, type, value);
  }

  private goOnWith(current: Current, type: "text" | "end", value: unknown): void {
    if (current.text.isWhole)
      throw new ApiError(409, "text_is_whole", `${type} came after the end of the text`, { param: "type" });
    const text = type === "text" ? fieldsOf<{ text: string }>(value, TEXT).text : null;
    if (text === "") return; // nothing has come on
    if (text === null) current.text.end();
    else current.text.push(text);
    this.awaitText(current);
  }

  private start(value: unknown): void {
    if (this.current !== null)
      throw new ApiError(409, "speech_under_way", "a speech is under way; wait for done, or cancel it", {
        param: "type",
      });
    const asked = askedStart(this.service, value);
    const current: Current = {
      text: new TextPieces(),
      ending: new AbortController(),
      failure: null,
      timer: undefined,
    };
    this.current = current;
    this.awaitText(current);
    void this.speak(current, asked);
  }

  /** A client that has forgotten its text must not keep its place. */
  private awaitText(current: Current): void {
    clearTimeout(current.timer);
    if (current.text.isWhole) return;
    current.timer = setTimeout(() => {
      const message = `no text has come for ${this.limits.textMs / 1000} s; send end when it is whole`;
      current.failure = new ApiError(408, "request_timeout", message);
      current.ending.abort();
    }, this.limits.textMs);
  }

  private async speak(current: Current, asked: Asked): Promise<void> {
    const { client, service } = this;
    const { signal } = current.ending;
    const encoder = await openEncoder(asked.format, SAMPLE_RATE_HZ);
    try {
      const speech = await service.speak({ ...asked.speech, text: current.text, client, signal });
      this.say(startedBy(speech, asked));
      const feed = new WordFeed();
      const words = () => {
        const changes = asked.words ? feed.changes(speech.words) : [];
        if (changes.length > 0) this.say({ type: "words", words: changes });
      };
      for await (const samples of speech) {
        words();
        await this.sound(encoder.push(samples), current);
      }
      assertWhole(speech);
      words();
      await this.sound(encoder.end(), current);
      this.finish(current);
      this.say(doneWith(speech));
    } catch (thrown) {
      this.finish(current);
      if (current.failure !== null || !signal.aborted) this.fail(current.failure ?? thrown);
      else this.say({ type: "done", stop: "cancelled" });
    } finally {
      encoder.close();
    }
  }

  private finish(current: Current): void {
    clearTimeout(current.timer);
    current.text.end();
    this.current = null;
  }

  private fail(thrown: unknown): void {
    const ended = this.current === null;
    this.say({ type: "error", ...asApiError(thrown, this.warn).body, ended });
  }

  private say(said: Said): void {
    this.socket?.sendText(JSON.stringify(said));
  }

  /** Waits where the client takes the sound too slowly: no more is made then. */
  private async sound(bytes: Uint8Array, current: Current): Promise<void> {
    if (bytes.length > 0) this.socket?.sendBinary(bytes as Uint8Array<ArrayBuffer>);
    while (this.socket !== null && this.socket.getBufferedAmount() > this.limits.bufferedBytes) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.goOn = resolve;
      const timer = setTimeout(() => this.socket?.terminate(), this.limits.stallMs);
      await promise;
      clearTimeout(timer);
    }
    if (this.socket === null) current.ending.abort();
  }
}

function parsed(message: string | Uint8Array): unknown {
  if (typeof message !== "string")
    throw new ApiError(400, "invalid_json", "a message is binary; send JSON as text");
  try {
    return JSON.parse(message);
  } catch {
    throw new ApiError(400, "invalid_json", "a message is no JSON");
  }
}

const startedBy = (speech: ServedSpeech, { format, ignored }: Asked): Said => ({
  type: "started",
  seed: speech.settings.seed,
  response_format: format,
  content_type: FORMATS[format].mediaType,
  rate: SAMPLE_RATE_HZ,
  ignored: [...ignored],
});

function doneWith(speech: ServedSpeech): Said {
  const { audioSeconds, firstAudioMs, frames, repairs, rtf, stop, wallSeconds } = speech.summary();
  return {
    ...{ type: "done", stop, rtf, frames },
    audio_seconds: audioSeconds,
    wall_seconds: wallSeconds,
    first_audio_ms: firstAudioMs,
    repairs: repairs.length,
    unread: [...speech.unread],
  };
}

/** What Bun.serve calls. */
export const SOCKET_HANDLERS = {
  maxPayloadLength: HTTP_LIMITS.messageBytes,
  open: (socket: Socket) => socket.data.opened(socket),
  message: (socket: Socket, message: string | Uint8Array) => socket.data.received(message),
  drain: (socket: Socket) => socket.data.drained(),
  close: (socket: Socket) => socket.data.closed(),
};

export const SOCKET_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/v1/audio/speech/stream",
    changes: true,
    summary: "Speak a text that is still being written, over a WebSocket",
    description:
      "A client sends Start, any number of Text, and End, or Cancel; all are JSON. It gets Started, then sound in binary messages, Words where it asked for them, and Done, or Failed. Another speech may follow. Browsers give a token as a subprotocol: tts, and tts.token. with the token in base64url.",
    schemas: SOCKET_SCHEMAS,
    answers: { 101: { description: "The connection speaks WebSocket." } },
    errors: [426, 503],
    run: connect,
  },
];

/** @throws ApiError; Refusal while no model is open */
function connect(call: Call): null {
  const { limits, request, service, sockets, upgrade } = call;
  if ((request.headers.get("upgrade") ?? "").toLowerCase() !== "websocket")
    throw new ApiError(426, "upgrade_required", "this path speaks WebSocket only", {
      headers: { upgrade: "websocket", connection: "upgrade" },
    });
  void service.engine;
  if (sockets.size >= limits.sockets)
    throw new Refusal(
      "busy",
      `${sockets.size} WebSockets are open, the most at once`,
      SERVE_LIMITS.retryMostSeconds,
    );
  if (upgrade(new SocketSession(call))) return null;
  throw new ApiError(400, "invalid_handshake", "the WebSocket cannot be opened");
}
