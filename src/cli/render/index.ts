// tts render: speaks a book into a file, on whichever boards are idle, or on this machine.

import { join } from "node:path";
import { TtsError } from "../../errors.ts";
import { loadServer } from "../../fleet/settings.ts";
import { type CommandData, defineCommand } from "../shared/command.ts";
import { FLEET_SECTIONS } from "../shared/fleet-options.ts";
import { logError } from "../shared/log.ts";
import { onFirstSignal } from "../shared/signals.ts";
import { RENDER_OPTIONS, type RenderValues, readRenderOutput } from "./_options.ts";
import { enter, inTurn, jobFor, openFor, readOrder, renderInto } from "./_work.ts";

export const command = defineCommand({
  brief: "speak a book into a file, on many boards or on this machine",
  synopsis: "render [OPTIONS] FILE",
  description: [
    "Speaks a UTF-8 file of up to 20 MB, or standard input for -, and joins its sentences in order. With a hub (--fleet) they are spoken by whichever boards of the same kind are idle: the same program, model, pronunciation lists and kind of processor. The file is the same, to the byte, as that of tts -i FILE --seed N on one of them.",
    "Without a hub, where no board takes a sentence in 10 s, or when all boards have gone, this machine speaks. A board that goes in the middle of a sentence costs nothing but time.",
    "Finished sentences wait in the cache folder: the same command goes on where an earlier one was ended, with or without a hub.",
  ],
  examples: [
    ["tts render book.txt -o book.wav", "on the boards of the hub that TTS_FLEET names, or here"],
    ["tts render book.txt -o book.opus --speed 1.1 --paragraph-pause 600", "formats and pauses as for tts"],
    ["tts render --fleet nats://hub:4222 -s ryan -m 0.6b book.txt -o book.flac", "boards with this model"],
  ],
  sections: {
    ...FLEET_SECTIONS,
    FILES: [
      ...FLEET_SECTIONS.FILES,
      "~/.cache/qwen3-tts/render\nSentences of books that are not complete, for 14 days after the last one. You may delete it.",
    ],
  },
  options: RENDER_OPTIONS,
  run,
});

async function run(args: RenderValues, { positionals }: CommandData): Promise<void> {
  const [path, ...more] = positionals;
  if (path === undefined || more.length > 0)
    throw new TtsError("USAGE", `render takes one file, not ${positionals.length}`, "tts render FILE -o OUT");
  const output = readRenderOutput(args);
  loadServer("fleet", args.fleet); // a wrong address is told before any work
  const order = await readOrder(args, path);
  const engine = await openFor(order, args);
  const job = jobFor(order, engine);
  await inTurn(join(order.base.cacheDir, "render"), job.id, async () => {
    const fleet = await enter(args.fleet);
    const { signal, status } = endedBySignals();
    try {
      await renderInto({ order, job, engine, output, trims: args["trim-start"] === true, fleet, signal });
    } catch (error) {
      if (!signal.aborted) throw error;
      logError(signal.reason);
      process.exit(status());
    } finally {
      await fleet?.hub.close();
    }
  });
  await engine.close();
}

/** The first signal lets the hub forget the book; a second one ends the process at once. */
function endedBySignals(): { signal: AbortSignal; status(): number } {
  const ending = new AbortController();
  let ended = 0;
  onFirstSignal((status) => {
    ended = status;
    ending.abort(new TtsError("CANCELLED", "the render was ended", "the same command goes on from here"));
  });
  return { signal: ending.signal, status: () => ended };
}
