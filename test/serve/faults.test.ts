// Processes of the stage servers that die, hang or are ended: what their clients see, and that they return. Real processes and signals.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, existsSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { npuFolderOf } from "../_npu.ts";
import { compiler, compileStandIns, noCompiler, standInEnvironment } from "../_standins.ts";
import { bundleOf, scratchFolder } from "../_support.ts";
import { converse, type Frame, nextFrame, predict, request, Tables, vocode, Wire } from "./_client.ts";
import { isRunning, newFolder, Server, type Spoken, type Stage, speakItself, stopServers, until } from "./_server.ts";

const TEXT = "The kettle is ready.";
const STAGES: Stage[] = ["talker", "predictor", "vocoder"];
/** Two minutes of sound, 5.8 MB: more than a socket holds. */
const LONG_FRAMES = 1_500;
let starter = "";
let tables: Tables;
let server: Server;
let expected: Spoken;

beforeAll(async () => {
  starter = bundleOf("starter").directory;
  tables = new Tables(starter);
  server = await Server.start(["-m", starter, "--greedy", "--patience", "1"]);
  expected = await speakItself(["-m", starter, "--greedy", TEXT]);
});
afterAll(stopServers);

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const zeros = (frames: number) => [Int32Array.of(frames), new BigInt64Array(16 * frames)];
const allGood = async ({ folder } = server) => {
  const frames = await converse(folder, tables, { text: TEXT });
  expect(frames).toEqual(expected.frames);
  expect((await vocode(folder, frames)).equals(expected.samples)).toBe(true);
};

describe("a stage that is killed", () => {
  const kill = (stage: Stage) => {
    const [pid, from] = [server.processOf(stage), server.stderr.length];
    process.kill(pid, "SIGKILL");
    return async () => {
      await server.says(new RegExp(`^tts: warning: the ${stage} process ended \\(SIGKILL\\); it is started again\n`, "m"), from);
      await server.says(new RegExp(`^${stage}: back on `, "m"), from);
      expect(server.processOf(stage)).not.toBe(pid);
      expect(isRunning(pid)).toBe(false);
    };
  };

  test("the talker: its client sees the end, the others go on, and it returns", async () => {
    const talker = await Wire.open(server.socket("talker"));
    talker.send(request({ text: TEXT }));
    const frame = (await nextFrame(talker, tables.hidden)) as Frame;
    const back = kill("talker");
    talker.send(tables.feedback(expected.frames[0]));
    await expect(nextFrame(talker, tables.hidden)).rejects.toThrow("closed after 0 of 4 bytes");
    const predictor = await Wire.open(server.socket("predictor"));
    expect(await predict(predictor, frame)).toEqual(expected.frames[0]);
    predictor.close();
    expect((await vocode(server.folder, expected.frames)).equals(expected.samples)).toBe(true);
    await back();
    await allGood();
  });

  test("the predictor: the sentence goes on where it was, with a new connection", async () => {
    const talker = await Wire.open(server.socket("talker"));
    let predictor = await Wire.open(server.socket("predictor"));
    talker.send(request({ text: TEXT }));
    const frames: number[][] = [];
    for (;;) {
      const frame = await nextFrame(talker, tables.hidden);
      if (typeof frame === "number") break;
      if (frames.length === 3) {
        const back = kill("predictor");
        await expect(predict(predictor, frame)).rejects.toThrow("closed after 0 of 60 bytes");
        await back();
        predictor = await Wire.open(server.socket("predictor"));
      }
      frames.push(await predict(predictor, frame));
      talker.send(tables.feedback(frames.at(-1)!));
    }
    expect(frames).toEqual(expected.frames);
    for (const wire of [talker, predictor]) wire.close();
  });

  test("the vocoder: its client sees the end in the middle of the sound", async () => {
    const vocoder = await Wire.open(server.socket("vocoder"));
    vocoder.send(...zeros(LONG_FRAMES));
    expect((await vocoder.take(4)).readInt32LE()).toBe(LONG_FRAMES * 1920);
    await vocoder.take(2 * 1920);
    const back = kill("vocoder");
    const rest = await vocoder.rest();
    expect(rest.length).toBeLessThan(2 * 1920 * (LONG_FRAMES - 1));
    await converse(server.folder, tables, { text: TEXT });
    await back();
    await allGood();
  });

  test("comes back when what keeps it from starting is mended", async () => {
    const bundle = join(scratchFolder(), "mended");
    cpSync(starter, bundle, { recursive: true });
    const one = await Server.start(["-m", bundle, "--stage", "vocoder"]);
    const file = join(bundle, "vocoder.onnx");
    renameSync(file, `${file}.away`);
    process.kill(one.processOf("vocoder"), "SIGKILL");
    await one.says(/vocoder\.onnx is missing; .+; it is started again\n/);
    renameSync(`${file}.away`, file);
    await one.says(/^vocoder: back on /m);
    expect((await vocode(one.folder, expected.frames)).equals(expected.samples)).toBe(true);
    await one.stop();
  });
});

describe("a stage that gives no sign of life", () => {
  test("is replaced, and its clients see the end", async () => {
    const one = await Server.start(["-m", starter, "--greedy"], { TTS_STAGE_TIMEOUT: "1" });
    const pid = one.processOf("predictor");
    const predictor = await Wire.open(one.socket("predictor"));
    process.kill(pid, "SIGSTOP");
    predictor.send(new Float32Array(tables.hidden + 1));
    await expect(predictor.take(60)).rejects.toThrow("closed after 0 of 60 bytes");
    await one.says(/^tts: warning: the predictor has given no sign for 1 s; it is started again\n/m);
    await one.says(/^predictor: back on /m);
    expect(isRunning(pid)).toBe(false);
    await allGood(one);
    // One that was stopped itself knows nothing of the others.
    process.kill(one.pid, "SIGSTOP");
    await pause(1_500);
    process.kill(one.pid, "SIGCONT");
    await pause(500);
    await allGood(one);
    expect(one.stderr.match(/no sign/g)?.length).toBe(1);
    await one.stop();
  });
});

describe.skipIf(compiler === null)(`a stage on an NPU${noCompiler}`, () => {
  const onStandIn = (fault: string) => {
    const environment = standInEnvironment({ TTS_LIBRKNNRT: compileStandIns().rknn, TTS_NPU_FAULT: fault, TTS_STAGE_TIMEOUT: "2" });
    const args = ["-m", starter, "--stage", "vocoder", "--vocoder", "rknn", "--npu", npuFolderOf(bundleOf("starter"), "rknn")];
    return Server.start(args, environment);
  };

  test("speaks to clients as on the processor", async () => {
    const one = await onStandIn("");
    const given = await vocode(one.folder, expected.frames);
    const differences = Array.from({ length: given.length / 2 }, (_, i) => {
      return Math.abs(given.readInt16LE(2 * i) - expected.samples.readInt16LE(2 * i));
    });
    expect(given.length).toBe(expected.samples.length);
    expect(Math.max(...differences)).toBeLessThanOrEqual(2);
    await one.stop();
  });

  test("is replaced when a call into its library never returns", async () => {
    const one = await onStandIn("rknn_run:hang:5"); // after its self-test; the next process does the same
    const pid = one.processOf("vocoder");
    await expect(vocode(one.folder, expected.frames)).rejects.toThrow();
    await one.says(/^tts: warning: the vocoder has given no sign for 2 s; it is started again\n/m);
    await one.says(/^vocoder: back on /m);
    expect(isRunning(pid)).toBe(false);
    await one.stop();
  });
});

describe("a server that is ended", () => {
  const left = (folder: string) => readdirSync(folder);
  test.each([["SIGTERM", 143] as const, ["SIGINT", 130] as const])("by %s leaves no socket and no process", async (signal, status) => {
    const one = await Server.start(["-m", starter]);
    const stages = STAGES.map((stage) => one.processOf(stage));
    const talker = await Wire.open(one.socket("talker"));
    talker.send(request({ text: TEXT }));
    await nextFrame(talker, tables.hidden);
    expect(await one.stop(signal)).toBe(status);
    expect(left(one.folder)).toEqual([]);
    await until(() => !stages.some(isRunning));
    await expect(nextFrame(talker, tables.hidden)).rejects.toThrow("closed");
  });

  test("by force takes its stages with it, and the next one starts in its folder", async () => {
    const folder = newFolder();
    const one = await Server.start(["-m", starter], {}, folder);
    const stages = STAGES.map((stage) => one.processOf(stage));
    await one.stop("SIGKILL");
    await until(() => !stages.some(isRunning));
    expect(left(folder).length).toBeGreaterThan(0); // nobody could tidy up
    const two = await Server.start(["-m", starter], {}, folder);
    // All at once, as when the power fails: its sockets stay behind.
    const processes = STAGES.map((stage) => two.processOf(stage));
    for (const pid of processes) process.kill(pid, "SIGSTOP");
    const ended = two.stop("SIGKILL");
    for (const pid of processes) process.kill(pid, "SIGKILL");
    await ended;
    await until(() => !processes.some(isRunning));
    expect(STAGES.every((stage) => existsSync(two.socket(stage)))).toBe(true);
    const three = await Server.start(["-m", starter, "--greedy"], {}, folder);
    await allGood(three);
    await three.stop();
    expect(left(folder)).toEqual([]);
  });
});
