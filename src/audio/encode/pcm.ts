// Raw 16-bit samples.

import { toS16le } from "../pcm.ts";
import type { Codec } from "./encoder.ts";

const NOTHING = new Uint8Array(0);

/** Keeps nothing back. */
export class PcmCodec implements Codec {
  head(_samples: number | null): Uint8Array {
    return NOTHING;
  }

  encode(samples: Float32Array): Uint8Array {
    return toS16le(samples);
  }

  flush(): Uint8Array {
    return NOTHING;
  }

  free(): void {}
}
