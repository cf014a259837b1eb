// A text as its reader sees it: HTML entities become what they stand for, once, and characters that cannot be
// seen go, since they would split words. Pure.

/** From U+00A0 on. */
const LATIN_1 = `nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3
  acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig
  Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash
  Ugrave Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc
  euml igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml
  yacute thorn yuml`;
const ENTITIES: ReadonlyMap<string, string> = new Map([
  ...LATIN_1.split(/\s+/).map((name, i) => [name, String.fromCodePoint(0xa0 + i)] as const),
  ...Object.entries({
    ...{ amp: "&", AMP: "&", lt: "<", LT: "<", gt: ">", GT: ">", quot: '"', QUOT: '"', apos: "'" },
    ...{ OElig: "Œ", oelig: "œ", Scaron: "Š", scaron: "š", Yuml: "Ÿ", fnof: "ƒ", circ: "ˆ", tilde: "˜" },
    ...{ ndash: "–", mdash: "—", lsquo: "‘", rsquo: "’", sbquo: "‚", ldquo: "“", rdquo: "”", bdquo: "„" },
    ...{ lsaquo: "‹", rsaquo: "›", hellip: "…", bull: "•", dagger: "†", Dagger: "‡", permil: "‰" },
    ...{ prime: "′", Prime: "″", euro: "€", trade: "™", minus: "−", infin: "∞", ne: "≠", le: "≤", ge: "≥" },
    ...{ larr: "←", uarr: "↑", rarr: "→", darr: "↓", radic: "√", asymp: "≈", sum: "∑", Omega: "Ω", pi: "π" },
    ...{ ensp: "\u2002", emsp: "\u2003", thinsp: "\u2009", zwnj: "\u200c", zwj: "\u200d" },
    ...{ lrm: "\u200e", rlm: "\u200f", COPY: "©", REG: "®", num: "#", NewLine: "\n", Tab: "\t" },
  }),
]);
const ENTITY = /&(?:#(\d{1,8})|#[xX]([\da-fA-F]{1,8})|([A-Za-z][A-Za-z\d]{1,9}));/g;
/** With what makes one emoji of several, up to ten. */
const EMOJI = String.raw`\p{Extended_Pictographic}(?:\ufe0f|[\u{1f3fb}-\u{1f3ff}])?`;
/** The semicolon of an entity, the other half of a character or of an emoji may come with the next piece. */
const UNFINISHED = new RegExp(
  String.raw`(?:&(?:#(?:\d{0,8}|[xX][\da-fA-F]{0,8})|[A-Za-z][A-Za-z\d]{0,9})?|(?:(?:${EMOJI}\u200d){0,9}${EMOJI}\u200d?)?[\ud800-\udbff]?)$`,
  "u",
);

/**
 * Soft hyphen, byte order mark, zero width, direction, and the rest that no font draws. The joiner of emoji
 * stays between them.
 */
const UNSEEN = new RegExp(
  [
    String.raw`[\u00ad\u061c\u180e\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]`,
    String.raw`(?<!\p{Extended_Pictographic}|\ufe0f|[\u{1f3fb}-\u{1f3ff}])\u200d`,
    String.raw`\u200d(?!\p{Extended_Pictographic})`,
  ].join("|"),
  "gu",
);

export function visibleText(text: string): string {
  return text
    .replace(ENTITY, (entity, decimal?: string, hex?: string, name?: string) =>
      name === undefined
        ? (character(decimal === undefined ? Number.parseInt(hex!, 16) : Number(decimal)) ?? entity)
        : (ENTITIES.get(name) ?? entity),
    )
    .replace(UNSEEN, "");
}

/** How much of a text that goes on can be made visible now. */
export const visibleUpTo = (text: string) => text.length - (UNFINISHED.exec(text)?.[0].length ?? 0);

/** As browsers read them: 128 to 159 mean what Windows means. null where there is no such character. */
function character(code: number): string | null {
  if (code >= 128 && code < 160) return new TextDecoder("windows-1252").decode(Uint8Array.of(code));
  const exists = code > 0 && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
  return exists ? String.fromCodePoint(code) : null;
}
