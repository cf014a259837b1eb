// Reads from a shared library which versions of symbols it needs from other libraries, and which it offers.
// Touches nothing but the file.

import { closeSync, openSync, readSync } from "node:fs";

export interface ElfFacts {
  /** Number of the processor: 62 is x86-64, 183 is AArch64. */
  machine: number;
  /** library -> versions, such as libc.so.6 -> GLIBC_2.17, GLIBC_2.34 */
  needs: Map<string, string[]>;
  /** Versions that others may ask for. */
  offers: string[];
}

const HEADER_BYTES = 64;
const SECTION_BYTES = 64;
/** Limits far above the number and size of the sections in a real library. */
const MOST_SECTIONS = 1_000;
const MOST_BYTES = 1 << 20;
const MOST_NAME_BYTES = 128;
const SHT_GNU_VERDEF = 0x6ffffffd;
const SHT_GNU_VERNEED = 0x6ffffffe;
const VER_FLG_BASE = 1;

/** A name by its place among all names. */
type NameAt = (at: number) => string;

interface Section {
  type: number;
  offset: number;
  bytes: number;
  /** Number of the section with its names. */
  link: number;
  /** How many entries. */
  info: number;
}

/** @returns null when it is no 64-bit little-endian ELF file, or a damaged one: the loader will say so */
export function readElf(path: string): ElfFacts | null {
  const file = openSync(path, "r");
  try {
    return parseElf((offset, bytes) => readAt(file, offset, bytes));
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  } finally {
    closeSync(file);
  }
}

function readAt(file: number, offset: number, bytes: number): DataView {
  if (!(bytes >= 0 && bytes <= MOST_BYTES)) throw new RangeError(`${bytes} bytes in one section`);
  const view = new DataView(new ArrayBuffer(bytes));
  if (readSync(file, view, 0, bytes, offset) !== bytes) throw new RangeError("the file ends too early");
  return view;
}

/** @throws RangeError when it is no 64-bit little-endian ELF file, or a damaged one */
export function parseElf(read: (offset: number, bytes: number) => DataView): ElfFacts {
  const header = read(0, HEADER_BYTES);
  // 64 bit, little-endian
  const isElf = header.getUint32(0) === 0x7f454c46 && header.getUint8(4) === 2 && header.getUint8(5) === 1;
  if (!isElf) throw new RangeError("no ELF file");
  const [start, count] = [Number(header.getBigUint64(40, true)), header.getUint16(60, true)];
  if (count > MOST_SECTIONS) throw new RangeError(`${count} sections`);
  const table = read(start, count * SECTION_BYTES);
  const sections = Array.from({ length: count }, (_, i) => sectionAt(table, i * SECTION_BYTES));
  const facts: ElfFacts = { machine: header.getUint16(18, true), needs: new Map(), offers: [] };
  for (const section of sections) {
    if (section.type !== SHT_GNU_VERNEED && section.type !== SHT_GNU_VERDEF) continue;
    const strings = sections[section.link];
    if (strings === undefined) throw new RangeError("a section without names");
    const data = read(section.offset, section.bytes);
    const name = (at: number) =>
      // all names together may be a megabyte: read no more than one
      nameIn(read(strings.offset + at, Math.min(MOST_NAME_BYTES, strings.bytes - at)));
    if (section.type === SHT_GNU_VERNEED) readNeeds(data, section.info, name, facts.needs);
    else facts.offers.push(...readOffers(data, section.info, name));
  }
  return facts;
}

function sectionAt(table: DataView, at: number): Section {
  return {
    type: table.getUint32(at + 4, true),
    offset: Number(table.getBigUint64(at + 24, true)),
    bytes: Number(table.getBigUint64(at + 32, true)),
    link: table.getUint32(at + 40, true),
    info: table.getUint32(at + 44, true),
  };
}

/**
 * Elf64_Verneed: u16 version, u16 entries, u32 file name, u32 first entry, u32 next; its Vernaux: u32 hash,
 * u16, u16, u32 name, u32 next.
 */
function readNeeds(data: DataView, count: number, name: NameAt, needs: ElfFacts["needs"]): void {
  for (let i = 0, at = 0; i < count; i++) {
    const library = name(data.getUint32(at + 4, true));
    const versions: string[] = [];
    for (
      let entry = 0, aux = at + data.getUint32(at + 8, true);
      entry < data.getUint16(at + 2, true);
      entry++
    ) {
      versions.push(name(data.getUint32(aux + 8, true)));
      aux = following(aux, data.getUint32(aux + 12, true));
    }
    needs.set(library, [...(needs.get(library) ?? []), ...versions]);
    at = following(at, data.getUint32(at + 12, true));
  }
}

/**
 * Elf64_Verdef: u16 version, u16 flags, u16 index, u16 entries, u32 hash, u32 first entry, u32 next; its
 * Verdaux: u32 name, u32 next.
 */
function readOffers(data: DataView, count: number, name: NameAt): string[] {
  const offers: string[] = [];
  for (let i = 0, at = 0; i < count; i++) {
    const isFileItself = (data.getUint16(at + 2, true) & VER_FLG_BASE) !== 0;
    if (!isFileItself) offers.push(name(data.getUint32(at + data.getUint32(at + 12, true), true)));
    at = following(at, data.getUint32(at + 16, true));
  }
  return offers;
}

/** Place of the next entry. The last entry says 0: a place that no file has follows it. */
const following = (at: number, next: number) => (next === 0 ? Number.MAX_SAFE_INTEGER : at + next);

function nameIn(bytes: DataView): string {
  let end = 0;
  while (bytes.getUint8(end) !== 0) end++;
  return Buffer.from(bytes.buffer, bytes.byteOffset, end).toString("latin1");
}
