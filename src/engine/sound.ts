// The filters that programs may put behind a speech. A filter takes the samples in order with push(), which
// gives what is ready, and end() gives the rest.

export type { Filter } from "../audio/filters/filter.ts";
export { loudnessFilter } from "../audio/filters/loudness.ts";
export { speedFilter } from "../audio/filters/speed.ts";
