// Requests that the server refuses, and what it tells of itself: statuses, fields, Retry-After, /health and
// /metrics.

import { beforeAll, describe, expect, test } from "bun:test";
import { connect as connectSocket } from "node:net";
import {
  ENDLESS,
  engineOf,
  JSON_TYPE,
  post,
  type Served,
  scripted,
  serveEngine,
  stopAfterAll,
} from "./_server.ts";

stopAfterAll();
let served: Served;
beforeAll(async () => {
  served = serveEngine(await engineOf("starter"));
});

interface Failure {
  error: { message: string; type: string; param: string | null; code: string };
}
const failureOf = async (response: Response) => ((await response.json()) as Failure).error;

/** As deep as a body can be: whoever shows all of it takes seconds. */
const DEEP = "[".repeat(400_000) + "]".repeat(400_000);

const WRONG: readonly [
  title: string,
  body: unknown,
  status: number,
  param: string | null,
  message?: string,
][] = [
  ["no text", {}, 400, "input", "input is missing; give a string that is not empty"],
  ["an empty text", { input: "" }, 400, "input"],
  ["a blank text", { input: " \n" }, 400, "input"],
  ["signs alone", { input: "☃" }, 400, "input"],
  ["a number as text", { input: 5 }, 400, "input", "input is 5; give a string that is not empty"],
  [
    "a deep list as text",
    `{"input":${DEEP}}`,
    400,
    "input",
    "input is an array; give a string that is not empty",
  ],
  ["a deep list as a voice", `{"input":"a","voice":{"id":${DEEP}}}`, 400, "voice"],
  ["a text that is too long", { input: "a ".repeat(100_001) }, 400, "input"],
  ["a list", [1], 400, null, "the body is no JSON object"],
  ["no JSON", "{", 400, null, "the body is no JSON in UTF-8"],
  ["null", "null", 400, null],
  [
    "a speed that is too high",
    { input: "a", speed: 1.5 },
    400,
    "speed",
    "speed is 1.5; give a number from 0.7 up to 1.4",
  ],
  ["a speed in words", { input: "a", speed: "1" }, 400, "speed"],
  [
    "aac",
    { input: "a", response_format: "aac" },
    400,
    "response_format",
    'response_format is "aac"; give one of wav, pcm, flac, mp3, opus',
  ],
  ["a seed below 0", { input: "a", seed: -1 }, 400, "seed"],
  ["a seed with a fraction", { input: "a", seed: 0.5 }, 400, "seed"],
  ["a temperature above 100", { input: "a", temperature: 101 }, 400, "temperature"],
  [
    "no code to choose from",
    { input: "a", top_p: 0 },
    400,
    "top_p",
    "top_p is 0; give a number above 0 up to 1",
  ],
  ["a language of no model", { input: "a", language: "klingon" }, 400, "language"],
  ["words in plain sound", { input: "a", words: true }, 400, "words"],
  ["a voice without a name", { input: "a", voice: {} }, 400, "voice"],
  ["a voice that is a path", { input: "a", voice: "../../etc/passwd" }, 404, "voice"],
  [
    "an unknown voice",
    { input: "a", voice: "startr" },
    404,
    "voice",
    'there is no voice "startr"; did you mean starter?',
  ],
  [
    "an unknown model",
    { input: "a", model: "gpt-4" },
    404,
    "model",
    'there is no model "gpt-4"; this server has starter',
  ],
];

test.each(WRONG.map((row) => ({ title: row[0], row })))("$title is refused", async ({ row }) => {
  const [, body, status, param, message] = row;
  const response = await post(served.url, body as string);
  expect(response.status).toBe(status);
  const error = await failureOf(response);
  expect(error).toMatchObject({ type: "invalid_request_error", param });
  expect(error.message).not.toContain("\n");
  if (message !== undefined) expect(error.message).toBe(message);
});

test("hundreds of malformed requests are all refused, and the server speaks on", async () => {
  const values = [
    null,
    true,
    0,
    -1,
    1e308,
    "",
    "x",
    [],
    {},
    { id: 5 },
    "\u0000",
    "\ud800",
    "__proto__",
    [[]],
  ];
  const names = "input model voice response_format speed instructions stream_format language seed".split(" ");
  const bodies = [
    ...names.flatMap((name) => values.map((value) => JSON.stringify({ [name]: value, temperature: "hot" }))),
    ...["", "\xff", '{"input":', "[".repeat(10_000), '{"__proto__":{"input":"a"}}', "0", '"input"', "NaN"],
    ...Array.from(
      { length: 200 },
      (_, i) => `{"input":"a","seed":1}`.slice(0, i % 22) + String.fromCharCode(i),
    ),
  ];
  for (const body of bodies) {
    const response = await post(served.url, body);
    expect([body.slice(0, 40), response.status]).toEqual([body.slice(0, 40), 400]);
    await response.body?.cancel();
  }
  expect(served.warnings).toEqual([]);
  expect((await post(served.url, { input: "Yes." })).status).toBe(200);
});

describe("the body", () => {
  test("must say that it is JSON: pages of other sites may send other types unasked", async () => {
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]) {
      const response = await post(served.url, { input: "a" }, { headers: { "content-type": type } });
      expect(response.status).toBe(415);
    }
    const withCharset = await post(
      served.url,
      {},
      { headers: { "content-type": "Application/JSON; charset=utf-8" } },
    );
    expect(withCharset.status).toBe(400);
  });

  test("is bounded, whether or not it tells its length", async () => {
    const large = new Uint8Array(1_000_001);
    const told = await fetch(`${served.url}/v1/audio/speech`, {
      method: "POST",
      body: large,
      headers: JSON_TYPE,
    });
    expect(told.status).toBe(413);
    expect(await failureOf(told)).toMatchObject({ code: "body_too_large" });
    const pieces = (async function* () {
      for (let i = 0; i < 11; i++) yield new Uint8Array(100_000);
    })();
    const untold = await fetch(`${served.url}/v1/audio/speech`, {
      method: "POST",
      body: pieces as unknown as ReadableStream,
      headers: JSON_TYPE,
    });
    expect(untold.status).toBe(413);
  });

  test("must be whole in time", async () => {
    const { server } = serveEngine(await engineOf("starter"), { limits: { jsonMs: 100 } });
    const answer = await raw(
      server.url,
      "POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
    );
    expect(answer).toStartWith("HTTP/1.1 408 ");
  });
});

test("a connection that is idle is closed, but none whose body or sound comes slowly", async () => {
  const limits = { idleSeconds: 1 }; // Bun looks every 4 s
  const [slow, fast] = [
    await scripted({ pieces: [1_920], everyMs: 4_500 }),
    await scripted({ pieces: [1_920] }),
  ];
  const body = '{"input":"a","response_format":"pcm"}';
  const head = `POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
  const speech = async (url: string, bodyMs: number) => {
    const { hostname: host, port } = new URL(url);
    const socket = connectSocket(Number(port), host);
    const ended = new Promise((resolve) => socket.once("close", resolve));
    let got = 0;
    socket.on("data", (data) => {
      got += data.length;
    });
    socket.write(head);
    await Bun.sleep(bodyMs);
    socket.write(body);
    return { ended, got: () => got };
  };
  const idle = await speech(serveEngine(fast, { limits }).url, 0);
  const all = [
    speech(serveEngine(slow, { limits }).url, 0),
    speech(serveEngine(fast, { limits }).url, 4_500),
  ];
  const speeches = await Promise.all(all);
  for (const { ended, got } of speeches) {
    await Promise.race([ended, Bun.sleep(500)]);
    expect(got()).toBeGreaterThan(3_840);
  }
  await idle.ended;
}, 60_000);

/** Sends bytes as they are, and gives what comes back until the connection ends or a while has passed. */
async function raw(url: string, bytes: string): Promise<string> {
  const { hostname, port } = new URL(url);
  const { promise, resolve } = Promise.withResolvers<void>();
  let got = "";
  const socket = await Bun.connect({
    hostname,
    port: Number(port),
    socket: {
      data(_, data) {
        got += data.toString();
      },
      close: () => resolve(),
      error: () => resolve(),
    },
  });
  socket.write(bytes);
  await Promise.race([promise, Bun.sleep(1_000)]);
  socket.end();
  return got;
}

test("requests that are no HTTP, or name no host, get an answer or none, and the server goes on", async () => {
  const head = "GET /v1/models HTTP/1.1\r\n";
  const odd = [
    "\u0016\u0003\u0001",
    `${head}\r\n`,
    `${head}Host: a b\r\n\r\n`,
    `${head}Host: a/b?c\r\nConnection: close\r\n\r\n`,
  ];
  for (const bytes of [
    ...odd,
    "GET /v1/models HTTP/1.0\r\n\r\n",
    `${head}Host: localhost\r\nX: ${"y".repeat(100_000)}\r\n\r\n`,
  ])
    expect(await raw(served.url, bytes)).toMatch(/^(HTTP\/1.1 (400|431) |$)/);
  expect((await fetch(`${served.url}/health`)).status).toBe(200);
});

test("paths and methods that are not there", async () => {
  const cases = [
    ["GET", "/v1/audio/speech", 405, "POST"],
    ["PUT", "/v1/audio/voices", 405, "GET, HEAD, POST"],
    ["POST", "/v1/models", 405, "GET, HEAD"],
    ["DELETE", "/v1/audio/voices", 405, "GET, HEAD, POST"],
    ["GET", "/v1", 404, null],
    ["GET", "/v1/models/..%2f..", 404, null],
    ["GET", "/v1/audio/voices/%ff", 404, null],
    ["DELETE", "/v1/audio/voices/..%2f..%2fetc%2fpasswd", 404, null],
    ["DELETE", "/v1/audio/voices/starter", 400, null],
    ["GET", "/v1/audio/speech/stream", 426, null],
  ] as const;
  for (const [method, path, status, allow] of cases) {
    const response = await fetch(served.url + path, { method });
    expect([path, response.status, response.headers.get("allow")]).toEqual([path, status, allow]);
    expect((await failureOf(response)).message).not.toMatch(/\n|\/tmp/);
  }
});

test("a server without a place says when to come again", async () => {
  const { url } = serveEngine(await scripted({ pieces: ENDLESS, everyMs: 5 }), { places: 4 });
  const request = { input: "a", response_format: "pcm" };
  const speeches = await Promise.all([1, 2, 3].map(() => post(url, request)));
  const refused = await post(url, request);
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "1"]);
  expect(await failureOf(refused)).toMatchObject({ type: "rate_limit_error", code: "rate_limit_exceeded" });
  const one = serveEngine(await scripted({ pieces: ENDLESS, everyMs: 5 }), { places: 1 });
  speeches.push(await post(one.url, request));
  const busy = await post(one.url, request);
  expect([busy.status, busy.headers.get("retry-after")]).toEqual([503, "1"]);
  expect(await failureOf(busy)).toMatchObject({ type: "server_error", code: "busy" });
  await Promise.all(speeches.map((response) => response.body?.cancel()));
});

test("while the model is opened, health says so and speeches are told when to come again", async () => {
  const { url } = serveEngine(null);
  const health = await fetch(`${url}/health`);
  expect([health.status, await health.json()]).toEqual([503, { status: "opening", sounding: 0, waiting: 0 }]);
  for (const response of [
    await post(url, { input: "a" }),
    await fetch(`${url}/v1/models`),
    await fetch(`${url}/v1/audio/voices`),
  ]) {
    expect([response.status, response.headers.get("retry-after")]).toEqual([503, "2"]);
    expect(await failureOf(response)).toMatchObject({ code: "opening" });
  }
});

test("figures are in Prometheus' form, and count what was asked", async () => {
  const { url } = serveEngine(await engineOf("starter"));
  await (await post(url, { input: "Yes.", response_format: "pcm" })).arrayBuffer();
  await (await post(url, { input: "" })).text();
  const response = await fetch(`${url}/metrics`);
  expect(response.headers.get("content-type")).toStartWith("text/plain; version=0.0.4");
  const text = await response.text();
  const values = new Map<string, number>();
  const types = new Map<string, string>();
  for (const line of text.trimEnd().split("\n")) {
    const [, comment, name, rest] = /^# (HELP|TYPE) (tts_\w+) (.+)$/.exec(line) ?? [];
    if (comment === "TYPE") types.set(name, rest);
    if (comment !== undefined) continue;
    const [, family, labels = "", value] = /^(tts_\w+)(\{(?:\w+="[^"]*",?)+\})? (\S+)$/.exec(line)!;
    expect(types.has(family.replace(/_(bucket|sum|count)$/, "")) || types.has(family)).toBe(true);
    values.set(family + labels, Number(value));
  }
  expect([...values.values()].every(Number.isFinite)).toBe(true);
  expect(values.get('tts_http_requests_total{method="POST",route="/v1/audio/speech",status="200"}')).toBe(1);
  expect(values.get('tts_http_requests_total{method="POST",route="/v1/audio/speech",status="400"}')).toBe(1);
  expect(values.get('tts_speeches_ended_total{how="eos"}')).toBe(1);
  expect(values.get("tts_frames_total")).toBeGreaterThan(3);
  expect(values.get("tts_first_audio_seconds_count")).toBe(1);
  expect(values.get('tts_first_audio_seconds_bucket{le="+Inf"}')).toBe(1);
  expect(values.get("tts_resident_bytes")).toBeGreaterThan(1e7);
  expect([...types.values()].toSorted()).toEqual(expect.arrayContaining(["counter", "gauge", "histogram"]));
});
