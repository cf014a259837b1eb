// The vocoder: turns codes into samples, chunk by chunk. Chunk sizes depend only on the place in the
// sentence, so the same codes give the same bytes. Synchronous, without transport. Nothing is allocated per
// frame.

import { openBackend } from "../backends/open.ts";
import type { Opened, OpenOptions, Vocoder, VocoderMemory } from "../backends/stage.ts";
import { VOCODERS } from "../backends/vocoder/index.ts";
import { REMEMBERED_REFERENCES, VOCODER_CHUNK_FRAMES } from "../config.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../types.ts";

export class VocoderStage {
  readonly opened: Opened<Vocoder>;
  /** i32 [4, 16]: the codes of the next chunk go here. */
  readonly codes = new Int32Array(VOCODER_CHUNK_FRAMES * CODES_PER_FRAME);
  /** f32 [1920] each, of the last chunk. */
  readonly frames: readonly Float32Array[];
  private readonly vocoder: Vocoder;
  /** Chunks decoded in each lane since its start. */
  private readonly chunks: number[];
  /** Key of a reference -> what the vocoder remembers of it; the oldest goes first. */
  private readonly heard = new Map<string, VocoderMemory>();
  private readonly samples = new Float32Array(
    new SharedArrayBuffer(4 * VOCODER_CHUNK_FRAMES * SAMPLES_PER_FRAME),
  );
  /** The samples of chunks of 0, 1, 2 ... frames. */
  private readonly views: readonly Float32Array[];

  /** @throws TtsError as opening a vocoder does */
  constructor(options: OpenOptions) {
    const view = (from: number, to: number) =>
      this.samples.subarray(from * SAMPLES_PER_FRAME, to * SAMPLES_PER_FRAME);
    this.frames = Array.from({ length: VOCODER_CHUNK_FRAMES }, (_, i) => view(i, i + 1));
    this.views = Array.from({ length: VOCODER_CHUNK_FRAMES + 1 }, (_, i) => view(0, i));
    this.chunks = Array.from({ length: options.lanes }, () => 0);
    this.opened = openBackend(VOCODERS, options.config.vocoder, options);
    this.vocoder = this.opened.stage;
  }

  /** Lets a lane forget what it has heard. */
  begin(lane: number): void {
    this.vocoder.reset(lane);
    this.chunks[lane] = 0;
  }

  /**
   * Lets a lane hear a reference, so that the speech goes on from it; its sound is thrown away. The vocoder
   * remembers it.
   * @param key same key, same codes
   * @param codes i32 [frames, 16]
   * @param goesOn asked before every chunk; on false, the lane has heard only the beginning
   */
  hear(lane: number, key: string, codes: Int32Array, goesOn: () => boolean): void {
    const known = this.heard.get(key);
    if (known !== undefined) {
      this.vocoder.restore(lane, known);
      return;
    }
    const frames = codes.length / CODES_PER_FRAME;
    for (let from = 0; from < frames; from += VOCODER_CHUNK_FRAMES) {
      if (!goesOn()) return;
      const count = Math.min(VOCODER_CHUNK_FRAMES, frames - from);
      this.vocoder.decode(lane, codes.subarray(from * CODES_PER_FRAME), count, this.samples);
    }
    if (this.heard.size >= REMEMBERED_REFERENCES) this.heard.delete(this.heard.keys().next().value!);
    this.heard.set(key, this.vocoder.save(lane));
  }

  /** Frames that a lane's next chunk has, unless the sentence ends before. */
  chunkFrames(lane: number): number {
    const { chunks } = this.vocoder;
    return chunks[Math.min(this.chunks[lane], chunks.length - 1)];
  }

  /** Whether {@link start} does anything. */
  get overlaps(): boolean {
    return this.vocoder.begin !== undefined;
  }

  /** Begins a lane's next chunk, the first `frames` frames of {@link codes}, beside those of other lanes. */
  start(lane: number, frames: number): void {
    this.vocoder.begin?.(lane, this.codes, frames);
  }

  /**
   * Decodes the first `frames` frames of {@link codes}: a lane's next chunk.
   * @returns f32 [frames * 1920], as {@link frames}, valid until the next call
   */
  decode(lane: number, frames: number): Float32Array {
    this.vocoder.decode(lane, this.codes, frames, this.samples);
    this.chunks[lane]++;
    return this.views[frames];
  }

  close(): void {
    this.vocoder.close();
  }
}
