// A code predictor on a card hangs, or cannot draw as it is asked to, while the rest of the pipeline runs.
// Runs on the stand-in for the card's library.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { npuFolderOf } from "../../_npu.ts";
import { compiler, compileStandIns, noCompiler, standInEnvironment } from "../../_standins.ts";
import { bundleOf, patientSeconds, ROOT } from "../../_support.ts";

const PATIENCE_S = patientSeconds(2);

describe.skipIf(compiler === null)(`with a code predictor on a card${noCompiler}`, () => {
  /**
   * Runs `script`, which gets an `engine`, in a process of its own, so that a call that hangs ends with the
   * process.
   */
  async function said(fault: string, script: string): Promise<string> {
    const bundle = bundleOf("starter");
    const options = {
      predictor: "axcl",
      vocoder: "ort",
      stageTimeoutMs: 1_000 * PATIENCE_S,
      model: bundle.directory,
      npu: npuFolderOf(bundle, "axcl"),
    };
    const program = `
      import { open } from ${JSON.stringify(join(ROOT, "src/engine.ts"))};
      const engine = await open(${JSON.stringify(options)});
      const outcome = (speech) => Array.fromAsync(speech).then(() => "spoken", ({ code, message }) => code + " " + message);
      ${script}
      process.exit(0);`;
    const env = {
      ...process.env,
      ...standInEnvironment({ TTS_LIBAXCL: compileStandIns().axcl, TTS_NPU_FAULT: fault }),
    };
    const child = Bun.spawn([process.execPath, "-e", program], { env, stdout: "pipe", stderr: "inherit" });
    return new Response(child.stdout).text();
  }

  test("a hang is reported although the vocoder is busy with other things", async () => {
    const script = `
      const speech = outcome(engine.speak("The kettle is ready.", { greedy: true }));
      let isTold = false;
      speech.then(() => { isTold = true; });
      try {
        while (!isTold) await outcome(engine.decode(new Int32Array(16 * 20)));
      } catch {} // the engine may be down before the speech says so
      console.log(await speech);`;
    expect(await said("axclrtEngineExecute:hang:6", script)).toStartWith(
      `STAGE_TIMEOUT the predictor (axcl) has given no sign for ${PATIENCE_S} s`,
    );
  });

  test("sampling that it cannot do is refused to one speech, and the others go on", async () => {
    const script = `
      try { engine.speak("Hello.", { sampling: { predictor: { topP: 0.9 } } }); } catch ({ code, message }) { console.log(code, message); }
      console.log(await outcome(engine.speak("Hello.", { greedy: true, sampling: { predictor: { topP: 0.9 } } })));
      console.log(await outcome(engine.speak("Hello.", { seed: 1 })));`;
    expect(await said("", script)).toMatch(
      /^MODEL_UNSUITABLE .* cannot draw with top-p 0\.9\nspoken\nspoken\n$/,
    );
  });
});
