// Long texts: sentences side by side give the order and every bit of one after the other, and memory does not
// grow with the text.

import { expect, test } from "bun:test";
import { open } from "../../src/engine.ts";
import { bundleOf, patient } from "../_support.ts";

/** Sentences, paragraphs and pauses; one passage has nothing to say. */
function longText(): string {
  const parts = Array.from({ length: 40 }, (_, i) => {
    const sentence = ["No.", "Go on.", "Me?", "Ten!", "We do."][i % 5];
    return `${sentence}${i % 7 === 3 ? " [pause 20ms]" : ""}${i % 9 === 4 ? "\n\n" : " "}`;
  });
  parts.splice(20, 0, "[pause 50ms]\n\n<p> </p>[pause 40ms]");
  // the lanes of the long ones go on with a free lane in between
  return `${parts.join("")}\n\nThe kettle is ready. No. The door is open now. No.`;
}

async function spoken(talker: "llama" | "ort", lanes: number) {
  await using engine = await open({ model: bundleOf("starter").directory, talker, lanes });
  const speech = engine.speak(longText(), { seed: 3, pauses: { sentenceMs: 5, paragraphMs: 10 } });
  const [sound, codes] = [new Bun.CryptoHasher("sha256"), new Bun.CryptoHasher("sha256")];
  const [order, textAt]: number[][] = [[], []];
  for await (const chunk of speech) {
    sound.update(chunk.samples);
    codes.update(chunk.codes);
    order.push(chunk.sentence);
    textAt.push(...chunk.textAt);
  }
  const { audioSeconds, frames, repairs, stop } = speech.summary();
  const hashes = [sound, codes].map((hash) => hash.digest("hex"));
  return {
    hashes,
    order: [...new Set(order)],
    textAt,
    audioSeconds,
    frames,
    repairs,
    stop,
    words: speech.words,
  };
}

test.each(["llama", "ort"] as const)(
  "four lanes on %s say 44 sentences as one lane does, to the bit",
  async (talker) => {
    const [one, four] = [await spoken(talker, 1), await spoken(talker, 4)];
    expect(one.order).toEqual(Array.from({ length: 44 }, (_, i) => i));
    expect(four).toEqual(one);
  },
  patient(20_000),
);
