// What every talker backend must do: the official hidden states and logits step by step, lanes that do not
// disturb each other, and with any code predictor exactly the official codes when it runs freely.

import { afterAll, describe, expect, test } from "bun:test";
import type { Backend, OpenOptions, Predictor, Talker, TalkerMemory } from "../../src/backends/stage.ts";
import { PROMPT_PIECE_ROWS } from "../../src/config.ts";
import { TtsError } from "../../src/errors.ts";
import type { Bundle } from "../../src/formats/bundle.ts";
import { Sampler } from "../../src/sampler.ts";
import { Embedder } from "../../src/stages/embed.ts";
import type { Prompt } from "../../src/text/prompt.ts";
import { CODES_PER_FRAME } from "../../src/types.ts";
import {
  bundleOf,
  type GoldenRun,
  goldenCases,
  goldenRun,
  greedily,
  Largest,
  maxDifference,
  openOptions,
  reasonAgainst,
  sharedFloats,
  starterCases,
  starterRun,
} from "../_support.ts";

const MAX_EMBEDDING_ERROR = 1e-5;
const MAX_ERROR = 1e-4;

/** All inputs of a run when the official codes are fed back, whatever the backend gives. */
class TeacherForced {
  readonly prompt: Float32Array;
  /** f32 [frames, hidden] */
  readonly inputs: Float32Array;
  /** Steps whose results are known: the prompt's last position, then one per frame. */
  readonly steps: number;
  private readonly hidden: Float32Array;
  private readonly logits: Float32Array;

  constructor(readonly run: GoldenRun) {
    const { bundle, golden, prompt, voice } = run;
    const embedder = new Embedder(bundle);
    const codes = golden.ints("codes");
    const frames = codes.length / CODES_PER_FRAME;
    this.prompt = embedder.prompt(prompt.rows, voice);
    this.inputs = sharedFloats(frames * embedder.hidden);
    for (let frame = 0; frame < frames; frame++) {
      embedder.feedback(codes, frame * CODES_PER_FRAME, this.inputs, frame * embedder.hidden);
      embedder.addText(
        prompt.trailing[frame] ?? bundle.manifest.prompt.text.ttsPad,
        this.inputs,
        frame * embedder.hidden,
      );
    }
    [this.hidden, this.logits] = [golden.floats("hidden"), golden.floats("logits")];
    this.steps = this.hidden.length / embedder.hidden;
  }

  /** Largest error of a step's results, which lie in row `row`. */
  error(
    step: number,
    hidden: Float32Array,
    logits: Float32Array,
    row: number,
  ): { hidden: number; logits: number } {
    const { codecVocabulary, hidden: width } = this.run.bundle.manifest.shape;
    const rowOf = (values: Float32Array, i: number, length: number) =>
      values.subarray(i * length, (i + 1) * length);
    return {
      hidden: maxDifference(rowOf(hidden, row, width), rowOf(this.hidden, step, width)),
      logits: maxDifference(rowOf(logits, row, codecVocabulary), rowOf(this.logits, step, codecVocabulary)),
    };
  }
}

/** As the prompt cache gives it: a part of a Buffer that begins anywhere. */
const asOfFile = ({ bytes, positions }: TalkerMemory): TalkerMemory => {
  return { positions, bytes: Buffer.concat([Buffer.alloc(3), bytes]).subarray(3) };
};

/** Takes a prompt into a lane in two parts, as the talker stage does. */
function takeIn(
  talker: Talker,
  lane: number,
  prompt: Prompt,
  rows: Float32Array,
  hidden: Float32Array,
  logits: Float32Array,
): boolean {
  const { length } = prompt.rows;
  expect(prompt.prefixRows).toBeWithin(1, length);
  return (
    talker.prefill(lane, rows, 0, prompt.prefixRows, hidden, logits) &&
    talker.prefill(lane, rows, prompt.prefixRows, length, hidden, logits)
  );
}

/** Drives lanes of one talker with the official codes and compares every result. */
class LaneDriver {
  private readonly active = new Map<number, { forced: TeacherForced; step: number }>();
  private readonly inputs: Float32Array;
  private readonly hidden: Float32Array;
  private readonly logits: Float32Array;

  constructor(
    private readonly talker: Talker,
    lanes: number,
    private readonly check: (error: { hidden: number; logits: number }) => void,
  ) {
    this.inputs = sharedFloats(lanes * talker.hidden);
    this.hidden = sharedFloats(lanes * talker.hidden);
    this.logits = sharedFloats(lanes * talker.codecVocabulary);
  }

  prefill(lane: number, run: GoldenRun): void {
    const forced = new TeacherForced(run);
    expect(takeIn(this.talker, lane, run.prompt, forced.prompt, this.hidden, this.logits)).toBe(true);
    this.check(forced.error(0, this.hidden, this.logits, 0));
    this.active.set(lane, { forced, step: 0 });
  }

  /** One step of these lanes, packed in this order. */
  step(lanes: number[]): void {
    const width = this.talker.hidden;
    lanes.forEach((lane, row) => {
      const { forced, step } = this.active.get(lane)!;
      this.inputs.set(forced.inputs.subarray(step * width, (step + 1) * width), row * width);
    });
    expect(
      this.talker.step(Int32Array.from(lanes), lanes.length, this.inputs, this.hidden, this.logits),
    ).toBe(true);
    lanes.forEach((lane, row) => {
      const state = this.active.get(lane)!;
      state.step++;
      this.check(state.forced.error(state.step, this.hidden, this.logits, row));
    });
  }

  stepsLeft(lane: number): number {
    const { forced, step } = this.active.get(lane)!;
    return forced.steps - 1 - step;
  }
}

/** Codes [frames, 16] of a run that feeds itself, always taking the most likely code. */
function speakFreely(talker: Talker, predictor: Predictor, run: GoldenRun): number[] {
  const { bundle, maxNewTokens, prompt, sampling, voice } = run;
  const { codecVocabulary, codes: size } = bundle.manifest.shape;
  const { codec, text } = bundle.manifest.prompt;
  const embedder = new Embedder(bundle);
  const [hidden, logits, input] = [
    sharedFloats(talker.hidden),
    sharedFloats(codecVocabulary),
    sharedFloats(talker.hidden),
  ];
  const first = new Sampler({ size: codecVocabulary, codes: codecVocabulary - 1024, eos: codec.eos });
  first.reset(sampling, 1, 0);
  const others = new Sampler({ size, codes: size, eos: -1 });
  others.reset(greedily(1), 1, 1);
  const frame = new Int32Array(CODES_PER_FRAME);
  const out: number[] = [];
  takeIn(talker, 0, prompt, embedder.prompt(prompt.rows, voice), hidden, logits);
  for (let drawn = 1; ; drawn++) {
    frame[0] = first.draw(logits);
    if (frame[0] === codec.eos || drawn === maxNewTokens) return out;
    predictor.predict(1, hidden, frame, (_row, _group, values) => others.draw(values));
    out.push(...frame);
    embedder.feedback(frame, 0, input, 0);
    embedder.addText(prompt.trailing[drawn - 1] ?? text.ttsPad, input, 0);
    talker.step(Int32Array.of(0), 1, input, hidden, logits);
  }
}

const caseNamed = (name: string) => goldenRun(goldenCases().find((goldenCase) => goldenCase.name === name)!);

export function talkerConformance(backend: Backend<Talker>): void {
  const reason = reasonAgainst(backend, openOptions(bundleOf("tiny-base")));
  describe.skipIf(reason !== null)(
    `talker ${backend.name}${reason === null ? "" : ` (skipped: ${reason})`}`,
    () => {
      const largest = new Largest(`talker ${backend.name}`);
      const opened: Talker[] = [];
      const open = (checkpoint: string, lanes = 1): Talker => {
        const talker = backend.open(openOptions(bundleOf(checkpoint), lanes, { contextPositions: 2_048 }));
        opened.push(talker);
        return talker;
      };
      const within = (error: { hidden: number; logits: number }) => {
        expect(largest.note("hidden", error.hidden)).toBeLessThanOrEqual(MAX_ERROR);
        expect(largest.note("logits", error.logits)).toBeLessThanOrEqual(MAX_ERROR);
      };
      afterAll(() => {
        for (const talker of opened) talker.close();
        largest.print();
      });

      test.each(goldenCases().map((goldenCase) => [goldenCase.name, goldenCase] as const))(
        "follows the official run: %s",
        (_name, goldenCase) => {
          const run = goldenRun(goldenCase);
          const embeddings = maxDifference(new TeacherForced(run).prompt, run.golden.floats("prompt_embeds"));
          expect(largest.note("prompt embeddings", embeddings)).toBeLessThanOrEqual(MAX_EMBEDDING_ERROR);
          const driver = new LaneDriver(open(goldenCase.checkpoint), 1, within);
          driver.prefill(0, run);
          expect(driver.stepsLeft(0)).toBe(goldenCase.frames);
          while (driver.stepsLeft(0) > 0) driver.step([0]);
        },
      );

      laneTests(open, within);
      memoryTests(open);
      refusals(open);
    },
  );
}

function laneTests(
  open: (checkpoint: string, lanes: number) => Talker,
  within: (error: { hidden: number; logits: number }) => void,
): void {
  const pairs = [
    ["custom-ryan-english-stream", "custom-vivian-auto-whole"],
    ["icl-whole", "xvector-stream"],
  ] as const;

  test.each(pairs)("two lanes step together as each does alone: %s and %s", (a, b) => {
    const driver = new LaneDriver(open(caseNamed(a).bundle.manifest.name, 2), 2, within);
    driver.prefill(0, caseNamed(a));
    driver.prefill(1, caseNamed(b));
    while (driver.stepsLeft(0) > 0 && driver.stepsLeft(1) > 0)
      driver.step(driver.stepsLeft(0) % 2 === 0 ? [0, 1] : [1, 0]);
    for (const lane of [0, 1]) while (driver.stepsLeft(lane) > 0) driver.step([lane]);
  });

  test.each(pairs)("a lane is used again while the other goes on: %s and %s", (a, b) => {
    const driver = new LaneDriver(open(caseNamed(a).bundle.manifest.name, 3), 3, within);
    driver.prefill(2, caseNamed(a));
    driver.prefill(0, caseNamed(b));
    for (let i = 0; i < 4; i++) driver.step([0, 2]);
    driver.prefill(0, caseNamed(a)); // in the middle of a sentence
    for (let i = 0; i < 4; i++) driver.step([2, 0]);
    driver.prefill(1, caseNamed(b));
    while (driver.stepsLeft(2) > 0) driver.step([1, 2]);
    while (driver.stepsLeft(0) > 0) driver.step([0]);
    driver.prefill(2, caseNamed(b)); // after the end of one
    while (driver.stepsLeft(2) > 0) driver.step([2]);
  });
}

/** Bits that a lane gives for the same inputs, whatever it and others have been through. */
class Results {
  readonly hidden: Float32Array;
  readonly logits: Float32Array;

  constructor(readonly talker: Talker) {
    this.hidden = sharedFloats(talker.hidden);
    this.logits = sharedFloats(talker.codecVocabulary);
  }

  prefill(lane: number, rows: Float32Array, from: number, to: number): number[] {
    expect(this.talker.prefill(lane, rows, from, to, this.hidden, this.logits)).toBe(true);
    return [...this.hidden, ...this.logits];
  }

  /** Bits of `count` steps that take in rows from `from` on. */
  steps(lane: number, rows: Float32Array, from: number, count: number): number[] {
    const taken = Array.from({ length: count }, (_, i) => {
      const input = sharedFloats(this.talker.hidden);
      input.set(rows.subarray((from + i) * input.length, (from + i + 1) * input.length));
      this.talker.step(Int32Array.of(lane), 1, input, this.hidden, this.logits);
      return [...this.hidden, ...this.logits];
    });
    return taken.flat();
  }
}

function memoryTests(open: (checkpoint: string, lanes: number) => Talker): void {
  test.each(["custom-ryan-english-whole", "icl-whole", "icl-stream"])(
    "goes on from a remembered start, to the bit: %s",
    (name) => {
      const run = caseNamed(name);
      const rows = new TeacherForced(run).prompt;
      const [cut, count] = [run.prompt.prefixRows, run.prompt.rows.length];
      const first = new Results(open(run.bundle.manifest.name, 2));
      first.prefill(0, rows, 0, cut);
      const start = first.talker.save(0);
      const results = first.prefill(0, rows, cut, count);
      const whole = first.talker.save(0);
      const steps = first.steps(0, rows, 0, 4);
      expect([start.positions, whole.positions]).toEqual([cut, count]);
      expect(whole.bytes.length).toBeGreaterThan(start.bytes.length);

      const other = new Results(open(run.bundle.manifest.name, 2));
      expect(other.talker.memoryKind).toBe(first.talker.memoryKind);
      other.prefill(1, rows, 0, count); // something else to forget
      const places = [
        [first, 1],
        [first, 0],
        [other, 1],
        [other, 0],
      ] as const;
      for (const [again, lane] of places) {
        expect(again.talker.restore(lane, asOfFile(start))).toBe(true);
        expect(again.prefill(lane, rows, cut, count)).toEqual(results);
        expect(again.steps(lane, rows, 0, 4)).toEqual(steps);
        expect(again.talker.restore(lane, asOfFile(whole))).toBe(true);
        expect(again.steps(lane, rows, 0, 4)).toEqual(steps);
      }
    },
  );

  test("a lane that is put back does not disturb another", () => {
    const run = caseNamed("custom-ryan-english-whole");
    const rows = new TeacherForced(run).prompt;
    const count = run.prompt.rows.length;
    const results = new Results(open(run.bundle.manifest.name, 2));
    results.prefill(0, rows, 0, count);
    const expected = results.steps(0, rows, 0, 6);
    const memory = results.talker.save(0);
    results.prefill(0, rows, 0, count);
    const begun = results.steps(0, rows, 0, 3);
    expect(results.talker.restore(1, memory)).toBe(true);
    expect([...begun, ...results.steps(0, rows, 3, 3)]).toEqual(expected);
  });

  test("memory of another kind is refused, and the lane takes in a prompt as before", () => {
    const run = caseNamed("custom-ryan-english-whole");
    const rows = new TeacherForced(run).prompt;
    const count = run.prompt.rows.length;
    const results = new Results(open(run.bundle.manifest.name, 1));
    const expected = results.prefill(0, rows, 0, count);
    const { bytes, positions } = results.talker.save(0);
    const foreign = new Results(open("starter", 1));
    foreign.prefill(0, rows, 0, 1);
    for (const wrong of [
      bytes.slice(0, bytes.length - 1),
      bytes.slice(0, 8),
      new Uint8Array(0),
      foreign.talker.save(0).bytes,
    ]) {
      expect(results.talker.restore(0, { positions, bytes: wrong })).toBe(false);
      expect(() => results.prefill(0, rows, positions, positions + 1)).toThrow("lane 0 stands at 0");
      expect(results.prefill(0, rows, 0, count)).toEqual(expected);
    }
    expect(() => results.talker.restore(0, { positions: 1_000_000, bytes })).toThrow(TtsError);
  });
}

function refusals(open: (checkpoint: string) => Talker): void {
  test("a prompt of several pieces is as exact as one that grows row by row", () => {
    const talker = open("tiny-custom");
    const run = caseNamed("custom-ryan-english-whole");
    const rows = new TeacherForced(run).prompt;
    const count = 2 * PROMPT_PIECE_ROWS + 6;
    const prompt = sharedFloats(count * talker.hidden);
    for (let i = 0; i < prompt.length; i++) prompt[i] = rows[i % rows.length];
    const results = () => ({
      hidden: sharedFloats(talker.hidden),
      logits: sharedFloats(talker.codecVocabulary),
    });
    const [whole, grown] = [results(), results()];
    for (let at = 0; at < count; at += PROMPT_PIECE_ROWS) {
      talker.prefill(0, prompt, at, Math.min(at + PROMPT_PIECE_ROWS, count), whole.hidden, whole.logits);
    }
    talker.prefill(0, prompt, 0, 500, grown.hidden, grown.logits);
    for (let row = 500; row < count; row++) {
      talker.step(Int32Array.of(0), 1, prompt.subarray(row * talker.hidden), grown.hidden, grown.logits);
    }
    expect(maxDifference(whole.hidden, grown.hidden)).toBeLessThanOrEqual(MAX_ERROR);
    expect(maxDifference(whole.logits, grown.logits)).toBeLessThanOrEqual(MAX_ERROR);
  });

  test("refuses more rows at once than a piece has", () => {
    const talker = open("tiny-custom");
    const [prompt, results] = [
      sharedFloats((PROMPT_PIECE_ROWS + 1) * talker.hidden),
      sharedFloats(talker.codecVocabulary),
    ];
    expect(() => talker.prefill(0, prompt, 0, PROMPT_PIECE_ROWS + 1, results, results)).toThrow(RangeError);
  });

  test("refuses a prompt that fills its context", () => {
    const talker = open("tiny-custom");
    talker.assertFits(2_047);
    expect(() => talker.assertFits(2_048)).toThrow(TtsError);
    expect(() => talker.assertFits(2_048)).toThrow(/2048 positions/);
  });
}

/**
 * Only text goes in, and exactly the official codes come out.
 * @param optionsFor what the code predictors need
 */
export function freeRunConformance(
  talkers: readonly Backend<Talker>[],
  predictors: readonly Backend<Predictor>[],
  optionsFor: (bundle: Bundle) => OpenOptions = openOptions,
): void {
  const runs = [
    ...goldenCases().map((goldenCase) => [goldenCase.name, () => goldenRun(goldenCase)] as const),
    ...starterCases().map((starterCase) => [starterCase.name, () => starterRun(starterCase)] as const),
  ];
  for (const talkerBackend of talkers) {
    for (const predictorBackend of predictors) {
      const reason =
        reasonAgainst(talkerBackend, openOptions(bundleOf("tiny-base"))) ??
        reasonAgainst(predictorBackend, optionsFor(bundleOf("tiny-base")));
      const title = `talker ${talkerBackend.name} with predictor ${predictorBackend.name}`;
      describe.skipIf(reason !== null)(`${title}${reason === null ? "" : ` (skipped: ${reason})`}`, () => {
        test.each(runs)("speaks the official codes: %s", (_name, makeRun) => {
          const run = makeRun();
          expect(Array.from(run.ids.ours)).toEqual(Array.from(run.ids.official));
          const talker = talkerBackend.open(openOptions(run.bundle));
          const predictor = predictorBackend.open(optionsFor(run.bundle));
          try {
            expect(speakFreely(talker, predictor, run)).toEqual(Array.from(run.golden.ints("codes")));
          } finally {
            predictor.close();
            talker.close();
          }
        });
      });
    }
  }
}
