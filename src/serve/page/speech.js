// Asks the server for a speech and hands on its sound and words as they come.

/** Samples a second of what the server sends. */
export const RATE = 24_000;

/** A failure the server told of; `status` 401 asks for the token. */
export class Refused extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** @param {string} path @param {string} token @param {RequestInit} init */
export async function ask(path, token, init = {}) {
  const headers = { ...init.headers, ...(token === "" ? {} : { authorization: `Bearer ${token}` }) };
  const response = await fetch(path, { ...init, headers });
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  throw new Refused(response.status, told?.error?.message ?? `the server answered ${response.status}`);
}

/**
 * @param {object} request body of /v1/audio/speech
 * @param {{ token: string, signal: AbortSignal, onSound: (samples: Float32Array) => void,
 *   onWords: (words: object[]) => void, onSeed: (seed: string) => void }} handlers
 * @returns {Promise<{ unread: string[], ignored: string[] }>} what was left out, and markup that was not obeyed
 */
export async function speak(request, { onSeed, onSound, onWords, signal, token }) {
  const body = { ...request, response_format: "pcm", stream_format: "sse", words: true };
  const response = await ask("/v1/audio/speech", token, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  onSeed(response.headers.get("x-tts-seed") ?? "–");
  for await (const event of eventsOf(response.body)) {
    if (event.type === "speech.audio.delta") onSound(samplesOf(event.audio));
    else if (event.type === "speech.audio.words") onWords(event.words);
    else if (event.type === "speech.audio.done") return event;
    else if (event.type === "error") throw new Refused(response.status, event.error.message);
  }
  throw new Refused(response.status, "the server broke off; try again");
}

/** @param {ReadableStream<Uint8Array>} stream */
async function* eventsOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data: "));
      if (data.length > 0) yield JSON.parse(data.map((line) => line.slice(6)).join("\n"));
    }
  }
}

/** @param {string} base64 16-bit samples, little endian */
function samplesOf(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => view.getInt16(2 * i, true) / 32_768);
}

/** @param {Float32Array[]} pieces @returns {Blob} */
export function wavOf(pieces) {
  const samples = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * samples));
  const name = (at, text) => {
    for (const [i, character] of [...text].entries()) view.setUint8(at + i, character.charCodeAt(0));
  };
  name(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples, true);
  name(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, RATE, true);
  view.setUint32(28, 2 * RATE, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  name(36, "data");
  view.setUint32(40, 2 * samples, true);
  let at = 44;
  for (const piece of pieces)
    for (const sample of piece) {
      view.setInt16(at, Math.round(sample * 32_768), true);
      at += 2;
    }
  return new Blob([view], { type: "audio/wav" });
}
