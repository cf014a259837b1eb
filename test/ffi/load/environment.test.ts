// C's environment must be complete before threads exist: setenv beside a getenv of another thread crashes.

import { describe, expect, test } from "bun:test";
import { ROOT } from "../../_support.ts";

const NAMES = ["GGML_NO_BACKTRACE", "ORT_DISABLE_TELEMETRY", "RKNN_LOG_LEVEL"];
/** Prints which of the variables C has before and after the first thread of this program is started. */
const SCRIPT = `
  import { environmentHas } from "./ffi/libc.ts";
  import { startWorker } from "./src/worker.ts";
  const present = () => ${JSON.stringify(NAMES)}.filter(environmentHas);
  const before = present();
  startWorker("probe", {}).on("error", () => {});
  console.log(JSON.stringify({ before, after: present() }));
  process.exit(0);
`;

function presentIn(variables: Record<string, string>): unknown {
  const env = { ...process.env, ...variables };
  for (const name of NAMES) if (!(name in variables)) delete env[name];
  const { stdout } = Bun.spawnSync([process.execPath, "-e", SCRIPT], { cwd: ROOT, env });
  return JSON.parse(stdout.toString());
}

describe("the variables for native libraries", () => {
  test("are set when the first thread starts, by the thread that starts it", () => {
    expect(presentIn({})).toEqual({ before: [], after: NAMES });
  });

  test("stay as the user set them", () => {
    expect(presentIn({ RKNN_LOG_LEVEL: "3" })).toEqual({ before: ["RKNN_LOG_LEVEL"], after: NAMES });
  });
});
