// What clients send that is no request, or none that can be answered.

import { speechRequest } from "./client.ts";

export interface Malformed {
  name: string;
  bytes: string | Uint8Array;
  /** Its sender does not wait for an answer, and none could come. */
  goes?: boolean;
}

const json = (body: string, headers = "") =>
  [
    "POST /v1/audio/speech HTTP/1.1",
    "host: localhost",
    "content-type: application/json",
    "connection: close",
    `${headers}content-length: ${Buffer.byteLength(body)}`,
    "",
    body,
  ].join("\r\n");

const ALL: readonly Malformed[] = [
  { name: "no JSON", bytes: json("{") },
  { name: "JSON that is no object", bytes: json("[1, 2]") },
  { name: "deep JSON", bytes: json(`{"input": ${"[".repeat(50_000)}`) },
  {
    name: "no UTF-8",
    bytes: Buffer.concat([Buffer.from(json("xx").slice(0, -2)), Buffer.from([0xc3, 0x28])]),
  },
  { name: "no text", bytes: speechRequest({ voice: "alloy" }) },
  { name: "empty text", bytes: speechRequest({ input: "" }) },
  { name: "a text of the wrong type", bytes: speechRequest({ input: { text: "Yes." } }) },
  { name: "an unknown voice", bytes: speechRequest({ input: "Yes.", voice: "../../etc/passwd" }) },
  { name: "an unknown model", bytes: speechRequest({ input: "Yes.", model: "no\0model" }) },
  { name: "an unknown format", bytes: speechRequest({ input: "Yes.", response_format: "aac" }) },
  { name: "a number out of range", bytes: speechRequest({ input: "Yes.", speed: 1e308 }) },
  { name: "a seed that is none", bytes: speechRequest({ input: "Yes.", seed: -1.5 }) },
  { name: "a text that is too long", bytes: speechRequest({ input: "a".repeat(200_001) }) },
  {
    name: "a body that is too large",
    bytes: json("", "content-length: 99999999\r\n").replace("content-length: 0\r\n", ""),
  },
  { name: "no type", bytes: json("{}").replace("application/json", "") },
  {
    name: "an unknown path",
    bytes: "GET /v1/../../etc/passwd HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
  },
  {
    name: "an unknown method",
    bytes: "PATCH /v1/audio/speech HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
  },
  {
    name: "another host",
    bytes: "GET /v1/models HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n",
  },
  { name: "no HTTP", bytes: "\x16\x03\x01 hello\r\n\r\n" },
  {
    name: "chunks that are none",
    bytes: json("zz\r\n", "transfer-encoding: chunked\r\n").replace(/content-length.*\r\n/, ""),
  },
  {
    name: "long headers",
    bytes: `GET /health HTTP/1.1\r\nhost: localhost\r\nx: ${"y".repeat(100_000)}\r\n\r\n`,
  },
  { name: "a body that is cut short", bytes: json('{"input": "Yes."}').slice(0, -5), goes: true },
  { name: "half a head", bytes: "POST /v1/audio/sp", goes: true },
  { name: "nothing", bytes: "", goes: true },
];

/** The i-th of an endless row. */
export const malformed = (i: number): Malformed => ALL[i % ALL.length];
