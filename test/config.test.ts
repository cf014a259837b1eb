// Settings: where defaults come from, and what they are on machines of several sizes.

import { expect, test } from "bun:test";
import { generationThreads, loadConfig, threadsFor } from "../src/config.ts";

test.each([
  [1, 1],
  [2, 1],
  [4, 3],
  [8, 4],
  [64, 4],
])("of %d fast cores talker and predictor share %d, so that the vocoder has one", (cores, threads) => {
  expect(generationThreads(cores)).toBe(threads);
});

test("a narrow talker has one thread, whatever the machine", () => {
  const config = loadConfig({ threads: 3 });
  expect([256, 511, 1_024].map((hidden) => threadsFor(hidden, config).threads)).toEqual([1, 1, 3]);
});

test("flags go before the environment, and the environment before defaults", () => {
  expect(loadConfig({ cacheDir: "/a" }, { TTS_CACHE: "/b" }).cacheDir).toBe("/a");
  expect(loadConfig({}, { TTS_CACHE: "/b", XDG_CACHE_HOME: "/c" }).cacheDir).toBe("/b");
  expect(loadConfig({}, { XDG_CACHE_HOME: "/c" }).cacheDir).toBe("/c/qwen3-tts");
});
