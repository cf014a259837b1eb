// Voices by upload: taken from a recording, listed, spoken with, replaced and removed; and what is refused.

import { beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import OpenAI from "openai";
import { loadVoice } from "../../../src/engine.ts";
import { ROOT, scratchFolder } from "../../_support.ts";
import { engineOf, post, type Served, serveEngine, stopAfterAll } from "./_server.ts";

const RECORDING = join(ROOT, "test/golden/tiny-base/golden/reference.wav");
const recording = () => new File([readFileSync(RECORDING)], "anna.wav");

stopAfterAll();
const voicesDir = mkdtempSync(join(scratchFolder(), "uploads-"));
let served: Served;
let client: OpenAI;
beforeAll(async () => {
  served = serveEngine(await engineOf("tiny-base"), { voicesDir });
  client = new OpenAI({ baseURL: `${served.url}/v1`, apiKey: "any", maxRetries: 0 });
});

type Fields = Record<string, string | File>;
async function upload(
  fields: Fields,
  url = served.url,
): Promise<[status: number, body: Record<string, unknown>]> {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  const response = await fetch(`${url}/v1/audio/voices`, { method: "POST", body });
  return [response.status, (await response.json()) as Record<string, unknown>];
}
const names = async () => {
  const list = (await (await fetch(`${served.url}/v1/audio/voices`)).json()) as { data: { id: string }[] };
  return list.data.map(({ id }) => id);
};

test("a voice is taken, spoken with and removed by OpenAI's client", async () => {
  expect((await post(served.url, { input: "Hello.", voice: "alloy" })).status).toBe(404);
  const voice = await client.audio.voices.create({
    name: "anna",
    audio_sample: recording(),
    consent: "cons_1",
  });
  expect(voice).toMatchObject({ id: "anna", name: "anna", object: "audio.voice", type: "audio_sample" });
  expect(Math.abs(voice.created_at - Date.now() / 1000)).toBeLessThan(100);
  expect(await names()).toEqual(["anna"]);
  const { codes, provenance, text } = loadVoice(join(voicesDir, "anna.voice.json"));
  expect([codes, text, provenance.model]).toEqual([null, "", (await engineOf("tiny-base")).manifest.name]);
  for (const name of ["anna", { id: "anna" }, "alloy"]) {
    const spoken = await post(served.url, {
      input: "Hello.",
      voice: name,
      response_format: "pcm",
      words: false,
    });
    expect([name, spoken.status]).toEqual([name, 200]);
    await spoken.body?.cancel();
  }
  expect(await client.audio.voices.delete("anna")).toMatchObject({ id: "anna", deleted: true });
  expect(await names()).toEqual([]);
  expect(await client.audio.voices.delete("anna").catch(({ status }) => status)).toBe(404);
});

test("with the words of the recording it keeps codes, and warns where words are missing", async () => {
  const words = "A few words, enough of them to fill all of the three seconds.";
  const [status, voice] = await upload({ name: "berta", file: recording(), ref_text: ` ${words} ` });
  expect([status, voice.warning]).toEqual([201, undefined]);
  const kept = loadVoice(join(voicesDir, "berta.voice.json"));
  expect([kept.text, kept.codes === null]).toEqual([words, false]);
  const [taken, { error }] = await upload({ name: "berta", file: recording() });
  expect([taken, error]).toMatchObject([409, { code: "voice_exists", param: "name" }]);
  const [again, other] = await upload({ name: "berta", file: recording(), text: "Few.", replace: "true" });
  expect([again, other.warning]).toEqual([201, expect.stringContaining("may never end")]);
});

describe("refused", () => {
  const cases: readonly [
    title: string,
    fields: () => Fields,
    status: number,
    param: string | null,
    message: RegExp,
  ][] = [
    ["no name", () => ({ file: recording() }), 400, "name", /name is missing; give up to 64 small letters/],
    ["a path as name", () => ({ name: "../../x", file: recording() }), 400, "name", /^name is "..\/..\/x"/],
    ["no file", () => ({ name: "x" }), 400, "audio_sample", /the recording is missing/],
    [
      "text in place of a file",
      () => ({ name: "x", file: "RIFF" }),
      400,
      "audio_sample",
      /send it as a file/,
    ],
    [
      "no sound",
      () => ({ name: "x", file: new File(["hello"], "/etc/a b.txt") }),
      400,
      "file",
      /^a_b.txt cannot be decoded/,
    ],
    [
      "an empty file",
      () => ({ name: "x", audio_sample: new File([], "e.wav") }),
      400,
      "audio_sample",
      /e.wav cannot be decoded: it is empty/,
    ],
    [
      "words without end",
      () => ({ name: "x", file: recording(), text: "word ".repeat(1_001) }),
      400,
      "text",
      /^text is "word word .*…; give a string of at most 5000 characters/,
    ],
    ["too little", () => ({ name: "x", file: cut(0.2) }), 400, "file", /is 0.20 s long; give at least 0.5 s/],
    ["a prompt", () => ({ name: "x", type: "prompt", file: recording() }), 400, "type", /^type is "prompt"/],
  ];
  test.each(cases.map((row) => ({ title: row[0], row })))("$title", async ({ row }) => {
    const [, fields, status, param, message] = row;
    const before = readdirSync(voicesDir);
    const [got, { error }] = await upload(fields());
    expect([got, error]).toMatchObject([status, { param, message: expect.stringMatching(message) }]);
    expect(readdirSync(voicesDir)).toEqual(before);
  });

  /** The first seconds of the recording: 16-bit mono. */
  function cut(seconds: number): File {
    const wav = readFileSync(RECORDING);
    return new File([wav.subarray(0, 44 + 2 * Math.round(seconds * wav.readUInt32LE(24)))], "cut.wav");
  }

  test("what is no form, or too large", async () => {
    const send = (body: string | Uint8Array<ArrayBuffer>, type: string, url = served.url) =>
      fetch(`${url}/v1/audio/voices`, { method: "POST", body, headers: { "content-type": type } });
    expect((await send("{}", "application/json")).status).toBe(415);
    expect((await send("abc", "multipart/form-data")).status).toBe(400);
    expect((await send("abc", "multipart/form-data; boundary=x")).status).toBe(400);
    const { url } = serveEngine(await engineOf("tiny-base"), { limits: { uploadBytes: 1_000 } });
    expect((await send(new Uint8Array(1_001), "multipart/form-data; boundary=x", url)).status).toBe(413);
  });

  test("what a model cannot do", async () => {
    const { url } = serveEngine(await engineOf("starter"));
    const [status, { error }] = await upload({ name: "x", file: recording() }, url);
    const message = "starter cannot take voices; serve a Base model";
    expect([status, error]).toMatchObject([400, { code: "model_unsuitable", message }]);
  });
});

test("one voice is taken at a time, and speeches go on meanwhile", async () => {
  const request = { input: "Hello.", voice: "berta", response_format: "pcm" };
  const spoken = post(served.url, request).then(async (response) => {
    await response.body?.cancel();
    return response.status;
  });
  const all = await Promise.all(["c", "d"].map((name) => upload({ name, file: recording() })));
  expect(all.map(([status]) => status).toSorted()).toEqual([201, 503]);
  expect(await spoken).toBe(200);
  expect(existsSync(join(voicesDir, "c.voice.json"))).not.toBe(existsSync(join(voicesDir, "d.voice.json")));
});
