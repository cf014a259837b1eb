// tts bench: the form of its results, lists of configurations, comparing, the trace, and wrong options. No
// test asks how fast anything is.

import { beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { newFolder, shell } from "./_tts.ts";

const FRAMES = 6;
const SHORT = `--frames ${FRAMES} --repeat 2 --predictor llama`;
const PARTS = ["talker", "predictor", "generation", "vocoder"];

interface TraceEvent {
  name: string;
  ph: string;
  pid: number;
  tid: number;
  ts: number;
  dur: number;
  args: Record<string, unknown>;
}

// One real run for most tests: two configurations, measured in turn.
let folder = "";
let printed = { status: -1, stdout: "", stderr: "" };
beforeAll(async () => {
  folder = newFolder();
  printed = await shell(
    `$TTS bench -m $STARTER ${SHORT} --lanes 1,2 --json --trace trace.json | tee result.json`,
    folder,
  );
});

describe("--json", () => {
  test("prints one line: the machine, and a run per configuration with all its figures", () => {
    expect(printed.stdout.split("\n").length).toBe(2);
    const { machine, runs, ...more } = JSON.parse(printed.stdout);
    expect(more).toEqual({});
    expect(machine.cpu).toBeString();
    expect(machine.cores).toBeGreaterThan(0);
    expect(machine.bandwidthGbPerSecond["1"]).toBeGreaterThan(0);
    expect(runs.map(({ lanes }: { lanes: number }) => lanes)).toEqual([1, 2]);
    for (const run of runs) {
      expect(run).toMatchObject({
        model: "starter",
        threads: 1,
        weights: "f32",
        predictor: "llama",
        frames: FRAMES,
        repeat: 2,
      });
      expect(run.framesMade).toBe(FRAMES * run.lanes);
      for (const part of PARTS)
        for (const times of [run.msPerFrame, run.msPerFrameP90]) expect(times[part]).toBeGreaterThan(0);
      for (const figure of [
        "rtf",
        "firstAudioMs",
        "firstHeardMs",
        "bytesPerFrame",
        "bandwidthShare",
        "rssMb",
        "loadMs",
        "prefillMs",
        "mappedMb",
      ]) {
        expect([figure, run[figure] > 0]).toEqual([figure, true]);
      }
      expect(run.rssAnonMb + run.rssFileMb).toBeCloseTo(run.rssMb, 0);
      expect(run.threadTimes.map(({ name }: { name: string }) => name)).toContain("talker");
    }
  });

  test("lanes share the weights that are read", () => {
    const [one, two] = JSON.parse(printed.stdout).runs;
    expect(one.lanesPerTurn).toBe(1);
    expect(one.bytesPerFrame).toBe(one.bytes.talker + one.bytes.predictor);
    expect(two.bytesPerFrame * two.lanesPerTurn).toBeWithin(
      0.99 * one.bytesPerFrame,
      1.01 * one.bytesPerFrame,
    );
    expect(two.flopPerFrame).toEqual(one.flopPerFrame);
  });
});

describe("--accept", () => {
  test("gives so many codes a call, and every figure says that they mean nothing", async () => {
    const bench =
      "$TTS bench -m $STARTER --predictor ort --accept 2.5 --speculate auto,off --frames 20 --repeat 1";
    const { stdout, status } = await shell(`${bench} --json`, newFolder());
    expect(status).toBe(0);
    const [guessing, plain] = JSON.parse(stdout).runs;
    expect([guessing.pretendedCodes, plain.pretendedCodes]).toEqual([2.5, 2.5]);
    expect([plain.speculate, plain.callsPerFrame, plain.rightDrafts]).toEqual(["off", 15, []]);
    expect(guessing.speculate).toBe("auto");
    if (guessing.rightDrafts.length < 2) return; // not proven on this processor
    expect(guessing.callsPerFrame).toBeWithin(5.8, 6.3);
    expect(guessing.bytes.predictor).toBeLessThan(0.6 * plain.bytes.predictor);
    const text = (await shell(bench, newFolder())).stdout;
    expect(text.match(/PRETENDED 2.5 codes a call\n/g)?.length).toBe(2);
    expect(text.match(/the codes, and so the sound, mean nothing\n/g)?.length).toBe(2);
    expect(text.match(/ PRETENDED 2.5 /g)?.length).toBe(4);
  });

  test.each(["0", "0.9", "5", "many"])("refuses %s codes a call", async (codes) => {
    const { status, stderr } = await shell(`$TTS bench -m $STARTER --accept ${codes}`, newFolder());
    expect(status).toBe(2);
    expect(stderr).toMatch(/^tts: .*(accept|pretendedCodes) is .*\n$/);
  });

  test("is an option of bench alone", async () => {
    const { status, stderr } = await shell(`$TTS "Hello." --accept 2.5`, newFolder());
    expect([status, stderr]).toEqual([2, expect.stringContaining("there is no option --accept")]);
  });
});

describe("--trace", () => {
  let events: TraceEvent[];
  beforeAll(() => {
    events = JSON.parse(readFileSync(join(folder, "trace.json"), "utf8")).traceEvents;
  });

  test("names a process per configuration and a track per thread", () => {
    const named = (event: string) =>
      events.filter(({ name, ph }) => ph === "M" && name === event).map(({ args }) => args.name);
    expect(named("process_name").length).toBe(2);
    expect(named("thread_name").slice(0, 4)).toEqual([
      "engine",
      "talker (llama)",
      "predictor (llama)",
      "vocoder (ort)",
    ]);
  });

  test("shows what each thread opened before the first round", () => {
    for (const pid of [1, 2]) {
      const opened = (tid: number) =>
        events.filter(
          ({ args, ph, ...event }) =>
            ph === "X" && args === undefined && event.pid === pid && event.tid === tid,
        );
      expect(opened(1).map(({ name }) => name)).toContain("threads started");
      expect(opened(2).map(({ name }) => name)).toContain("talker.gguf");
      expect(opened(4).map(({ name }) => name)).toContain("vocoder.onnx");
    }
  });

  test("has every slice, one at a time on each track", () => {
    const slices = events.filter(({ ph }) => ph === "X");
    for (const pid of [1, 2]) {
      const ofStage = (name: string) => slices.filter((slice) => slice.pid === pid && slice.name === name);
      const rows = (name: string) => ofStage(name).reduce((sum, { args }) => sum + (args.rows as number), 0);
      for (const name of ["talker step", "predictor frame", "vocoder chunk"])
        expect([pid, name, rows(name)]).toEqual([pid, name, 2 * FRAMES * pid]);
      for (const tid of [2, 3, 4]) {
        const track = slices.filter((slice) => slice.pid === pid && slice.tid === tid);
        for (const { dur } of track) expect(dur).toBeGreaterThanOrEqual(0);
        for (let i = 1; i < track.length; i++)
          expect(track[i].ts).toBeGreaterThanOrEqual(track[i - 1].ts + track[i - 1].dur);
      }
    }
  });

  test("shows the configurations in turn, and when each sentence was submitted, heard and over", () => {
    const prefills = events.filter(({ name }) => name === "prefill").toSorted((a, b) => a.ts - b.ts);
    expect(prefills.map(({ pid }) => pid)).toEqual([1, 2, 2, 1, 2, 2]);
    for (const name of ["submit", "first audio", "first heard", "end"])
      expect(events.filter((event) => event.name === name).length).toBe(6);
  });
});

describe("for people", () => {
  test("prints a block per configuration, within 80 columns, and what changed since", async () => {
    const { status, stdout, stderr } = await shell(
      `$TTS bench -m $STARTER ${SHORT} --lanes 2 --compare result.json`,
      folder,
    );
    expect({ status, errors: stderr.replace(/^tts: warning: other programs .*\n/gm, "") }).toEqual({
      status: 0,
      errors: "",
    });
    const text = Buffer.from(stdout, "latin1").toString("utf8");
    expect(text).toMatch(/memory reads [\d.]+ GB\/s with 1 thread\n/);
    expect(text).toContain("starter f32, predictor llama, 2 lanes, 1 thread\n");
    for (const part of PARTS) expect(text).toMatch(new RegExp(`^  ${part} .* %$|^  ${part} .*–$`, "m"));
    expect(text).toContain("compared with result.json");
    expect(text).toMatch(/^ +before +now +ratio$/m);
    expect(text.split("\n").filter((line) => line.length > 80 || /\s$/.test(line))).toEqual([]);
  });

  test("says which configurations the earlier result does not have", async () => {
    const { stdout } = await shell(
      `$TTS bench -m $STARTER --frames 3 --repeat 1 --compare result.json`,
      folder,
    );
    expect(stdout).toContain("not in result.json");
  });
});

describe("wrong options", () => {
  beforeAll(() => {
    mkdirSync(join(folder, "wrong"));
    const save = (name: string, value: unknown) =>
      writeFileSync(join(folder, "wrong", name), JSON.stringify(value));
    writeFileSync(join(folder, "wrong", "text.json"), "RTF 0.5");
    save("old.json", { rtf: 0.5, frames: 50 });
    save("part.json", {
      machine: { cpu: "x" },
      runs: [{ model: "starter", weights: "f32", predictor: "llama", lanes: 1 }],
    });
  });

  test.each([
    ["--lanes 0", "--lanes is 0; give a whole number from 1 to 8"],
    ["--lanes 1,9", "--lanes is 9; give a whole number from 1 to 8"],
    ["--lanes 1,", '--lanes is ""; give a number'],
    ["--threads two", '--threads is "two"; give a number'],
    ["--predictor llama,rot", '--predictor is "rot"; did you mean ort?'],
    ["--weights q8", '--weights is "q8"; choose one of f32, f16, bf16, q8_0, q4_0, q4_k_m, iq4_nl'],
    ["--predictor-weights f33", '--predictor-weights is "f33"; did you mean f32?'],
    ["--frames 0", "--frames is 0; give a whole number from 1 to 9216"],
    ["--repeat 1.5", "--repeat is 1.5; give a whole number from 1 to 1000"],
    [
      "--lanes 1,2,3,4,5 --threads 1,2,3,4,5,6,7",
      "these are 35 configurations; at most 32 are measured together",
    ],
    ["--synthetic 0.6b -m starter", "there are --synthetic and --model; give one of them"],
    [
      "--compare wrong/none.json",
      /^cannot read wrong\/none\.json: there is no such file; check its name and its folder$/,
    ],
    ["--compare /dev/zero", "/dev/zero has more than 8388608 bytes; at most 8388608 are read at once"],
    ["--compare wrong/text.json", "wrong/text.json is not JSON; give what tts bench --json has printed"],
    [
      "--compare wrong/old.json",
      "wrong/old.json is no result of this tts bench: machine.cpu is missing; measure again with --json",
    ],
    [
      "--compare wrong/part.json",
      "wrong/part.json is no result of this tts bench: runs[0].threads is missing; measure again with --json",
    ],
    ["--trace -", "--trace cannot be standard output; name a file"],
    ["--trace ''", "--trace is empty; name a file"],
  ])("%s is one line", async (args, message) => {
    const { status, stdout, stderr } = await shell(`$TTS bench ${args}`, folder);
    expect({ status, stdout, lines: stderr.split("\n").length }).toEqual({ status: 2, stdout: "", lines: 2 });
    const line = stderr.replace(/^tts: /, "").trimEnd();
    if (typeof message === "string") expect(line).toBe(message);
    else expect(line).toMatch(message);
  });

  test("a trace that cannot be written fails before anything is measured", async () => {
    const { status, stdout, stderr } = await shell("$TTS bench --trace none/trace.json", folder);
    expect({ status, stdout }).toEqual({ status: 5, stdout: "" });
    expect(stderr).toContain("its folder does not exist");
  });

  test("a failed measurement leaves no trace file", async () => {
    const { status } = await shell("$TTS bench -m nowhere --trace failed.json", folder);
    expect(status).toBe(3);
    expect(existsSync(join(folder, "failed.json"))).toBe(false);
    expect(readdirSync(folder).filter((name) => name.includes(".part-"))).toEqual([]);
  });
});
