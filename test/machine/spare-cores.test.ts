// How many threads compute goes by how many others run, and no bit of a short sentence goes by it.

import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { talkerLlama } from "../../src/backends/talker/llama.ts";
import { SpareCores } from "../../src/machine/spare-cores.ts";
import { bundleNamed, openOptions, STARTER, scratchFolder, sharedFloats } from "../_support.ts";

function spareWith(load: string, cores: number): SpareCores {
  const folder = join(scratchFolder(), "load");
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${Bun.hash(load)}`);
  writeFileSync(path, load);
  return new SpareCores(path, cores);
}

test.each([
  ["0.31 0.43 0.40 1/412 9012\n", 2, 2, 2],
  ["0.31 0.43 0.40 2/412 9012\n", 2, 2, 1],
  ["11.31 9.43 7.40 17/1412 129012\n", 2, 2, 1],
  ["11.31 9.43 7.40 6/1412 129012\n", 8, 4, 3],
  ["0.00 0.00 0.00 1/1 1\n", 2, 64, 2],
  ["0.00 0.00 0.00 0/1 1\n", 4, 4, 4],
])("%j on %d cores: of %d threads %d compute", (load, cores, wanted, threads) => {
  const spare = spareWith(load, cores);
  expect(spare.threads(wanted)).toBe(threads);
  expect(spare.threads(1)).toBe(1);
  spare.close();
});

test("where nothing tells, all compute", () => {
  const spare = new SpareCores(join(scratchFolder(), "no-such-file"), 2);
  expect(spare.threads(3)).toBe(3);
  spare.close();
});

test("the bits of the first 255 positions do not depend on the number of threads", () => {
  const bundle = bundleNamed("starter-q4_0", STARTER, "q4_0");
  const states = [1, 2, 3].map((threads) => {
    const talker = talkerLlama.open(openOptions(bundle, 1, { threads }));
    const rows = sharedFloats(60 * talker.hidden);
    for (let i = 0; i < rows.length; i++) rows[i] = Math.sin(i * 0.37);
    const [hidden, logits] = [sharedFloats(talker.hidden), sharedFloats(talker.codecVocabulary)];
    talker.prefill(0, rows, 0, 60, hidden, logits, true);
    const hash = new Bun.CryptoHasher("sha256");
    for (let position = 60; position < 255; position++) {
      talker.step(Int32Array.of(0), 1, rows, hidden, logits);
      hash.update(hidden).update(logits);
      rows.copyWithin(0, talker.hidden); // other inputs next time
    }
    talker.close();
    return hash.digest("hex");
  });
  expect(new Set(states).size).toBe(1);
});
