// Silence before the sound: some sinks, such as Bluetooth and HDMI, wake up late and cut the first word.

import { joined } from "../../io/bytes.ts";
import type { Filter } from "./filter.ts";

/** Silence goes out with the first samples, so that it costs no push of its own. */
export function lead(milliseconds: number, rateHz: number): Filter {
  let silence: Float32Array = new Float32Array(Math.round((milliseconds / 1000) * rateHz));
  return {
    push(samples) {
      if (silence.length === 0 || samples.length === 0) return samples;
      const all = joined([silence, samples]);
      silence = new Float32Array(0);
      return all;
    },
    end: () => new Float32Array(0),
    moved: (seconds) => seconds + (silence.length === 0 ? milliseconds / 1000 : 0),
  };
}
