// tts announce: says a text when its time and its turn have come. Made for cron: no terminal, little
// environment, one line in the log, and an exit status that means something.

import { monotonicMs } from "../../../ffi/libc.ts";
import { announce, type Outcome, prepare, type Voice } from "../../announce/announce.ts";
import { queueFolder } from "../../announce/queue.ts";
import { type Part, partsOf } from "../../announce/template.ts";
import { soundFilters } from "../../audio/filters/chain.ts";
import { filtered, through } from "../../audio/filters/filter.ts";
import { loadConfig } from "../../config.ts";
import { checkRequest } from "../../engine/request.ts";
import { asTtsError, fileError, meaningOf, systemCode, TtsError } from "../../errors.ts";
import { markedSentenceEnds } from "../../text/markup/ends.ts";
import { SAMPLE_RATE_HZ } from "../../types.ts";
import { type CommandData, defineCommand } from "../shared/command.ts";
import { FLEET_SECTIONS } from "../shared/fleet-options.ts";
import { withFlags } from "../shared/log.ts";
import { openPhrases, readPhraseVoice } from "../shared/phrases.ts";
import { VoiceLevel } from "../shared/voice-level.ts";
import { inWords, tell } from "./_line.ts";
import { ANNOUNCE_OPTIONS, type Arguments, type Request, readRequest } from "./_options.ts";
import { Speaker } from "./_voice.ts";

export const command = defineCommand({
  brief: "say something aloud at the right time, from cron too",
  synopsis: 'announce [OPTIONS] "TEXT"  |  announce [OPTIONS] < FILE',
  description: [
    "Plays TEXT, or standard input. Announcements wait for each other, so that two never talk at once. {time}, {date} and {weekday} in the text are filled in, in the language that is spoken.",
    "Without --seed the text itself chooses the seed: the same text sounds the same, and what was said once is kept and plays at once. Sentences with {time}, {date} or {weekday} are kept apart from the others. Texts are kept as hashes only; tts cache lists and removes what is kept.",
    "Each run leaves one line in the system's log (/dev/log), or on a terminal where there is none; cron, which would send it as mail, gets errors only. --verbose always shows it. An announcement that is not to be said because of quiet hours, --dedupe or --max-late is no failure.",
  ],
  examples: [
    ['tts announce "Dinner is ready."', "says it"],
    [
      'echo "Door open." | tts announce --chime --priority high',
      "before all that wait with a lower priority",
    ],
    [
      '58 6 * * 1-5  tts announce "Good morning. It is {time}." --by 07:00',
      "in a crontab: made ahead, and heard at seven",
    ],
    [
      'tts announce --prepare "Dinner is ready."',
      "makes the sound now; later the same call without --prepare plays at once",
    ],
    ['tts announce --to hallway,kitchen "Dinner is ready."', "on all boards of these rooms, together"],
    ['tts announce "Washing is done." --quiet-hours 22:00-07:00 --dedupe 60', "not at night, and not twice"],
  ],
  sections: {
    ...FLEET_SECTIONS,
    "EXIT STATUS": [
      "0 said, or not to be said now; with --to: every board has taken it; 2 wrong options, times or text, or no board in a room; 5 no player, or others spoke for longer than --max-wait; 7 no hub that answers, or a board that does not take it; others as for tts.",
    ],
  },
  options: ANNOUNCE_OPTIONS,
  run: async (args, data) => {
    try {
      await run(args, data);
    } catch (error) {
      const fault = asTtsError(error);
      tell(fault.inOneLineWith(withFlags(fault.markedHint)), "failure");
      throw error;
    }
  },
});

const CLOCK = {
  now: () => new Date(),
  monotonicMs,
  sleep: (ms: number) => Bun.sleep(ms),
};

async function run(args: Arguments, { positionals }: CommandData): Promise<void> {
  const request = await readRequest(args, positionals, CLOCK.now());
  if (args.to !== undefined) {
    const { announceInRooms } = await import("./_fleet.ts");
    return tell(await announceInRooms(args, request), "fine");
  }
  const alone = (["fleet", "name"] as const).find((name) => args[name] !== undefined);
  if (alone !== undefined) throw new TtsError("USAGE", `--${alone} is given without --to`, "add --to ROOM");
  const phraseVoice = await readPhraseVoice(args);
  const moment = request.appointment?.moment ?? CLOCK.now();
  const parts = partsOf(request.template, moment, phraseVoice.locale, markedSentenceEnds);
  for (const part of parts) checkRequest(part.text, phraseVoice.optionsFor(part));
  if (parts.length === 0)
    throw new TtsError("TEXT_EMPTY", "there is no text to speak", "see tts announce --help");
  const { play, shape } = request;
  // the words have no silence before them, and a chime needs none to go
  const { loudness, speed, trimStart: _, ...heard } = shape;
  const level = new VoiceLevel(phraseVoice.loudness);
  const speaker = new Speaker(phraseVoice, level);
  const voice: Voice = {
    keyOf: phraseVoice.keyOf,
    speak: (part) => speaker.speak(part),
    rest: () => void speaker.close(),
    speed: speed ?? 1,
    shaped: (words) => through(words, soundFilters({ speed, loudness }, level)),
    async openPlayer(volume, turn) {
      const { openPlayer } = await import("../../audio/play/player.ts"); // --prepare needs none
      const { rateHz = SAMPLE_RATE_HZ } = heard;
      const filters = soundFilters(volume === null ? heard : { ...heard, volume }, level);
      return filtered(await openPlayer({ ...play, rateHz, turn }), filters);
    },
  };
  try {
    const outcome = request.prepare
      ? await prepareParts(parts, request, voice)
      : await announce({ ...request, parts }, voice, surroundings(), (error) => {
          speaker.faults.add(`cannot keep phrases: ${meaningOf(error, "write").what}`);
        });
    const faults = [...speaker.faults].map((fault) => `; ${fault}`).join("");
    tell(inWords(outcome, args, request) + faults, faults === "" ? "fine" : "fault");
  } finally {
    await speaker.close();
  }
}

const surroundings = () => ({
  folder: queueFolder(loadConfig().cacheDir),
  phrases: openPhrases(),
  clock: CLOCK,
});

/** @throws TtsError OUTPUT_FAILED where nothing can be kept */
async function prepareParts(
  parts: readonly Part[],
  { appointment }: Request,
  voice: Voice,
): Promise<Outcome> {
  const surroundings = { phrases: openPhrases(), clock: CLOCK };
  const lasting = parts.filter(({ fresh }) => !fresh || appointment !== null);
  if (lasting.length === 0)
    throw new TtsError("USAGE", "every sentence has a time or a date in it", "say for which time: --by TIME");
  try {
    return await prepare(lasting, voice, surroundings);
  } catch (error) {
    throw systemCode(error) === ""
      ? error
      : fileError("OUTPUT_FAILED", "the phrase cache", error, { use: "write" });
  }
}
