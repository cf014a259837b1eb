// What every code predictor backend must do: the official codes 1 to 15 from the official hidden states, any
// number of lanes at once, and nothing kept from one frame to the next.

import { afterAll, describe, expect, test } from "bun:test";
import type { Backend, Predictor } from "../../src/backends/stage.ts";
import { CODES_PER_FRAME } from "../../src/types.ts";
import {
  bundleOf,
  type GoldenCase,
  goldenCases,
  goldenFile,
  Largest,
  maxDifference,
  openOptions,
  reasonAgainst,
} from "../_support.ts";

const MAX_LOGIT_ERROR = 1e-4;
/** The golden files hold the logits of this many frames. */
const FRAMES_WITH_LOGITS = 2;
const GROUPS = CODES_PER_FRAME - 1;

/** Frames of one checkpoint: what goes in and, in `codes`, what must come out. */
interface Frames {
  count: number;
  width: number;
  hidden: Float32Array; // [count, width]
  codes: Int32Array; // [count, 16]
}

function framesOf(goldenCase: GoldenCase): Frames {
  const golden = goldenFile(goldenCase);
  const codes = golden.ints("codes");
  const count = codes.length / CODES_PER_FRAME;
  return {
    count,
    width: bundleOf(goldenCase.checkpoint).manifest.shape.hidden,
    hidden: golden.floats("hidden"),
    codes,
  };
}

/**
 * Frames `from` ... of a case as the rows of one call; returns codes [rows, 16] and logits [rows, 15, codes],
 * or none where it draws inside.
 */
function predict(
  predictor: Predictor,
  frames: Frames,
  which: readonly number[],
): { codes: Int32Array; logits: Float32Array[] } {
  const { hidden, width } = frames;
  const rows = new Float32Array(which.length * width);
  const codes = new Int32Array(which.length * CODES_PER_FRAME).fill(-1);
  which.forEach((frame, row) => {
    rows.set(hidden.subarray(frame * width, (frame + 1) * width), row * width);
    codes[row * CODES_PER_FRAME] = frames.codes[frame * CODES_PER_FRAME];
  });
  const logits: Float32Array[] = Array.from({ length: predictor.drawsInside ? 0 : which.length * GROUPS });
  predictor.predict(which.length, rows, codes, (row, group, values) => {
    logits[row * GROUPS + group - 1] = values.slice();
    return values.indexOf(Math.max(...values));
  });
  return { codes, logits };
}

const frameCodes = ({ codes }: Frames, frame: number) =>
  Array.from(codes.subarray(frame * CODES_PER_FRAME, (frame + 1) * CODES_PER_FRAME));
const worst = (a: Float32Array[], b: Float32Array[]) =>
  Math.max(0, ...a.map((values, i) => maxDifference(values, b[i])));

/** What is different about a backend. */
export interface PredictorSubject {
  title?: string;
  /** What it needs, which may be more than the files of the bundle. */
  optionsFor?: typeof openOptions;
  /** Whether it draws the codes itself, so that no caller can choose them. */
  drawsInside?: boolean;
  /** Why it cannot run here, or null. */
  unable?: string | null;
}

export function predictorConformance(backend: Backend<Predictor>, subject: PredictorSubject = {}): void {
  const { drawsInside = false, optionsFor = openOptions, title = "", unable = null } = subject;
  const reason = unable ?? reasonAgainst(backend, optionsFor(bundleOf("tiny-base")));
  describe.skipIf(reason !== null)(
    `predictor ${backend.name}${title}${reason === null ? "" : ` (skipped: ${reason})`}`,
    () => {
      const largest = new Largest(`predictor ${backend.name}${title}`);
      const opened: Predictor[] = [];
      const open = (checkpoint: string, lanes: number): Predictor => {
        const predictor = backend.open(optionsFor(bundleOf(checkpoint), lanes));
        opened.push(predictor);
        return predictor;
      };
      afterAll(() => {
        for (const predictor of opened) predictor.close();
        largest.print();
      });

      test.each(goldenCases().map((goldenCase) => [goldenCase.name, goldenCase] as const))(
        "gives the official codes: %s",
        (_name, goldenCase) => {
          const frames = framesOf(goldenCase);
          const predictor = open(goldenCase.checkpoint, 1);
          const golden = goldenFile(goldenCase).floats("predictor_logits");
          for (let frame = 0; frame < frames.count; frame++) {
            const { codes, logits } = predict(predictor, frames, [frame]);
            expect(Array.from(codes)).toEqual(frameCodes(frames, frame));
            if (frame >= FRAMES_WITH_LOGITS) continue;
            logits.forEach((values, group) => {
              const at = (frame * GROUPS + group) * values.length;
              const error = maxDifference(values, golden.subarray(at, at + values.length));
              expect(largest.note("logits", error)).toBeLessThanOrEqual(MAX_LOGIT_ERROR);
            });
          }
        },
      );

      laneTests(open, largest, drawsInside);
    },
  );
}

/** @param drawsInside whether it draws the codes itself */
function laneTests(
  open: (checkpoint: string, lanes: number) => Predictor,
  largest: Largest,
  drawsInside: boolean,
): void {
  // With and without an input projection.
  for (const checkpoint of ["tiny-custom", "tiny-base"]) {
    const frames = () => framesOf(goldenCases().find((goldenCase) => goldenCase.checkpoint === checkpoint)!);

    test.each([
      [2, [0, 1]],
      [2, [5, 2]],
      [3, [0, 1, 2]],
      [3, [7, 3, 3]],
    ])(`${checkpoint}: %i lanes give what each gives alone (frames %j)`, (lanes, which) => {
      const predictor = open(checkpoint, lanes);
      const together = predict(predictor, frames(), which);
      which.forEach((frame, row) => {
        expect(
          Array.from(together.codes.subarray(row * CODES_PER_FRAME, (row + 1) * CODES_PER_FRAME)),
        ).toEqual(frameCodes(frames(), frame));
        const alone = predict(predictor, frames(), [frame]);
        const error = worst(together.logits.slice(row * GROUPS, (row + 1) * GROUPS), alone.logits);
        expect(largest.note("lanes", error)).toBeLessThanOrEqual(MAX_LOGIT_ERROR);
      });
    });

    test(`${checkpoint}: fewer rows than lanes, in any order, give the same`, () => {
      const predictor = open(checkpoint, 3);
      for (const which of [[4], [0, 1, 2], [1], [2, 0], [4]]) {
        const { codes } = predict(predictor, frames(), which);
        expect(Array.from(codes)).toEqual(which.flatMap((frame) => frameCodes(frames(), frame)));
      }
    });

    test(`${checkpoint}: a repeated frame gives the same to the bit: nothing is kept`, () => {
      const predictor = open(checkpoint, 1);
      const first = predict(predictor, frames(), [3]);
      predict(predictor, frames(), [6]);
      const again = predict(predictor, frames(), [3]);
      expect(worst(again.logits, first.logits)).toBe(0);
      expect(again.codes).toEqual(first.codes);
    });

    test.skipIf(drawsInside)(`${checkpoint}: the caller's choice goes on, not the best code`, () => {
      const predictor = open(checkpoint, 1);
      const hidden = frames().hidden.slice(0, frames().width);
      const run = (forced: number) => {
        const codes = new Int32Array(CODES_PER_FRAME);
        const last = new Float32Array(bundleOf(checkpoint).manifest.shape.codes);
        predictor.predict(1, hidden, codes, (_row, group, logits) => {
          if (group === GROUPS) last.set(logits);
          return group === 1 ? forced : 0;
        });
        expect(Array.from(codes)).toEqual([0, forced, ...Array(GROUPS - 1).fill(0)]);
        return last;
      };
      expect(maxDifference(run(11), run(12))).toBeGreaterThan(MAX_LOGIT_ERROR);
    });
  }
}
