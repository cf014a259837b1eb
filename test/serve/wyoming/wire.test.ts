// Events as bytes, without a server.

import { describe, expect, test } from "bun:test";
import { WYOMING_LIMITS } from "../../../src/limits.ts";
import { EventReader, eventBytes } from "../../../src/serve/wyoming/_events.ts";
import { failureOf } from "../../_support.ts";
import { bytesOf } from "./_client.ts";

const read = (reader: EventReader, bytes: Uint8Array | string) => [...reader.push(Buffer.from(bytes))];
const readWhole = (bytes: Uint8Array | string) => read(new EventReader(), bytes);

const EXCHANGE = Buffer.concat([
  bytesOf("describe"),
  bytesOf("synthesize", { text: "Grüße, 東京 🙂" }),
  bytesOf("ping", { text: "ä" }, "skipped\n{}"),
  bytesOf("synthesize-stop"),
]);
const EVENTS = [
  { type: "describe", data: {} },
  { type: "synthesize", data: { text: "Grüße, 東京 🙂" } },
  { type: "ping", data: { text: "ä" } },
  { type: "synthesize-stop", data: {} },
];

test("events are read whatever way the bytes are cut", () => {
  for (let cut = 0; cut <= EXCHANGE.length; cut++) {
    const reader = new EventReader();
    const [before, after] = [EXCHANGE.subarray(0, cut), EXCHANGE.subarray(cut)];
    expect([...read(reader, before), ...read(reader, after)]).toEqual(EVENTS);
  }
  const reader = new EventReader();
  expect([...EXCHANGE].flatMap((byte) => read(reader, Uint8Array.of(byte)))).toEqual(EVENTS);
});

test("data are read inline, in the block, and of both the block wins", () => {
  const block = '{"b":3,"c":4}';
  const both = `{"type":"x","data":{"a":1,"b":2},"data_length":${block.length}}\n${block}`;
  expect(readWhole(both)).toEqual([{ type: "x", data: { a: 1, b: 3, c: 4 } }]);
  const inline = '{"type":"x","version":"1","data":{"a":1},"data_length":null,"payload_length":0}\n';
  expect(readWhole(inline)).toEqual([{ type: "x", data: { a: 1 } }]);
  expect(readWhole('{"type":"x","data":null}\r\n')).toEqual([{ type: "x", data: {} }]);
});

test("what is written has lengths in bytes, and its data in the block", () => {
  const data = { text: "Grüße 🙂" };
  const [header, ...rest] = Buffer.from(eventBytes("pong", data, Uint8Array.of(1, 2)))
    .toString("latin1")
    .split("\n");
  expect(JSON.parse(header)).toEqual({
    type: "pong",
    data_length: Buffer.byteLength(JSON.stringify(data)),
    payload_length: 2,
  });
  expect(Buffer.from(rest.join("\n"), "latin1").toString()).toBe(`${JSON.stringify(data)}\u0001\u0002`);
  expect(Buffer.from(eventBytes("synthesize-stopped")).toString()).toBe('{"type":"synthesize-stopped"}\n');
});

describe("refused with the reason", () => {
  const { dataBytes, headerBytes, payloadBytes } = WYOMING_LIMITS;
  test.each<[string, string | Uint8Array]>([
    ["a header is no JSON in UTF-8", "\n"],
    ["a header is no JSON in UTF-8", "GET / HTTP/1.1\r\nHost: a\r\n"],
    ["a header is no JSON in UTF-8", '{"type":\n"describe"}\n'],
    [
      "a header is no JSON in UTF-8",
      Buffer.concat([Buffer.from('{"type":"'), Buffer.of(0xff), Buffer.from('"}\n')]),
    ],
    ["a header is no JSON in UTF-8", `${"[".repeat(60_000)}\n`],
    ["a header is no object", "[]\n"],
    ["a header is no object", "null\n"],
    ["a header has no type", "{}\n"],
    ["a header has no type", '{"type":1}\n'],
    ["the data of a header are no object", '{"type":"x","data":[1]}\n'],
    ["data_length is no number of bytes", '{"type":"x","data_length":"2"}\n{}'],
    ["data_length is no number of bytes", '{"type":"x","data_length":1.5}\n{}'],
    ["data_length is no number of bytes", '{"type":"x","data_length":-1}\n'],
    ["payload_length is no number of bytes", '{"type":"x","payload_length":true}\n'],
    [`data_length is 1000000000000, more than ${dataBytes}`, '{"type":"x","data_length":1000000000000}\n'],
    [`payload_length is 2000000, more than ${payloadBytes}`, '{"type":"x","payload_length":2000000}\n'],
    ["a data block is no JSON in UTF-8", '{"type":"x","data_length":2}\n{]'],
    ["a data block is no object", '{"type":"x","data_length":2}\n[]'],
    [`a header is longer than ${headerBytes} bytes`, `{"type":"${"x".repeat(headerBytes)}`],
  ])("%s", (why, bytes) => {
    expect(failureOf(() => readWhole(bytes))).toMatchObject({ code: "REQUEST_INVALID", message: why });
  });
});

test("a header of the full length in small pieces is read in no time", () => {
  const header = `{"type":"${"x".repeat(WYOMING_LIMITS.headerBytes - 11)}"}`;
  const reader = new EventReader();
  const beganMs = performance.now();
  for (const byte of Buffer.from(header)) read(reader, Uint8Array.of(byte));
  expect(read(reader, "\n")).toHaveLength(1);
  expect(performance.now() - beganMs).toBeLessThan(5_000);
});
