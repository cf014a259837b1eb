// tts voices add: takes a voice from a recording.

import { readRecording } from "../../audio/read.ts";
import { checkReference } from "../../audio/reference.ts";
import { loadConfig, TAIL_SILENCE_SECONDS } from "../../config.ts";
import { takeVoice } from "../../engine/voices.ts";
import { TtsError } from "../../errors.ts";
import { VoiceFolder } from "../../formats/voice.ts";
import { onlyBase } from "../../models/inventory.ts";
import { missingWords } from "../../text/transcript.ts";
import { type CommandData, defineCommand } from "../shared/command.ts";
import { openEngine } from "../shared/engine.ts";
import { log } from "../shared/log.ts";
import { COMMON, filePath, type Options, type Values } from "../shared/options.ts";
import { FORCE_OPTION, named } from "./_arguments.ts";

const options = {
  from: {
    type: "string",
    valueHint: "FILE",
    description: "The recording: wav, flac, mp3 or ogg; 3 to 30 seconds of one clear voice.",
    group: "Adding",
  },
  text: {
    type: "string",
    valueHint: "TEXT",
    description:
      "All the words of the recording. Without them the voice is a speaker vector alone, which is less alike.",
    group: "Adding",
  },
  model: {
    type: "string",
    alias: "m",
    valueHint: "DIR|NAME",
    description:
      "The Base model to take the voice with. Default: the one that was pulled, if there is only one.",
    group: "Adding",
  },
  "no-tail-silence": {
    type: "boolean",
    description: `Do not put ${TAIL_SILENCE_SECONDS} s of silence behind the recording. The silence keeps the end of the recording out of the speech.`,
    group: "Adding",
  },
  ...FORCE_OPTION,
  ...COMMON,
} as const satisfies Options;

export const add = defineCommand({
  brief: "take a voice from a recording",
  synopsis: "voices add NAME --from FILE [OPTIONS]",
  description: [
    "A Base model takes the voice, on this machine. Take only voices that you may use.",
    "The text must have all the words of the recording, and no others: where many are missing, speech with the voice may never end.",
  ],
  examples: [
    ['tts voices add anna --from anna.wav --text "What Anna says in it."', 'then: tts "Hello." --voice anna'],
  ],
  options,
  run: addVoice,
});

async function addVoice(args: Values<typeof options>, { positionals }: CommandData): Promise<void> {
  const [name] = named("add", positionals, ["NAME"]);
  const from = filePath(args, "from");
  if (from === undefined)
    throw new TtsError("USAGE", "voices add needs a recording", "write tts voices add NAME --from FILE");
  const replace = args.force === true;
  const config = loadConfig();
  const folder = new VoiceFolder(config.voicesDir);
  folder.assertFree(name, replace);
  const text = (args.text ?? "").trim().normalize("NFC");
  const model = args.model ?? onlyBase(config.cacheDir);
  const recording = await readRecording(from);
  const { promisedSeconds, samples, seconds } = recording;
  checkReference(samples); // before a model is opened, or even converted
  if (promisedSeconds !== null)
    log.warn(
      `${from} is cut short: its header promises ${promisedSeconds.toFixed(2)} s, ${seconds.toFixed(2)} s are there`,
    );
  const missing = missingWords(text, seconds);
  if (missing !== null) log.warn(`${missing}; give all the words of the recording`);
  const engine = await openEngine({ model, use: "encode" });
  const tailSilenceSeconds = args["tail-silence"] === false ? 0 : TAIL_SILENCE_SECONDS;
  const voice = await takeVoice(engine, recording, { name, text, tailSilenceSeconds });
  await engine.close();
  folder.write(voice, { replace });
  log.info(`${folder.path(name)}: voice ${name} from ${seconds.toFixed(1)} s of ${from}`);
}
