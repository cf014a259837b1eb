// Words for clients and for the log: what a client sent may stand in them, but one line stays one line, of a
// bounded length, that moves no cursor.

const MOST_CHARACTERS = 400;
const MOST_SHOWN = 60;

const clipped = (text: string, most: number) =>
  text.length > most ? `${text.slice(0, most).toWellFormed()}…` : text;

/** A message without control characters, cut where it is too long. */
export const oneLine = (message: string): string =>
  clipped(message.replace(/\s*[\r\n]\s*/g, " ").replace(/\p{Cc}/gu, "\ufffd"), MOST_CHARACTERS);

/** A value in a few words. Arrays and objects have their kind alone: they may be deep. */
export function shown(value: unknown): string {
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object" && value !== null) return "an object";
  if (typeof value !== "string") return String(value);
  return clipped(JSON.stringify(clipped(value, MOST_SHOWN)), MOST_SHOWN + 2);
}
