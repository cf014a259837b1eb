// Medians of speaking one sentence with the starter voice, both predictor backends. Run by `make bench`; prints, never judges.

import { open, type Summary } from "../src/engine.ts";

const TEXT = "The kettle is ready. The time is seven forty five.";
const RUNS = 9;

const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1];

async function measure(predictor: "llama" | "ort"): Promise<void> {
  const before = performance.now();
  const engine = await open({ predictor });
  const openMs = performance.now() - before;
  const runs: Summary[] = [];
  for (let run = 0; run <= RUNS; run++) {
    const speech = engine.speak(TEXT, { greedy: true, seed: 1 });
    for await (const _ of speech);
    if (run > 0) runs.push(speech.summary()); // the first one warms up
  }
  await engine.close();
  const of = (pick: (summary: Summary) => number) => median(runs.map(pick)).toFixed(3);
  const stages = `talker ${of((s) => s.msPerFrame.talker)}, predictor ${of((s) => s.msPerFrame.predictor)}, vocoder ${of((s) => s.msPerFrame.vocoder)}`;
  console.log(
    `predictor ${predictor}: open ${openMs.toFixed(0)} ms, RTF ${of((s) => s.rtf)}, first audio ${of((s) => s.firstAudioMs)} ms, ms per frame: ${stages}`,
  );
}

console.log(`medians of ${RUNS} runs: ${TEXT}`);
await measure("llama");
await measure("ort");
