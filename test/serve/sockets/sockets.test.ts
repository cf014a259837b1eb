// The three stages as servers, used as other programs use them: the results of a client written from the byte
// layout alone, and the places of the sockets. Real processes and sockets.

import { afterAll, beforeAll, describe, expect, spyOn, test } from "bun:test";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { standalone } from "../../../src/backends/stage.ts";
import type { Config } from "../../../src/config.ts";
import { allowedCores } from "../../../src/cores.ts";
import { type Bundle, openBundle } from "../../../src/formats/bundle.ts";
import { promptOf } from "../../../src/stages/sentence.ts";
import { TalkerStage } from "../../../src/stages/talker.ts";
import { createTimelineMemory, Track } from "../../../src/stages/timeline.ts";
import { bundleOf, openOptions, tokenizerOf } from "../../_support.ts";
import { converse, decode, nextFrame, request, Tables, vocode, Wire } from "./_client.ts";
import {
  newFolder,
  type Served,
  Server,
  STAGES,
  serveStarter,
  speakItself,
  stopServers,
  TEXT,
} from "./_server.ts";

let { expected, server, starter, tables } = {} as Served;
beforeAll(async () => {
  ({ expected, server, starter, tables } = await serveStarter());
});
afterAll(stopServers);

describe("a client written from the byte layout alone", () => {
  test("gets the codes and the samples of tts, however it connects to the predictor", async () => {
    for (const oneEach of [false, true]) {
      const frames = await converse(server.folder, tables, { text: TEXT, language: "english" }, { oneEach });
      expect(frames).toEqual(expected.frames);
    }
    expect((await vocode(server.folder, expected.frames)).equals(expected.samples)).toBe(true);
  });

  test("gets them with a speaker, an instruction, other weights and another predictor", async () => {
    const cases = [
      ["tiny-custom", "f32", "ort", { text: "Hello there, world.", speaker: "ryan", language: "German" }],
      [
        "tiny-design",
        "q8_0",
        "llama",
        { text: "Hello there, world.", instruct: "a calm old man", language: "auto" },
      ],
    ] as const;
    for (const [checkpoint, weights, predictor, fields] of cases) {
      const { directory } = bundleOf(checkpoint, weights);
      const { language, text, ...more } = fields;
      const options = Object.entries(more).flatMap(([name, value]) => [`--${name}`, value]);
      const args = ["-m", directory, "--predictor", predictor, "--greedy"];
      const itself = await speakItself([...args, "-l", language, ...options, "--max-frames", "12", text]);
      const tiny = await Server.start(args);
      expect(await converse(tiny.folder, new Tables(directory), { ...fields, maxFrames: 12 })).toEqual(
        itself.frames,
      );
      expect((await vocode(tiny.folder, itself.frames)).equals(itself.samples)).toBe(true);
      expect(await tiny.stop()).toBe(143);
    }
  });

  test("gets the codes of a seed with one connection for the sentence", async () => {
    const seeded = await Server.start(["-m", starter, "--seed", "7"]);
    const itself = await speakItself(["-m", starter, "--seed", "7", TEXT]);
    expect(itself.frames).not.toEqual(expected.frames);
    expect(await converse(seeded.folder, tables, { text: TEXT })).toEqual(itself.frames);
    expect(await converse(seeded.folder, tables, { text: TEXT, seed: 8 })).not.toEqual(itself.frames);
    await seeded.stop();
  });

  test("speaks beside more clients than there are lanes, sentence after sentence", async () => {
    const speak = async () => {
      const frames = await converse(server.folder, tables, { text: TEXT });
      return { frames, samples: await vocode(server.folder, frames) };
    };
    for (const { frames, samples } of await Promise.all([speak(), speak(), speak(), speak(), speak()])) {
      expect(frames).toEqual(expected.frames);
      expect(samples.equals(expected.samples)).toBe(true);
    }
  });

  test("may send several requests on one connection, end its side early, and stop at a frame limit", async () => {
    const talker = await Wire.open(server.socket("talker"));
    for (const maxFrames of [1, 2]) {
      talker.send(request({ text: TEXT, maxFrames }));
      for (let i = 0; i < maxFrames; i++) {
        expect(await nextFrame(talker, tables.hidden)).toMatchObject({ code0: expected.frames[i][0] });
        talker.send(tables.feedback(expected.frames[i])); // of the last frame too
      }
      expect(await nextFrame(talker, tables.hidden)).toBe(-1);
    }
    talker.close();
    const vocoder = await Wire.open(server.socket("vocoder"));
    for (let i = 0; i < 2; i++)
      expect((await decode(vocoder, expected.frames)).equals(expected.samples)).toBe(true);
    vocoder.send(Int32Array.of(2), BigInt64Array.from(expected.frames.slice(0, 2).flat(), BigInt));
    vocoder.socket.end();
    expect((await vocoder.rest()).length).toBe(4 + 2 * 2 * 1920);
  });

  test("can send raw text, which is taken as it is", async () => {
    const itself = await speakItself(["-m", starter, "--greedy", "--raw-text", "dˈɪnɝ ˈɪz rˈɛdi."]);
    expect(await converse(server.folder, tables, { text: "dˈɪnɝ ˈɪz rˈɛdi.", rawText: true })).toEqual(
      itself.frames,
    );
  });
});

function talkerAlone(bundle: Bundle, config: Config): TalkerStage {
  const track = new Track(createTimelineMemory().talker);
  return new TalkerStage({ ...standalone(bundle, config, config.lanes), track, onPiece() {} });
}

test("the talker knows that a sentence ended because there was memory for no more", () => {
  const bundle = openBundle(starter);
  const greedy = { greedy: true, temperature: 1, topK: 0, topP: 1, repetitionPenalty: 1 };
  const settings = {
    instruct: "",
    speaker: -1,
    language: -1,
    mode: "whole",
    seed: 0,
    sampling: { talker: greedy, predictor: greedy },
  } as const;
  const sentence = { ...settings, text: "həlˈoʊ." };
  const prompt = promptOf(bundle, tokenizerOf(bundle), { ...sentence, reference: null }).rows.length;
  const frames = 2; // too few to end by itself
  const { config } = openOptions(bundle, 1, { prefixCache: "off", contextPositions: prompt + frames + 1 });
  const talker = talkerAlone(bundle, config);
  const ask = (maxFrames: number) => {
    let count = 0;
    talker.begin(0, { ...sentence, maxFrames, stream: 0, reference: null }, true);
    for (; talker.stopOf(0) === null; count++) talker.step(Int32Array.of(0), 1, talker.hiddenOf(0));
    return { count, lacksMemory: talker.lacksMemory(0) };
  };
  expect(ask(frames)).toEqual({ count: frames, lacksMemory: false });
  expect(ask(frames + 1)).toEqual({ count: frames, lacksMemory: true });
});

test("the talker computes a prompt once, and the start of prompts once", () => {
  const { config } = openOptions(openBundle(starter), 2, { lanes: 2, prefixCache: "memory" });
  const talker = talkerAlone(openBundle(starter), config);
  const prefill = spyOn(talker.opened.stage, "prefill");
  const sampling = { greedy: true, temperature: 1, topK: 0, topP: 1, repetitionPenalty: 1 };
  const voice = { instruct: "", speaker: -1, language: -1, mode: "whole", reference: null } as const;
  const sentence = {
    ...voice,
    maxFrames: 9,
    seed: 0,
    stream: 0,
    sampling: { talker: sampling, predictor: sampling },
  };
  const begin = (lane: number, text: string) => {
    prefill.mockClear();
    talker.begin(lane, { ...sentence, text }, true);
    return { code0: talker.code0Of(lane), computed: prefill.mock.calls.length };
  };
  const first = begin(0, "həlˈoʊ.");
  expect(first.computed).toBe(2);
  expect(begin(1, "həlˈoʊ.")).toEqual({ ...first, computed: 0 });
  expect(begin(0, "ɡʊdbˈaɪ.").computed).toBe(1);
});

describe("the sockets", () => {
  test("are the user's alone unless told otherwise, in a folder that can be entered by those who may use them", async () => {
    const modes = (...paths: string[]) => paths.map((path) => (statSync(path).mode & 0o777).toString(8));
    expect(modes(server.folder, ...STAGES.map((stage) => server.socket(stage)))).toEqual([
      "700",
      "600",
      "600",
      "600",
    ]);
    const [outside, folder] = [newFolder(), "deep/er"];
    const shared = await Server.start(
      ["-m", starter, "--stage", "vocoder", "--socket-mode", "0660"],
      {},
      join(outside, folder),
    );
    expect(modes(outside, join(outside, "deep"), shared.folder, shared.socket("vocoder"))).toEqual([
      "700",
      "710",
      "710",
      "660",
    ]);
    await shared.stop();
  });

  test("are never taken from another server, and are replaced when it is dead", async () => {
    const second = new Server(server.folder, ["-m", starter, "--stage", "predictor"]);
    expect(await second.exited).toBe(5);
    expect(second.stderr).toBe(
      `tts: cannot serve ${server.socket("predictor")}: process ${server.pid} serves it; end that server first, or choose another folder\n`,
    );
    const folder = newFolder();
    const path = join(folder, "vocoder.sock");
    const foreign = createServer();
    await new Promise<void>((resolve) => foreign.listen(path, resolve));
    const third = new Server(folder, ["-m", starter, "--stage", "vocoder"]);
    expect([await third.exited, third.stderr]).toEqual([
      5,
      expect.stringContaining("somebody answers there"),
    ]);
    await new Promise((resolve) => foreign.close(resolve));
    writeFileSync(path, "notes");
    const fourth = new Server(folder, ["-m", starter, "--stage", "vocoder"]);
    expect([await fourth.exited, fourth.stderr]).toEqual([5, expect.stringContaining("it is not a socket")]);
    expect(statSync(path).size).toBe(5);
  });

  test("of one stage alone are served alone, on its cores, and stages of one folder may have a server each", async () => {
    const folder = newFolder();
    const [core] = allowedCores().slice(-1);
    const servers = [];
    for (const stage of STAGES) {
      const args = ["-m", starter, "--greedy", "--stage", stage, `--${stage}-cpus`, String(core.id)];
      servers.push(await Server.start(args, {}, folder));
    }
    for (const [i, stage] of STAGES.entries()) {
      const status = readFileSync(`/proc/${servers[i].processOf(stage)}/status`, "utf8");
      expect([status.match(/^Name:\t(.*)$/m)?.[1], status.match(/^Cpus_allowed_list:\t(.*)$/m)?.[1]]).toEqual(
        [stage, String(core.id)],
      );
    }
    const frames = await converse(folder, tables, { text: TEXT });
    expect(frames).toEqual(expected.frames);
    expect((await vocode(folder, frames)).equals(expected.samples)).toBe(true);
    expect(await servers[1].stop()).toBe(143);
    expect(STAGES.map((stage) => existsSync(join(folder, `${stage}.sock`)))).toEqual([true, false, true]);
    await Promise.all(servers.map((one) => one.stop()));
  });
});
