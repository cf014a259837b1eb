// Ogg pages by RFC 3533: packets of one logical stream, with a checksum that shows readers where a page is
// damaged. Pure.

const HEADER_BYTES = 27;
const FLAG = { first: 2, last: 4 } as const;
const CHECKSUM_AT = 22;
/** A segment of fewer bytes ends a packet. */
const SEGMENT_BYTES = 255;
const MOST_SEGMENTS = 255;
/** Tells streams in one file apart; a file has one here. It never changes: same sound, same bytes. */
const SERIAL = 0x545453;

/** The checksum's table: the polynomial 04c11db7, highest bit first. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte << 24;
  for (let bit = 0; bit < 8; bit++) value = (value << 1) ^ (value < 0 ? 0x04c11db7 : 0);
  return value;
});

export class OggStream {
  private pages = 0;

  /**
   * One page of whole packets; all of them together fit into {@link MOST_SEGMENTS} segments.
   * @param granule where the sound is at the end of the page, in the units of the codec
   */
  page(packets: readonly Uint8Array[], granule: number, isLast = false): Uint8Array {
    const segments = packets.flatMap(({ length }) => [
      ...Array<number>(Math.floor(length / SEGMENT_BYTES)).fill(SEGMENT_BYTES),
      length % SEGMENT_BYTES,
    ]);
    if (segments.length > MOST_SEGMENTS) throw new RangeError(`${segments.length} segments in an Ogg page`);
    const head = Buffer.alloc(HEADER_BYTES + segments.length);
    head.write("OggS", 0, "latin1");
    head[5] = (this.pages === 0 ? FLAG.first : 0) | (isLast ? FLAG.last : 0);
    head.writeBigInt64LE(BigInt(granule), 6);
    head.writeUInt32LE(SERIAL, 14);
    head.writeUInt32LE(this.pages++, 18);
    head[26] = segments.length;
    head.set(segments, HEADER_BYTES);
    const page = Buffer.concat([head, ...packets]);
    page.writeUInt32LE(checksum(page), CHECKSUM_AT);
    return page;
  }
}

function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (const byte of bytes) sum = (sum << 8) ^ TABLE[(sum >>> 24) ^ byte];
  return sum >>> 0;
}
