// Recordings in wav files of every layout that programs write: chunks around the sound, sizes that are not
// known or not true, and headers that are wrong.

import { describe, expect, test } from "bun:test";
import { mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readRecording } from "../../src/audio/read.ts";
import { scratchFolder } from "../_support.ts";
import { assembleWav, type Chunk, chunk, formatChunk, SAMPLES, s16 } from "./_wav.ts";

const folder = mkdtempSync(join(scratchFolder(), "riff-"));

function read(bytes: Uint8Array, name = "a.wav") {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return readRecording(path);
}

const FORMAT = formatChunk({});
const DATA = chunk("data", s16);
const PLAIN = assembleWav([FORMAT, DATA]);
const plain = await read(PLAIN);

/** A chunk whose size field says something else than its length. */
const lying = (id: string, size: number, bytes: Uint8Array): Chunk => {
  const made = Buffer.from(chunk(id, bytes));
  made.writeUInt32LE(size, 4);
  return made;
};
const ds64 = (dataBytes: bigint): Chunk => {
  const sizes = Buffer.alloc(28);
  sizes.writeBigUInt64LE(dataBytes, 8);
  return chunk("ds64", sizes);
};
const odd = Buffer.from("odd"); // 3 bytes
const isPlain = async (bytes: Uint8Array) => {
  const { promisedSeconds, samples } = await read(bytes);
  expect(samples).toEqual(plain.samples);
  expect(promisedSeconds).toBeNull();
};

test("the plain file gives its samples", () => {
  const expected = Float32Array.from(SAMPLES, (value) => value / (value < 0 ? 32_768 : 32_767));
  expect([plain.samples, plain.seconds, plain.promisedSeconds]).toEqual([expected, 0.2, null]);
  expect(plain.sha256).toBe(new Bun.CryptoHasher("sha256").update(PLAIN).digest("hex"));
});

describe("chunks", () => {
  const ids = ["LIST", "id3 ", "bext", "JUNK", "fact", "iXML", "zzzz"];
  for (const id of ids)
    for (const [size, content] of [
      ["even", Buffer.from("even")],
      ["odd", odd],
      ["no", Buffer.alloc(0)],
    ] as const) {
      const other = chunk(id, content);
      test(`${id} of ${size} length, before the format, before the sound and behind it`, async () => {
        await isPlain(assembleWav([other, FORMAT, DATA]));
        await isPlain(assembleWav([FORMAT, other, DATA]));
        await isPlain(assembleWav([other, FORMAT, other, DATA, other]));
        await isPlain(assembleWav([FORMAT, DATA, other]));
      });
    }

  test("of odd length without the pad byte, or with one that is not zero", async () => {
    const unpadded = chunk("LIST", odd).subarray(0, -1);
    const strange = Buffer.from(chunk("LIST", odd)).fill("x", 8 + odd.length);
    for (const other of [unpadded, strange]) {
      await isPlain(assembleWav([other, FORMAT, DATA]));
      await isPlain(assembleWav([FORMAT, other, DATA]));
      await isPlain(assembleWav([other, FORMAT, other, chunk("fact", odd), DATA]));
    }
    await isPlain(assembleWav([FORMAT, DATA, unpadded]));
  });

  test("the sound may stand before the format", () => isPlain(assembleWav([DATA, FORMAT])));

  test("sound of odd length, with and without its pad byte", async () => {
    const format = formatChunk({ bits: 8, block: 1 });
    const data = chunk("data", Buffer.alloc(4801, 200));
    for (const sound of [data, data.subarray(0, -1)])
      expect((await read(assembleWav([format, sound]))).samples.length).toBe(4801);
    expect((await read(assembleWav([format, data, chunk("LIST", odd)]))).samples.length).toBe(4801);
  });

  test("RF64 and BW64 take the size from ds64", async () => {
    const data = lying("data", 0xffffffff, s16);
    for (const form of ["RF64", "BW64"]) {
      await isPlain(assembleWav([ds64(BigInt(s16.length)), FORMAT, data, chunk("LIST", odd)], form));
      await isPlain(assembleWav([ds64(BigInt(s16.length)), chunk("bext", odd), FORMAT, data], form));
      await isPlain(assembleWav([ds64(1n), FORMAT, DATA], form)); // a size in 32 bits stands
      await isPlain(assembleWav([FORMAT, data], form));
      await isPlain(assembleWav([ds64(0n), FORMAT, data], form));
      await isPlain(assembleWav([ds64(2n ** 64n - 1n), FORMAT, data], form));
    }
    const cut = await read(assembleWav([ds64(5_000_000_000n), FORMAT, data], "RF64"));
    expect(cut.promisedSeconds).toBeCloseTo(5e9 / 48_000);
  });
});

describe("sizes", () => {
  test.each([0, 0xffffffff, 0xffffffff - 36, 0x7fffffff, 0x7ffff000, 0x80000000])(
    "%p is how a stream is written: all that follows is the sound, without a warning",
    (size) => isPlain(assembleWav([FORMAT, lying("data", size, s16)])),
  );

  test("0 in front of other chunks alone is no sound", () => {
    const empty = chunk("data", Buffer.alloc(0));
    for (const behind of [[], [chunk("LIST", odd)], [chunk("LIST", odd).subarray(0, -1)]])
      expect(read(assembleWav([FORMAT, empty, ...behind]))).rejects.toThrow("holds no sound");
  });

  test("a file that is cut short gives what is there, and both lengths", async () => {
    const whole = assembleWav([FORMAT, DATA]);
    const { promisedSeconds, samples, seconds } = await read(whole.subarray(0, whole.length - 4_801));
    expect([promisedSeconds, seconds]).toEqual([0.2, 2_399 / 24_000]);
    expect(samples).toEqual(plain.samples.subarray(0, 2_399));
  });

  test("a header that counts a few bytes too many is no cut file", () =>
    isPlain(assembleWav([FORMAT, lying("data", s16.length + 36, s16)])));
});

describe("forms", () => {
  const sine = Float64Array.from(SAMPLES, (value) => value / 32_768);
  const encodings: [
    title: string,
    tag: number,
    bits: number,
    put: (b: Buffer, x: number, at: number) => void,
  ][] = [
    ["8-bit integers", 1, 8, (b, x, at) => b.writeUInt8(Math.round(128 + 127 * x), at)],
    ["16-bit integers", 1, 16, (b, x, at) => b.writeInt16LE(Math.round(32_767 * x), at)],
    ["24-bit integers", 1, 24, (b, x, at) => b.writeIntLE(Math.round(8_388_607 * x), at, 3)],
    ["32-bit integers", 1, 32, (b, x, at) => b.writeInt32LE(Math.round(2_147_483_647 * x), at)],
    ["32-bit floats", 3, 32, (b, x, at) => b.writeFloatLE(x, at)],
    ["64-bit floats", 3, 64, (b, x, at) => b.writeDoubleLE(x, at)],
  ];
  for (const [title, tag, bits, put] of encodings)
    for (const extensible of [false, true])
      for (const channels of [1, 2])
        test(`${title}, ${channels} channels${extensible ? ", extensible" : ""}`, async () => {
          const bytes = bits / 8;
          const data = Buffer.alloc(bytes * channels * sine.length);
          sine.forEach((x, i) => {
            for (let c = 0; c < channels; c++) put(data, x, (i * channels + c) * bytes);
          });
          const format = formatChunk({ tag, bits, channels, block: channels * bytes, extensible });
          const { samples } = await read(assembleWav([format, chunk("fact", odd), chunk("data", data)]));
          expect(samples.length).toBe(sine.length);
          const worst = Math.max(...samples.map((sample, i) => Math.abs(sample - sine[i])));
          expect(worst).toBeLessThan(bits === 8 ? 0.01 : 1e-4);
        });

  test.each([6, 7])("companded sound, tag %p, in a format chunk of 18 bytes", async (tag) => {
    const format = formatChunk({ tag, bits: 8, block: 1, more: Buffer.alloc(2) });
    const { samples } = await read(assembleWav([format, chunk("data", Buffer.alloc(4_800, 0x2a))]));
    expect(samples.length).toBe(4_800);
    expect(Math.abs(samples[0])).toBeGreaterThan(0.1);
  });

  const wrong: [title: string, file: Uint8Array, message: RegExp][] = [
    ["a rate of 0", assembleWav([formatChunk({ rate: 0 }), DATA]), /its sample rate is 0 Hz/],
    ["a rate of 1", assembleWav([formatChunk({ rate: 1 }), DATA]), /its sample rate is 1 Hz/],
    ["a rate of 4 GHz", assembleWav([formatChunk({ rate: 4e9 }), DATA]), /its sample rate is 4000000000 Hz/],
    ["0 channels", assembleWav([formatChunk({ channels: 0 }), DATA]), /its header says 0 channels/],
    ["a block of 0", assembleWav([formatChunk({ block: 0 }), DATA]), /says 0 bytes for 1 channel of 16 bits/],
    ["a block of 3", assembleWav([formatChunk({ block: 3 }), DATA]), /says 3 bytes for 1 channel of 16 bits/],
    ["0 bits", assembleWav([formatChunk({ bits: 0, block: 0 }), DATA]), /is 0-bit samples/],
    ["12 bits", assembleWav([formatChunk({ bits: 12, block: 2 }), DATA]), /is 12-bit samples/],
    ["half floats", assembleWav([formatChunk({ tag: 3 }), DATA]), /is 16-bit floats \(half floats\)/],
    [
      "half floats, extensible",
      assembleWav([formatChunk({ tag: 3, extensible: true }), DATA]),
      /is 16-bit floats \(half floats\)/,
    ],
    ["mp3 in a wav", assembleWav([formatChunk({ tag: 0x55 }), DATA]), /its sound has the form 0x55/],
    [
      "ADPCM without blocks",
      assembleWav([formatChunk({ tag: 0x11, bits: 4, block: 0 }), DATA]),
      /0 bytes for a block/,
    ],
    ["no format", assembleWav([DATA]), /its format chunk is missing/],
    ["a cut format", assembleWav([FORMAT.subarray(0, 18)]), /holds no sound: it has no data chunk/],
    ["a format of 8 bytes", assembleWav([chunk("fmt ", Buffer.alloc(8)), DATA]), /format chunk is cut short/],
    [
      "an extensible format of 18 bytes",
      assembleWav([formatChunk({ tag: 0xfffe, more: Buffer.alloc(2) }), DATA]),
      /its extensible format chunk is cut short/,
    ],
    ["no chunk", assembleWav([]), /holds no sound: it has no data chunk/],
    ["a header alone", PLAIN.subarray(0, 44), /holds no sound/],
  ];
  test.each(wrong)("%s is refused by name, on one line", async (_title, file, message) => {
    const error = await read(file).catch((thrown) => thrown);
    expect([error.code, error.inOneLine]).toEqual(["INPUT_UNREADABLE", expect.stringMatching(message)]);
    expect(error.inOneLine).toMatch(/^\S*a\.wav [^;\n]+; [^;\n]+$/);
  });
});

describe("other files", () => {
  const others: [name: string, magic: string, what: string][] = [
    ["a.m4a", "0000001c667479704d344120000000004d3441206d70343269736f6d", "MPEG-4"],
    ["a.mp4", "000000206674797069736f6d0000020069736f6d69736f32", "MPEG-4"],
    ["a.webm", "1a45dfa3a34286810142f7810142f2810442f381084282847765626d", "Matroska"],
    ["a.aac", "fff15080", "AAC"],
    ["a.wma", "3026b2758e66cf11", "Windows Media"],
    ["a.amr", "2321414d520a", "AMR"],
    ["a.caf", "63616666", "Core Audio"],
    ["a.bin", "000102030405060708", "does not begin as a recording"],
  ];
  test.each(others)("%s is refused with the line that makes a wav", async (name, magic, what) => {
    const error = await read(Buffer.from(magic.padEnd(2_000, "0"), "hex"), name).catch((thrown) => thrown);
    const path = join(folder, name);
    expect(error.message).toStartWith(`${path} cannot be decoded: `);
    expect(error.message).toContain(what);
    expect(error.hint).toEndWith(`ffmpeg makes one: ffmpeg -i ${path} ${path.replace(/\w+$/, "wav")}`);
  });

  test.each([
    ["a.mp3", "494433030000"],
    ["a.flac", "664c6143"],
    ["a.ogg", "4f67675300020000"],
    ["a.wav", "00000000"],
  ])("a damaged %s gets the line too, or holds no sound", async (name, magic) => {
    const error = await read(Buffer.from(magic.padEnd(2_000, "0"), "hex"), name).catch((thrown) => thrown);
    expect(error.inOneLine).toMatch(
      /holds no sound|; give a wav, flac, mp3 or ogg file; ffmpeg makes one: ffmpeg -i /,
    );
  });

  test("the line is whole for a shell, whatever the name", async () => {
    for (const [name, line] of [
      ["it's me.m4a", `'it'\\''s me.m4a' 'it'\\''s me.wav'`],
      ["$(date).m4a", "'$(date).m4a' '$(date).wav'"],
      ["sound", "sound sound.wav"],
      ["a.b.WAV", "a.b.WAV a.b-16-bit.wav"],
    ]) {
      const error = await read(Buffer.from("....ftyp"), name).catch((thrown) => thrown);
      expect(error.hint.replaceAll(`${folder}/`, "")).toEndWith(`ffmpeg -i ${line}`);
    }
  });
});
