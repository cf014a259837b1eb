// How long a sentence keeps each talker of a bundle busy on this machine.

import type { OpenOptions, Talker } from "../backends/stage.ts";
import { TALKERS } from "../backends/talker/index.ts";
import { BUNDLE_FILES } from "../formats/bundle.ts";

/** A sentence of 3 seconds. */
const PROMPT_ROWS = 48;
const FRAMES = 40;
/** At least so many rounds, and so long: a busy machine disturbs most of them. */
const LEAST_ROUNDS = 3;
const LEAST_MS = 150;
/** Steps that are timed of a round; they stand for all frames. */
const STEPS = 8;

/** Backend -> milliseconds per frame, the prompt shared out among the frames, of the backends it is for. */
export function measureTalkers(options: OpenOptions): Record<string, number> {
  const { files } = options.bundle.manifest;
  const results: Record<string, number> = {};
  for (const backend of TALKERS) {
    if (!Object.hasOwn(files, BUNDLE_FILES[backend.file!])) continue;
    const talker = backend.open(options);
    try {
      results[backend.name] = Math.round(1_000 * frameMs(talker)) / 1_000;
    } finally {
      talker.close();
    }
  }
  return results;
}

/** The least of many times: other programs can only make it slower. */
function frameMs(talker: Talker): number {
  const floats = (length: number) => new Float32Array(new SharedArrayBuffer(4 * length));
  const rows = floats(PROMPT_ROWS * talker.hidden);
  for (let i = 0; i < rows.length; i++) rows[i] = Math.sin(i);
  const [hidden, logits] = [floats(talker.hidden), floats(talker.codecVocabulary)];
  const lanes = Int32Array.of(0);
  let [promptMs, stepMs] = [Number.MAX_VALUE, Number.MAX_VALUE];
  const endMs = performance.now() + LEAST_MS;
  for (let round = 0; round < LEAST_ROUNDS || performance.now() < endMs; round++) {
    const beginMs = performance.now();
    talker.prefill(0, rows, 0, PROMPT_ROWS, hidden, logits, true);
    promptMs = Math.min(promptMs, performance.now() - beginMs);
    for (let step = 0; step < STEPS; step++) {
      const before = performance.now();
      talker.step(lanes, 1, rows, hidden, logits);
      stepMs = Math.min(stepMs, performance.now() - before);
    }
  }
  return promptMs / FRAMES + stepMs;
}
