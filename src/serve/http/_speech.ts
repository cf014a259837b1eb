// POST /v1/audio/speech: a text goes in, sound comes out as it is made, as it is or as events.

import type { Encoder } from "../../audio/encode/encoder.ts";
import { FORMATS } from "../../audio/encode/formats.ts";
import { openEncoder } from "../../audio/encode/open.ts";
import { TtsError } from "../../errors.ts";
import { SAMPLE_RATE_HZ } from "../../types.ts";
import type { ServedSpeech } from "../service.ts";
import { readJson } from "./_body.ts";
import type { Call, Route } from "./_call.ts";
import { asApiError } from "./_errors.ts";
import { type Asked, askedSpeech, SPEECH } from "./_request.ts";
import { WordFeed } from "./_words.ts";

export const SPEECH_ROUTES: readonly Route[] = [
  {
    method: "POST",
    path: "/v1/audio/speech",
    summary: "Speak a text",
    body: { "application/json": SPEECH },
    answers: {
      200: {
        description:
          "Begins with the first sound, and goes on as it is made. Where it fails in between, the connection breaks off; of events the last is an error then.",
        content: {
          ...Object.fromEntries(
            Object.values(FORMATS).map(({ mediaType }) => [mediaType, { type: "string" } as const]),
          ),
          "text/event-stream": { type: "string" },
        },
      },
    },
    errors: [404, 408, 413, 415, 429, 503],
    run: speak,
  },
];

/** @throws ApiError; Refusal and TtsError as the service does, all before the first sound */
async function speak(call: Call): Promise<Response> {
  const { client, request, service, warn } = call;
  const asked = askedSpeech(service, await readJson(call));
  const { signal } = request;
  const speaking = service.speak({ ...asked.speech, text: asked.text, client, signal });
  const opening = openEncoder(asked.format, SAMPLE_RATE_HZ); // while the model is at work
  const speech = await speaking.catch(async (thrown) => {
    (await opening).close();
    throw thrown;
  });
  const encoder = await opening;
  const parts = asked.isSse ? events(speech, encoder, asked, warn) : sound(speech, encoder);
  return new Response(asStream(speech, parts, call), {
    headers: {
      "content-type": asked.isSse ? "text/event-stream" : FORMATS[asked.format].mediaType,
      "x-tts-seed": String(speech.settings.seed),
      ...(asked.ignored.length === 0 ? {} : { "x-tts-ignored": asked.ignored.join(", ") }),
      "x-accel-buffering": "no", // of a proxy in between
    },
  });
}

async function* sound(speech: ServedSpeech, encoder: Encoder): AsyncGenerator<Uint8Array> {
  try {
    for await (const samples of speech) yield encoder.push(samples);
    assertWhole(speech);
    yield encoder.end();
  } finally {
    encoder.close();
  }
}

/**
 * What has gone wrong is the last event. Events that OpenAI does not have come only to those who ask for
 * words.
 */
async function* events(
  speech: ServedSpeech,
  encoder: Encoder,
  { words: areWanted }: Asked,
  warn: (line: string) => void,
): AsyncGenerator<Uint8Array> {
  const feed = new WordFeed();
  const words = function* () {
    const changes = areWanted ? feed.changes(speech.words) : [];
    if (changes.length > 0) yield event({ type: "speech.audio.words", words: changes });
  };
  const audio = function* (bytes: Uint8Array) {
    if (bytes.length > 0)
      yield event({ type: "speech.audio.delta", audio: Buffer.from(bytes).toString("base64") });
  };
  try {
    const { language, seed, speaker, voice } = speech.settings;
    if (areWanted) yield event({ type: "speech.audio.settings", seed, voice: voice || speaker, language });
    for await (const samples of speech) {
      yield* words();
      yield* audio(encoder.push(samples));
    }
    assertWhole(speech);
    yield* words();
    yield* audio(encoder.end());
    const { ignored, unread } = speech;
    yield event({
      type: "speech.audio.done",
      usage: usageOf(speech),
      ...(areWanted ? { unread, ignored } : {}),
    });
  } catch (thrown) {
    yield event({ type: "error", ...asApiError(thrown, warn).body });
  } finally {
    encoder.close();
  }
}

/** A part of a speech must not pass for the whole of it. @throws TtsError CANCELLED */
export function assertWhole(speech: ServedSpeech): void {
  if (speech.summary().stop === "cancelled") throw new TtsError("CANCELLED", "the speech was cancelled");
}

const event = (data: object) => new TextEncoder().encode(`data: ${JSON.stringify(data)}\n\n`);

/** Positions of the prompts, and frames of 80 ms. */
function usageOf(speech: ServedSpeech) {
  const { frames, prompt } = speech.summary();
  return { input_tokens: prompt.rows, output_tokens: frames, total_tokens: prompt.rows + frames };
}

/**
 * Pulls the parts only as fast as the client takes them. A failure breaks the connection off, so that no
 * client takes a part for the whole; a client that goes, or takes nothing for too long, ends the speech.
 */
function asStream(
  speech: ServedSpeech,
  parts: AsyncGenerator<Uint8Array>,
  { closesIdle, limits, request: { signal }, warn }: Call,
): ReadableStream<Uint8Array> {
  let stall: Timer | undefined;
  let isLeft = false;
  const leave = () => {
    isLeft = true;
    clearTimeout(stall);
    speech.cancel();
    void drain(parts).catch(() => {});
  };
  if (signal.aborted) leave();
  else signal.addEventListener("abort", leave, { once: true });
  const source = {
    async pull(controller: ReadableStreamDefaultController<Uint8Array>) {
      clearTimeout(stall);
      const next = await nextFull(parts).catch((thrown) => void asApiError(thrown, warn));
      if (isLeft) return;
      if (next === undefined) return controller.error(); // without a reason, which would be printed
      if (next.done === true) {
        signal.removeEventListener("abort", leave);
        closesIdle(true);
        return controller.close();
      }
      controller.enqueue(next.value);
      stall = setTimeout(() => {
        leave();
        controller.error();
      }, limits.stallMs);
    },
    cancel: leave,
  };
  return new ReadableStream(source, { highWaterMark: 0 });
}

async function nextFull(parts: AsyncGenerator<Uint8Array>): Promise<IteratorResult<Uint8Array, void>> {
  for (;;) {
    const next = await parts.next();
    if (next.done || next.value.length > 0) return next;
  }
}

async function drain(parts: AsyncGenerator<unknown>): Promise<void> {
  for await (const _ of parts);
}
