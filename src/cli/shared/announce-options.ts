// The options that announcing and joining a fleet share: how it plays, and when it is quiet.

import type { Announcement } from "../../announce/announce.ts";
import { parseQuietHours } from "../../announce/times.ts";
import { TtsError } from "../../errors.ts";
import type { Options, Values } from "./options.ts";
import { PLAY_OPTIONS, readVolume } from "./play-options.ts";

const when = "When";
const { play: _, ...PLAYING } = PLAY_OPTIONS;
export const PLAYING_OPTIONS = PLAYING;

export const MANNERS_AT_NIGHT = {
  "quiet-hours": {
    type: "string",
    valueHint: "RANGES",
    description:
      "Say nothing in these local times, such as 22:00-07:00 or 22:00-07:00,13:00-14:00. The end is not quiet any more.",
    group: when,
  },
  "night-volume": {
    type: "string",
    valueHint: "V",
    description: "In quiet hours speak with this --volume instead of saying nothing.",
    group: when,
  },
} as const satisfies Options;

/** @throws TtsError USAGE */
export function readNight(
  args: Values<typeof MANNERS_AT_NIGHT>,
): Pick<Announcement, "quietHours" | "nightVolume"> {
  const quietHours = args["quiet-hours"];
  const night = args["night-volume"];
  const nightVolume = night === undefined ? null : readVolume("night-volume", night);
  if (nightVolume !== null && quietHours === undefined)
    throw new TtsError("USAGE", "--night-volume without --quiet-hours", "say when it is quiet");
  return {
    quietHours: quietHours === undefined ? [] : parseQuietHours("--quiet-hours", quietHours),
    nightVolume,
  };
}
