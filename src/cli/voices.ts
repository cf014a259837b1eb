// tts voices: takes voices from recordings, and keeps, shows, exports and imports them.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { readRecording } from "../audio/read.ts";
import { checkReference } from "../audio/reference.ts";
import { loadConfig, TAIL_SILENCE_SECONDS } from "../config.ts";
import { provenanceOf } from "../engine/voices.ts";
import { TtsError } from "../errors.ts";
import { assertVoiceName, readVoiceFile, type Voice, VoiceFolder, voiceToFile } from "../formats/voice.ts";
import { printText } from "../io/output.ts";
import { onlyBase } from "../models/inventory.ts";
import { nearest } from "../nearest.ts";
import { CODES_PER_FRAME, FRAMES_PER_SECOND } from "../types.ts";
import { type CommandData, defineCommand } from "./shared/command.ts";
import { openEngine } from "./shared/engine.ts";
import { log } from "./shared/log.ts";
import { COMMON, type Options, type Values } from "./shared/options.ts";
import { writeWhole } from "./shared/sound-output.ts";

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
      "The words of the recording. Without them the voice is a speaker vector alone, which is less alike.",
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
  json: {
    type: "boolean",
    description: "show: the whole voice as JSON. list: the names as JSON.",
    group: "Output",
  },
  ...COMMON,
} as const satisfies Options;

export const command = defineCommand({
  brief: "clone and keep voices",
  synopsis:
    "voices [list]  |  voices add NAME --from FILE  |  voices show|rm NAME  |  voices export NAME FILE  |  voices import FILE [NAME]",
  description: [
    "A Base model takes a voice from a recording, on this machine. A voice is a small file that can be passed on. Take only voices that you may use.",
    "add takes a voice; list shows all; show tells where one comes from; rm removes it; export and import copy it to and from a file.",
  ],
  examples: [
    ['tts voices add anna --from anna.wav --text "What Anna says in it."', 'then: tts "Hello." --voice anna'],
    ["tts voices show anna --json", "codes as frames of 16 numbers, the speaker vector as numbers"],
  ],
  sections: {
    FILES: [
      "~/.local/share/qwen3-tts/voices\nThe voices; TTS_VOICES names another folder. models/VOICE.md describes the files.",
    ],
  },
  options,
  run: voices,
});

type Arguments = Values<typeof options>;
type Action = (folder: VoiceFolder, rest: readonly string[], args: Arguments) => void | Promise<void>;

const ACTIONS: Record<string, { arguments: number[]; run: Action }> = {
  list: { arguments: [0], run: list },
  add: { arguments: [1], run: add },
  show: { arguments: [1], run: show },
  rm: { arguments: [1], run: (folder, [name]) => folder.remove(name) },
  export: { arguments: [2], run: exportVoice },
  import: { arguments: [1, 2], run: importVoice },
};

async function voices(args: Arguments, { positionals }: CommandData): Promise<void> {
  const [name, ...rest] = positionals.length === 0 ? ["list"] : positionals;
  if (!Object.hasOwn(ACTIONS, name)) {
    const guess = nearest(name, Object.keys(ACTIONS));
    throw new TtsError(
      "USAGE",
      `voices cannot "${name}"`,
      guess === null ? `it can ${Object.keys(ACTIONS).join(", ")}` : `did you mean ${guess}?`,
    );
  }
  const action = ACTIONS[name];
  if (!action.arguments.includes(rest.length))
    throw new TtsError("USAGE", `voices ${name} got ${rest.length} arguments`, "see tts voices --help");
  await action.run(new VoiceFolder(loadConfig().voicesDir), rest, args);
}

const print = (line: string) => printText(`${line}\n`);

async function list(folder: VoiceFolder, _rest: readonly string[], args: Arguments): Promise<void> {
  const names = folder.names();
  if (args.json === true) await print(JSON.stringify(names));
  else if (names.length === 0) log.info("there are no voices yet: tts voices add NAME --from FILE");
  else for (const name of names) await print(describe(folder.read(name)));
}

function describe({ name, text, codes, provenance }: Voice): string {
  const kind =
    codes === null || text === ""
      ? "speaker vector"
      : `in-context, ${(codes.length / CODES_PER_FRAME / FRAMES_PER_SECOND).toFixed(1)} s`;
  return `${name.padEnd(20)} ${kind.padEnd(22)} ${provenance.model.padEnd(16)} ${provenance.made.slice(0, 10)}`;
}

async function add(folder: VoiceFolder, [name]: readonly string[], args: Arguments): Promise<void> {
  assertVoiceName(name);
  const { from } = args;
  if (from === undefined)
    throw new TtsError("USAGE", "voices add needs a recording", "write tts voices add NAME --from FILE");
  const words = (args.text ?? "").trim().normalize("NFC");
  const model = args.model ?? onlyBase(loadConfig().cacheDir);
  const recording = await readRecording(from);
  checkReference(recording.samples); // before a model is opened, or even converted
  const engine = await openEngine({ model, use: "encode" });
  const tailSilenceSeconds = args["tail-silence"] === false ? 0 : TAIL_SILENCE_SECONDS;
  const { codes, xVector } = await engine.encode(recording.samples, tailSilenceSeconds);
  await engine.close();
  const recordingSha256 = createHash("sha256").update(readFileSync(from)).digest("hex");
  folder.write({
    name,
    text: words,
    xVector,
    codes: words === "" ? null : codes,
    codebookSize: engine.manifest.shape.codes,
    provenance: provenanceOf(engine, {
      recordingSha256,
      recordingSeconds: recording.seconds,
      tailSilenceSeconds,
    }),
  });
  log.info(`${folder.path(name)}: voice ${name} from ${recording.seconds.toFixed(1)} s of ${from}`);
}

async function show(folder: VoiceFolder, [name]: readonly string[], args: Arguments): Promise<void> {
  const voice = folder.read(name);
  if (args.json === true) return print(JSON.stringify(voiceToFile(voice)));
  const { provenance, text: words, codes, xVector } = voice;
  const lines = [
    `name        ${voice.name}`,
    `text        ${words === "" ? "none: speaker vector alone" : words}`,
    `codes       ${codes === null ? "none" : `${codes.length / CODES_PER_FRAME} frames`}, speaker vector ${xVector.length} wide`,
    `recording   ${provenance.recordingSeconds.toFixed(2)} s, sha256 ${provenance.recordingSha256}`,
    `taken with  ${provenance.model}, ${provenance.made}`,
  ];
  await print(lines.join("\n"));
}

async function exportVoice(folder: VoiceFolder, [name, file]: readonly string[]): Promise<void> {
  folder.read(name); // throws if the voice is damaged
  if (file === "")
    throw new TtsError("USAGE", "the name of the file is empty", "write tts voices export NAME FILE");
  await writeWhole(file, readFileSync(folder.path(name)));
}

function importVoice(folder: VoiceFolder, [file, name]: readonly string[]): void {
  const voice = readVoiceFile(file);
  const named = { ...voice, name: name ?? voice.name };
  if (folder.has(named.name))
    throw new TtsError(
      "OUTPUT_FAILED",
      `there is a voice ${named.name} already`,
      "give another name: tts voices import FILE NAME",
    );
  folder.write(named);
}
