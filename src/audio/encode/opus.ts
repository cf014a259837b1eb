// Ogg Opus by RFC 7845, with libopus. The granule positions make decoders leave out what the encoder adds in
// front and behind, in streams too: twice the samples of 24 kHz come out at 48 kHz, neither more nor less.

import {
  Application,
  createEncoder,
  loadLibopus,
  type OpusEncoderHandle,
  type SampleRate,
} from "libopus-wasm";
import { OggStream } from "./_ogg.ts";
import { type Codec, inOne } from "./encoder.ts";

/** libopus leaves its speech mode for the exact one from here on, too. */
const BITS_PER_SECOND = 64_000;
/** Positions count samples of this rate, whatever the rate of the input. */
const GRANULE_HZ = 48_000;
const PACKETS_PER_SECOND = 50;
/** Fixed, so that the same sound gives the same bytes in whatever pieces it comes. */
const PACKETS_PER_PAGE = 2;
/** The longest that a packet of one frame may be. */
const MOST_PACKET_BYTES = 1275;

export async function openOpus(rateHz: number): Promise<Codec> {
  const encoder = await createEncoder({
    channels: 1,
    sampleRate: rateHz as SampleRate,
    frameSize: rateHz / PACKETS_PER_SECOND,
    // without the speech mode, which shifts the sound by a part of a sample and takes three times as long
    application: Application.RestrictedLowDelay,
    bitrate: BITS_PER_SECOND,
  });
  return new OpusCodec(encoder, (await loadLibopus()).version);
}

class OpusCodec implements Codec {
  private readonly pages = new OggStream();
  private readonly headers: Uint8Array;
  /** The samples of the next packet, and how many of them are there. */
  private readonly packet: Float32Array;
  private filled = 0;
  private packets = 0;
  /** Packets of the next page. */
  private waiting: Uint8Array[] = [];

  constructor(
    private readonly encoder: OpusEncoderHandle,
    libopus: string,
  ) {
    const { frameSize, sampleRate } = encoder;
    this.packet = new Float32Array(frameSize);
    const heads = [opusHead(this.granulesOf(encoder.getLookahead()), sampleRate), opusTags(libopus)];
    this.headers = Buffer.concat(heads.map((head) => this.pages.page([head], 0)));
  }

  /** The end stands on the last page, so nothing changes. */
  head(): Uint8Array {
    return this.headers;
  }

  encode(samples: Float32Array): Uint8Array {
    const ready: Uint8Array[] = [];
    for (let from = 0; from < samples.length; ) {
      const count = Math.min(this.packet.length - this.filled, samples.length - from);
      this.packet.set(samples.subarray(from, from + count), this.filled);
      this.filled += count;
      from += count;
      if (this.filled < this.packet.length) break;
      this.encodePacket();
      if (this.waiting.length === PACKETS_PER_PAGE) ready.push(this.nextPage(this.encoded));
    }
    return inOne(ready);
  }

  /** The last samples leave the encoder only behind as many others as it looks ahead. */
  flush(): Uint8Array {
    const end = this.encoded + this.filled + this.encoder.getLookahead();
    while (this.encoded < end) {
      this.packet.fill(0, this.filled);
      this.encodePacket();
    }
    return this.nextPage(end, true);
  }

  free(): void {
    this.encoder.free();
  }

  private get encoded(): number {
    return this.packets * this.packet.length;
  }

  private encodePacket(): void {
    this.filled = 0;
    this.packets++;
    this.waiting.push(this.encoder.encodeFloat(this.packet, { maxPacketBytes: MOST_PACKET_BYTES }));
  }

  /** @param end the samples that a decoder has given after it, counted from the first packet */
  private nextPage(end: number, isLast = false): Uint8Array {
    const page = this.pages.page(this.waiting, this.granulesOf(end), isLast);
    this.waiting = [];
    return page;
  }

  private granulesOf(samples: number): number {
    return (samples * GRANULE_HZ) / this.encoder.sampleRate;
  }
}

/** @param preSkip what decoders leave out in front, in samples of 48 kHz */
function opusHead(preSkip: number, rateHz: number): Uint8Array {
  const head = Buffer.alloc(19);
  head.write("OpusHead", 0, "latin1");
  head[8] = 1; // version
  head[9] = 1; // channels
  head.writeUInt16LE(preSkip, 10);
  head.writeUInt32LE(rateHz, 12);
  return head; // no gain, one channel
}

/** Names the library, as the format wants it, and has no comments. */
function opusTags(vendor: string): Uint8Array {
  const tags = Buffer.alloc(8 + 4 + vendor.length + 4);
  tags.write("OpusTags", 0, "latin1");
  tags.writeUInt32LE(vendor.length, 8);
  tags.write(vendor, 12, "latin1");
  return tags;
}
