// What both talkers check before they take in a piece of a prompt.

import { PROMPT_PIECE_ROWS } from "../../config.ts";
import { TtsError } from "../../errors.ts";

/** @throws TtsError TEXT_TOO_LONG when a prompt of this many positions leaves none for a frame */
export function assertRoom(positions: number, limit: number): void {
  if (positions < limit) return;
  const what = `the prompt has ${positions} positions, the talker's context holds ${limit}`;
  throw new TtsError("TEXT_TOO_LONG", what, "shorten the text, or the instruction");
}

/** @throws RangeError for rows that do not follow on `end`, the lane's position, or are too many at once */
export function assertPiece(lane: number, end: number, from: number, to: number): void {
  if (from !== end) throw new RangeError(`lane ${lane} stands at ${end}, the rows begin at ${from}`);
  if (to - from > PROMPT_PIECE_ROWS)
    throw new RangeError(`${to - from} rows at once, at most ${PROMPT_PIECE_ROWS} are allowed`);
}
