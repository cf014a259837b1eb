// What became of a book: one line on stderr, or the same as one JSON object on stdout.

import type { Rendered } from "../../fleet/render/render.ts";
import { isStdout, printText } from "../../io/output.ts";
import { log } from "../shared/log.ts";
import type { SoundOutput } from "../shared/sound-output.ts";

interface Facts {
  audioSeconds: number;
  wallSeconds: number;
  seed: number;
  model: string;
}

const round = (value: number) => Math.round(1000 * value) / 1000;

export async function report(outcome: Rendered, { json, path }: SoundOutput, facts: Facts): Promise<void> {
  const { cut, found, made, repairs, sentences } = outcome;
  if (cut > 0)
    log.warn(`${cut} of ${sentences} sentences reached the frame limit, or went wrong and were cut`);
  const { audioSeconds, model, seed, wallSeconds } = facts;
  const rtf = wallSeconds / audioSeconds;
  const here = made.get("") ?? 0;
  const boards = [...made].filter(([name]) => name !== "").toSorted(([, a], [, b]) => b - a);
  if (json) {
    const times = { audioSeconds: round(audioSeconds), wallSeconds: round(wallSeconds), rtf: round(rtf) };
    const counts = { sentences, found, here, boards: Object.fromEntries(boards), repairs, cut };
    return printText(`${JSON.stringify({ ...times, ...counts, model, seed })}\n`);
  }
  const parts = [
    ...(found > 0 ? [`${found} from before`] : []),
    ...boards.map(([name, count]) => `${count} by ${name}`),
    ...(here > 0 ? [`${here} here`] : []),
  ];
  const target = path !== null && isStdout(path) ? "stdout" : path;
  log.info(
    `${target}: ${audioSeconds.toFixed(2)} s of sound in ${wallSeconds.toFixed(2)} s (RTF ${rtf.toFixed(3)}), ` +
      `${sentences} sentence${sentences === 1 ? "" : "s"}: ${parts.join(", ")}; seed ${seed}${repairs > 0 ? `; ${repairs} said again` : ""}`,
  );
}
