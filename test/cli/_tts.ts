// Runs the program as a user does, for the tests of the command line.

import { type SpawnOptions, spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { bundleOf, type GoldenCase, ROOT, scratchFolder } from "../_support.ts";

export const newFolder = () => mkdtempSync(join(scratchFolder(), "cli-"));

/** What a shell finds: `$TTS` is the program and `$STARTER` its voice, as a bundle. */
export const environment = () => ({
  PATH: process.env.PATH,
  TTS_CACHE: join(scratchFolder(), "cache"),
  TTS_CONFIG: join(scratchFolder(), "config"),
  TTS: `${process.execPath} ${join(ROOT, "tts.ts")}`,
  STARTER: bundleOf("starter").directory,
});

/** A command line of a shell, in {@link environment}. */
export function shell(
  command: string,
  cwd: string,
  options: SpawnOptions = {},
): Promise<{ status: number; stdout: string; stderr: string }> {
  const env = environment();
  const child = spawn("bash", ["-c", command], { cwd, env, stdio: ["ignore", "pipe", "pipe"], ...options });
  let [stdout, stderr] = ["", ""];
  child.stdout?.on("data", (chunk) => {
    stdout += chunk.toString("latin1");
  });
  child.stderr?.on("data", (chunk) => {
    stderr += chunk;
  });
  return new Promise((resolve) =>
    child.on("close", (status) => resolve({ status: status ?? -1, stdout, stderr })),
  );
}

/** Arguments with which the program says what the official implementation said. */
export function goldenArgs({
  instruct,
  language,
  max_new_tokens,
  non_streaming_mode = true,
  speaker,
  text,
}: GoldenCase): string[] {
  const args = [text, "-l", language, "--greedy", "--max-frames", String(max_new_tokens - 1)];
  args.push("--text-mode", non_streaming_mode ? "whole" : "stream");
  if (speaker !== undefined) args.push("-s", speaker || "none");
  if (instruct !== undefined) args.push("--instruct", instruct);
  return args;
}
