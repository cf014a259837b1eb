// A cloned voice for tests.

import type { Voice } from "../../src/formats/voice.ts";

export const anna: Voice = {
  name: "anna",
  text: "The quick brown fox.",
  xVector: Float32Array.from({ length: 96 }, (_, i) => Math.fround(Math.sin(i) / 3)),
  codes: Int32Array.from({ length: 32 }, (_, i) => i),
  codebookSize: 256,
  provenance: {
    model: "m",
    modelSha256: "",
    codecSha256: "",
    recordingSha256: "",
    recordingSeconds: 1,
    tailSilenceSeconds: 0.5,
    made: "2026-01-01T00:00:00.000Z",
  },
};
