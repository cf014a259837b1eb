// What the stage servers refuse from clients and from users, and the reasons they give. Real processes and
// sockets.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bundleOf, ROOT, scratchFolder } from "../../_support.ts";
import { converse, type Frame, nextFrame, predict, request, Wire } from "./_client.ts";
import { newFolder, type Served, Server, serveStarter, stopServers, TEXT } from "./_server.ts";

let { expected, server, starter, tables } = {} as Served;
beforeAll(async () => {
  ({ expected, server, starter, tables } = await serveStarter());
});
afterAll(stopServers);

describe("what cannot be served is refused, with the reason on standard error", () => {
  const fields: [string, Record<string, unknown>, RegExp][] = [
    ["an unknown speaker", { text: TEXT, speaker: "nobody" }, /there is no speaker "nobody"/],
    ["an unknown language", { text: TEXT, language: "klingon" }, /there is no language "klingon"/],
    ["an instruction", { text: TEXT, instruct: "slowly" }, /does not follow instructions/],
    ["an empty text", { text: " " }, /nothing to speak/],
    ["a text of several prompts", { text: `${TEXT} `.repeat(9) }, /the text is \d+ prompts long/],
    ["a pause", { text: "One [pause 1s] two" }, /has pauses, .*; send what stands between them one by one/],
    ["no text", { language: "english" }, /the request has no text/],
    ["an unknown field", { text: TEXT, max_frames: 3 }, /has a field "max_frames"/],
    ["a field of another type", { text: TEXT, seed: "7" }, /seed is "7"; it is a number/],
    ["a number out of range", { text: TEXT, seed: 1.5 }, /the seed is 1.5/],
    [
      "more frames than there is memory for",
      { text: TEXT, maxFrames: 5_000 },
      /maxFrames is 5000, this server has memory for 640/,
    ],
    [
      "control characters in a message",
      { text: TEXT, speaker: "\x1b[31m\nx" },
      /there is no speaker "\?\[31m x"/,
    ],
  ];
  const length = (bytes: number) => Buffer.from(Uint32Array.of(bytes).buffer);
  const raw: [string, Buffer, RegExp][] = [
    ["a length beyond any request", length(65_537), /claims 65537 bytes/],
    ["the largest length", length(0xffffffff), /claims 4294967295 bytes/],
    ["an empty request", length(0), /no JSON/],
    ["no UTF-8", Buffer.concat([length(4), Buffer.from([0x22, 0xff, 0xfe, 0x22])]), /no JSON in UTF-8/],
    ["a list", Buffer.concat([length(2), Buffer.from("[]")]), /no JSON object/],
    ["nested beyond measure", Buffer.concat([length(60_000), Buffer.from("[".repeat(60_000))]), /no JSON/],
  ];
  test.each([...fields.map(([what, json, why]) => [what, request(json), why] as const), ...raw])(
    "by the talker: %s",
    async (_what, bytes, why) => {
      const from = server.stderr.length;
      const talker = await Wire.open(server.socket("talker"));
      talker.send(bytes);
      expect(await talker.rest()).toEqual(Buffer.from(Int32Array.of(-2).buffer));
      await server.says(why, from);
      talker.close();
    },
  );

  test("what is not obeyed or left out of a text is told", async () => {
    const from = server.stderr.length;
    await converse(server.folder, tables, { text: "<prosody>One</prosody> ☂" });
    await server.says(/markup that is not obeyed, its text is read: <prosody>/, from);
    await server.says(/this voice cannot read "☂": left out/, from);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY, 1e30])(
    "by the talker: feedback of %d; the lane is as good as before",
    async (value) => {
      const from = server.stderr.length;
      for (let lane = 0; lane < 2; lane++) {
        const talker = await Wire.open(server.socket("talker"));
        talker.send(request({ text: TEXT }));
        await nextFrame(talker, tables.hidden);
        talker.send(new Float32Array(tables.hidden).fill(value));
        expect(await talker.rest()).toEqual(Buffer.from(Int32Array.of(-2).buffer));
        talker.close();
      }
      await server.says(/the feedback is \S+ at 0/, from);
      const both = [0, 1].map(() => converse(server.folder, tables, { text: TEXT }));
      expect(await Promise.all(both)).toEqual([expected.frames, expected.frames]);
    },
  );

  const hidden = (value: number) => new Float32Array(tables.hidden).fill(value);
  test.each<[string, () => ArrayBufferView[], RegExp]>([
    ["a NaN", () => [hidden(Number.NaN), Int32Array.of(1)], /the hidden state is NaN at 0/],
    ["a negative code", () => [hidden(0), Int32Array.of(-1)], /code 0 is -1/],
    ["a control code", () => [hidden(0), Int32Array.of(2_150)], /code 0 is 2150/],
  ])("by the predictor: %s", async (_what, parts, why) => {
    const from = server.stderr.length;
    const predictor = await Wire.open(server.socket("predictor"));
    predictor.send(...parts());
    expect((await predictor.rest()).length).toBe(0);
    await server.says(why, from);
  });

  const codes = (value: bigint) => new BigInt64Array(16).fill(value);
  test.each<[string, ArrayBufferView[], RegExp]>([
    ["no frames", [Int32Array.of(0)], /claims 0 frames/],
    ["a negative count", [Int32Array.of(-1)], /claims -1 frames/],
    ["too many frames", [Int32Array.of(10_001)], /claims 10001 frames/],
    ["a negative code", [Int32Array.of(1), codes(-1n)], /frame 0, code 0 is -1/],
    [
      "a code that 32 bits would make valid",
      [Int32Array.of(2), codes(0n), codes(2n ** 32n)],
      /frame 1, code 0 is 4294967296/,
    ],
  ])("by the vocoder: %s", async (_what, parts, why) => {
    const from = server.stderr.length;
    const vocoder = await Wire.open(server.socket("vocoder"));
    vocoder.send(...parts);
    expect((await vocoder.rest()).length).toBe(0);
    await server.says(why, from);
  });
});

test("one connection too many is ended, and those before it are not", async () => {
  const open = () => Wire.open(server.socket("predictor"));
  const many = await Promise.all(Array.from({ length: 64 }, open));
  const read = await open()
    .then((wire) => wire.rest().then(({ length }) => length))
    .catch(() => 0); // the end may come before the connection
  expect(read).toBe(0);
  await server.says(/predictor: a client was sent away: there are 64 already\n/);
  const talker = await Wire.open(server.socket("talker"));
  talker.send(request({ text: TEXT }));
  expect(await predict(many[63], (await nextFrame(talker, tables.hidden)) as Frame)).toEqual(
    expected.frames[0],
  );
  for (const wire of [talker, ...many]) wire.close();
});

describe("a server that cannot start says why", () => {
  const run = async (args: string[], folder = newFolder()) => {
    const failed = new Server(folder, args);
    return { status: await failed.exited, stderr: failed.stderr };
  };
  test("wrong options", async () => {
    const cases: [string[], string | undefined, RegExp][] = [
      [[], "", /^tts: --sockets is empty; name the folder/],
      [["--port", "8080"], undefined, /^tts: --sockets and --port do not go together; /],
      [["--socket-mode", "0640x"], undefined, /--socket-mode is "0640x"/],
      [["--socket-mode", "0400"], undefined, /--socket-mode is "0400"/],
      [["--stage", "talkr"], undefined, /did you mean talker\?/],
      [["--patience", "0"], undefined, /--patience is 0/],
      [["--lanes", "99"], undefined, /lanes is 99/],
      [["stage"], undefined, /serve takes no "stage"/],
      [[], "/tmp/".padEnd(100, "x"), /is longer than a socket's path may be/],
    ];
    for (const [args, folder, message] of cases) {
      expect(await run(args, folder)).toEqual({ status: 2, stderr: expect.stringMatching(message) });
    }
  });

  test("a folder where others could put sockets, or where nobody can", async () => {
    for (const mode of [0o770, 0o707]) {
      const shared = newFolder();
      chmodSync(shared, mode);
      const why = `tts: cannot serve ${shared}: others may write into the folder; chmod go-w ${shared}, or choose another\n`;
      expect(await run(["-m", starter, "--socket-mode", "0666"], shared)).toEqual({ status: 5, stderr: why });
    }
    expect((await run(["-m", starter], "/tmp")).stderr).toMatch(
      /^tts: cannot serve \/tmp: (others may write|the folder belongs).*; choose a folder/,
    );
    // Folders of the user who runs this, which even root cannot write to.
    for (const [folder, why] of [
      [`/proc/${process.pid}/task`, "its folder does not exist"],
      [join(starter, "bundle.json/x"), "a part of its path is no folder"],
    ]) {
      const { status, stderr } = await run(["-m", starter], folder);
      expect([status, stderr]).toEqual([5, `tts: cannot serve ${folder}: ${why}; choose another folder\n`]);
    }
  });

  const mounts =
    Bun.spawnSync(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", scratchFolder()]).exitCode === 0;
  test.skipIf(!mounts)(
    `a folder that is full${mounts ? "" : " (skipped: a process cannot have its own mounts here)"}`,
    async () => {
      const folder = newFolder();
      const fill =
        'mount -t tmpfs -o size=16k,mode=700 tmpfs "$0" && head -c 1M /dev/zero > "$0/full" 2>&-; exec "$@"';
      const program = ["unshare", "-rm", "sh", "-c", fill, folder, process.execPath, join(ROOT, "tts.ts")];
      const failed = new Server(folder, ["-m", starter], {}, program);
      expect(await failed.exited).toBe(5);
      expect(failed.stderr).toMatch(/^tts: cannot serve .+: the disk is full; choose another folder\n$/);
    },
  );

  test("a folder without models for an NPU", async () => {
    const why = `tts: ${starter} holds no models for an NPU; tts convert DIR --target makes such a folder\n`;
    expect(await run(["-m", starter, "--npu", starter])).toEqual({ status: 3, stderr: why });
  });

  test("a model that cannot be served", async () => {
    expect(await run(["-m", bundleOf("tiny-base").directory])).toEqual({
      status: 2,
      stderr: expect.stringContaining("is a Base model"),
    });
    const broken = join(scratchFolder(), "broken");
    Bun.spawnSync(["cp", "-r", starter, broken]);
    const talker = join(broken, "talker.gguf");
    const { size } = statSync(talker);
    writeFileSync(talker, Buffer.alloc(size));
    const { status, stderr } = await run(["-m", broken]);
    expect({ status, line: stderr.split("\n").find((line) => line.startsWith("tts: ")) }).toEqual({
      status: 3,
      line: expect.stringContaining("talker.gguf"),
    });
  });
});
