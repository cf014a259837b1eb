// The text tokenizer: text to ids, as the official one gives them. Control tokens are split off, the rest is
// cut into pieces, and the bytes of each piece are joined by rank (byte-level BPE).

import type { Bundle } from "../formats/bundle.ts";
import { Merges } from "../formats/tokenizer.ts";

/**
 * The official pattern. There `\s` is White_Space, unlike JavaScript's, which has U+FEFF and lacks U+0085; a
 * contraction may be in any case, and "ſ" is a small s.
 */
const PIECE = new RegExp(
  [
    /'(?:[sStTmMdDſ]|[rR][eE]|[vV][eE]|[lL][lL])/u,
    /[^\r\n\p{L}\p{N}]?\p{L}+/u,
    /\p{N}/u,
    / ?[^\p{White_Space}\p{L}\p{N}]+[\r\n]*/u,
    /\p{White_Space}*[\r\n]+/u,
    /\p{White_Space}+(?!\P{White_Space})/u,
    /\p{White_Space}+/u,
  ]
    .map(({ source }) => source)
    .join("|"),
  "gu",
);

/** @throws TtsError BUNDLE_INVALID */
export const openTokenizer = (bundle: Bundle) =>
  new Tokenizer(Merges.open(bundle), bundle.manifest.prompt.controlTokens);

export class Tokenizer {
  private readonly control: RegExp;

  /** @param controlTokens text -> id: read as one id wherever they occur, the longest where two begin */
  constructor(
    private readonly merges: Merges,
    private readonly controlTokens: Record<string, number>,
  ) {
    const texts = Object.keys(controlTokens).toSorted((a, b) => b.length - a.length);
    const escaped = texts.map((text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
    this.control = new RegExp(escaped.join("|") || "(?!)", "gu");
  }

  /**
   * Ids of an NFC text. The official tokenizer, too, leaves out bytes that the vocabulary lacks.
   * @throws TtsError BUNDLE_INVALID when the text meets a damaged part of the tables
   */
  encode(text: string): Int32Array {
    return this.tokens(text).ids;
  }

  /** The ids, and where the UTF-8 bytes of each token end. */
  tokens(text: string): { ids: Int32Array; ends: Int32Array } {
    const joined = new Joined(this.merges, Buffer.byteLength(text));
    let from = 0;
    for (const { 0: token, index } of text.matchAll(this.control)) {
      joined.addPieces(text.slice(from, index));
      joined.addId(this.controlTokens[token], Buffer.byteLength(token));
      from = index + token.length;
    }
    joined.addPieces(text.slice(from));
    return { ids: joined.ids.slice(0, joined.count), ends: joined.ends.slice(0, joined.count) };
  }

  close(): void {
    this.merges.close();
  }
}

/** The ids of one text so far. */
class Joined {
  readonly ids: Int32Array;
  readonly ends: Int32Array;
  count = 0;
  private bytes = 0;
  // Of each id of the piece under way: its neighbours, or -1, and the place of its merge with the next one.
  private readonly before: Int32Array;
  private readonly next: Int32Array;
  private readonly merge: Int32Array;
  private readonly queue = new Queue();

  /** @param most a text has at most as many ids as bytes */
  constructor(
    private readonly merges: Merges,
    most: number,
  ) {
    if (merges.tables.bytes.length === 0) throw new TypeError("the tokenizer is closed");
    this.ids = new Int32Array(most);
    this.ends = new Int32Array(most);
    this.before = new Int32Array(most);
    this.next = new Int32Array(most);
    this.merge = new Int32Array(most);
  }

  /** @param bytes that the id stands for */
  addId(id: number, bytes: number): void {
    this.bytes += bytes;
    this.ends[this.count] = this.bytes;
    this.ids[this.count++] = id;
  }

  addPieces(text: string): void {
    for (const piece of text.match(PIECE) ?? []) {
      const from = this.count;
      for (const byte of Buffer.from(piece)) {
        const id = this.merges.tables.bytes[byte];
        if (id >= 0) this.addId(id, 1);
        else this.bytes++;
      }
      if (this.count - from > 1) this.join(from);
    }
  }

  /** Joins the ids from `from` on: the pair of the lowest rank first, of equal ranks the first one. */
  private join(from: number): void {
    const { before, ends, ids, merge, merges, next, queue } = this;
    const { ranks, results } = merges.tables;
    const end = this.count;
    for (let i = from; i < end; i++) {
      before[i] = i - 1;
      next[i] = i + 1;
      this.queuePair(i, end);
    }
    for (let entry = queue.take(); entry !== undefined; entry = queue.take()) {
      const i = placeOf(entry);
      if (merge[i] < 0 || rankOf(entry) !== ranks[merge[i]]) continue; // another merge took one of the two
      const gone = next[i];
      ids[i] = results[merge[i]];
      ends[i] = ends[gone];
      next[i] = next[gone];
      merge[gone] = -1;
      if (next[i] < end) before[next[i]] = i;
      this.queuePair(i, end);
      if (i > from) {
        const left = before[i];
        this.queuePair(left, end);
      }
    }
    let count = from;
    for (let i = from; i < end; i = next[i]) {
      ends[count] = ends[i];
      ids[count++] = ids[i];
    }
    this.count = count;
  }

  private queuePair(i: number, end: number): void {
    const { ids, merge, merges, next, queue } = this;
    merge[i] = next[i] < end ? merges.find(ids[i], ids[next[i]]) : -1;
    if (merge[i] >= 0) queue.put(merges.tables.ranks[merge[i]] * PLACES + i);
  }
}

/** An entry is a rank and a place in one number: the lowest rank comes first, then the first place. */
const PLACES = 2 ** 32;
const rankOf = (entry: number) => Math.floor(entry / PLACES);
const placeOf = (entry: number) => entry % PLACES;

/** A binary heap: the least number comes first. */
class Queue {
  private readonly heap: number[] = [];

  put(entry: number): void {
    const { heap } = this;
    let at = heap.length;
    for (; at > 0; ) {
      const parent = (at - 1) >>> 1;
      if (heap[parent] <= entry) break;
      heap[at] = heap[parent];
      at = parent;
    }
    heap[at] = entry;
  }

  take(): number | undefined {
    const { heap } = this;
    const [least, last] = [heap[0], heap.pop()];
    if (last === undefined || heap.length === 0) return last;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child + 1 < heap.length && heap[child + 1] < heap[child]) child++;
      if (child >= heap.length || heap[child] >= last) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = last;
    return least;
  }
}
