// The vocoder's side of the wire, little endian: i32 n + i64 [n, 16] -> i32 samples + i16 [samples], any
// number of times on a connection. Every request starts afresh; its sound is sent as it is made. A request
// that cannot be decoded ends the connection before the first byte of an answer.

import { toS16le } from "../../audio/pcm.ts";
import { standalone } from "../../backends/stage.ts";
import { TtsError } from "../../errors.ts";
import type { Bundle } from "../../formats/bundle.ts";
import { assertCodes } from "../../formats/codes.ts";
import { VocoderStage } from "../../stages/vocoder.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../../types.ts";
import { Lanes } from "./_lanes.ts";
import type { Peer } from "./_peer.ts";
import { type Signs, type StageService, type StageStart, turn, wordOf } from "./_wire.ts";

/** Most frames of one request: 13 minutes of sound. */
const MOST_FRAMES = 10_000;
/** Codes are read in pieces of this many frames. */
const PIECE_FRAMES = 64;

export class VocoderService implements StageService {
  readonly opened: StageService["opened"];
  private readonly vocoder: VocoderStage;
  private readonly lanes: Lanes;
  private readonly codeLimit: number;

  constructor(bundle: Bundle, { config, patienceMs }: StageStart, signs: Signs) {
    this.vocoder = new VocoderStage({
      ...standalone(bundle, config, config.lanes),
      onOpening: signs.opening,
    });
    this.opened = this.vocoder.opened;
    this.lanes = new Lanes(config.lanes, patienceMs, (peer) => peer.hasGone);
    this.codeLimit = bundle.manifest.shape.codes;
  }

  async serve(peer: Peer): Promise<void> {
    try {
      for (let codes = await this.readCodes(peer); codes !== null; codes = await this.readCodes(peer)) {
        const lane = await this.lanes.take(peer);
        try {
          await this.decode(peer, lane, codes);
        } finally {
          this.lanes.release(lane);
        }
      }
    } finally {
      peer.leave();
    }
  }

  private async decode(peer: Peer, lane: number, codes: Int32Array): Promise<void> {
    const frames = codes.length / CODES_PER_FRAME;
    await peer.write(wordOf(frames * SAMPLES_PER_FRAME));
    this.vocoder.begin(lane);
    for (let from = 0; from < frames; ) {
      const count = Math.min(this.vocoder.chunkFrames(lane), frames - from);
      this.vocoder.codes.set(codes.subarray(from * CODES_PER_FRAME, (from + count) * CODES_PER_FRAME));
      await peer.write(toS16le(this.vocoder.decode(lane, count)));
      from += count;
      await turn(); // others have chunks too
    }
  }

  /**
   * i32 [n, 16]
   * @returns null when the client has no more
   * @throws TtsError REQUEST_INVALID, CODES_INVALID, and what reading throws
   */
  private async readCodes(peer: Peer): Promise<Int32Array | null> {
    const header = new Int32Array(1);
    if (!(await peer.read(new Uint8Array(header.buffer), "a count"))) return null;
    const [frames] = header;
    if (!(frames >= 1 && frames <= MOST_FRAMES))
      throw new TtsError(
        "REQUEST_INVALID",
        `the request claims ${frames} frames`,
        `1 to ${MOST_FRAMES} can be decoded at once`,
      );
    const codes = new Int32Array(frames * CODES_PER_FRAME);
    const piece = new BigInt64Array(Math.min(frames, PIECE_FRAMES) * CODES_PER_FRAME);
    for (let at = 0; at < codes.length; at += piece.length) {
      const count = Math.min(piece.length, codes.length - at);
      const whole = await peer.read(new Uint8Array(piece.buffer, 0, 8 * count), "the codes");
      if (!whole)
        throw new TtsError("REQUEST_INVALID", `the connection ended after ${at} of ${codes.length} codes`);
      assertCodes(piece.subarray(0, count), this.codeLimit, { first: at });
      for (let i = 0; i < count; i++) codes[at + i] = Number(piece[i]);
    }
    return codes;
  }

  look(): void {
    this.lanes.look();
  }
}
