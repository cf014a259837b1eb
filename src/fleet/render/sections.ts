// A book in sections that an engine takes as texts. Pure.

/** Where paragraphs, lines, sentences and words end. The first kind that fits is taken. */
const ENDS = [/\n[ \t\r]*\n\s*/g, /\n/g, /[.!?…。！？]["')\]”’»]*\s+/g, /\s+/g];

/** A part of a book. */
export interface Section {
  text: string;
  /** Whether a paragraph ends with it. */
  endsParagraph: boolean;
}

/**
 * A book cut into as few parts as can be, each at most `mostBytes` in UTF-8: at the ends of paragraphs, or
 * where a paragraph is longer, at those of lines, sentences or words. All together are the whole book.
 */
export function sectionsOf(book: string, mostBytes: number): Section[] {
  const sections: Section[] = [];
  for (let rest = book; rest !== ""; ) {
    const cut = cutOf(rest, mostBytes);
    sections.push({ text: rest.slice(0, cut.at), endsParagraph: cut.endsParagraph });
    rest = rest.slice(cut.at);
  }
  return sections;
}

function cutOf(text: string, mostBytes: number): { at: number; endsParagraph: boolean } {
  const most = unitsWithin(text, mostBytes);
  if (most === text.length) return { at: most, endsParagraph: true };
  for (const [kind, pattern] of ENDS.entries()) {
    const at = lastEnd(text.slice(0, most), pattern);
    if (at > 0) return { at, endsParagraph: kind === 0 };
  }
  return { at: most, endsParagraph: false };
}

/** The most units of UTF-16 that take so many bytes, whole characters only. */
function unitsWithin(text: string, mostBytes: number): number {
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(mostBytes));
  return read;
}

function lastEnd(text: string, pattern: RegExp): number {
  let end = 0;
  for (const { 0: found, index } of text.matchAll(pattern)) end = index + found.length;
  return end;
}
