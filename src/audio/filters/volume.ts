// Makes sound quieter by one factor: the same with every player, whatever its own volume is called.

import type { Filter } from "./filter.ts";

/** @param factor 0 to 1 */
export const volume = (factor: number): Filter => ({
  push: (samples) => samples.map((sample) => sample * factor),
  end: () => new Float32Array(0),
});
