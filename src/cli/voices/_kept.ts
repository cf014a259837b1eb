// tts voices list, show, rename, rm, export and import: what is done with voices that are kept.

import { loadConfig } from "../../config.ts";
import { TtsError } from "../../errors.ts";
import { receiveVoice, type Voice, VoiceFolder, voiceToFile } from "../../formats/voice.ts";
import { printText } from "../../io/output.ts";
import { readRegularFile } from "../../io/read.ts";
import { missingWords } from "../../text/transcript.ts";
import { CODES_PER_FRAME, FRAMES_PER_SECOND } from "../../types.ts";
import { type CommandData, defineCommand } from "../shared/command.ts";
import { log } from "../shared/log.ts";
import { COMMON, type Options, type Values } from "../shared/options.ts";
import { writeWhole } from "../shared/sound-output.ts";
import { FORCE_OPTION, named } from "./_arguments.ts";

const jsonOption = (description: string) =>
  ({ json: { type: "boolean", description, group: "Output" }, ...COMMON }) as const satisfies Options;
const LIST_OPTIONS = jsonOption("Print the names as JSON.");
const SHOW_OPTIONS = jsonOption("Print the whole voice as JSON.");
const REPLACING_OPTIONS = { ...FORCE_OPTION, ...COMMON } as const satisfies Options;

const openFolder = () => new VoiceFolder(loadConfig().voicesDir);
const print = (line: string) => printText(`${line}\n`);

export const list = defineCommand({
  brief: "list the voices",
  synopsis: "voices [list] [OPTIONS]",
  description: ["Prints a line for each voice: its name, its kind, the model it was taken with, and when."],
  examples: [["tts voices --json", "the names alone, as JSON"]],
  options: LIST_OPTIONS,
  run: listVoices,
});

export const show = defineCommand({
  brief: "tell where a voice comes from",
  synopsis: "voices show NAME [OPTIONS]",
  description: ["Prints the text, the recording and the model that a voice was taken with."],
  examples: [["tts voices show anna --json", "codes as frames of 16 numbers, the speaker vector as numbers"]],
  options: SHOW_OPTIONS,
  run: showVoice,
});

export const rename = defineCommand({
  brief: "give a voice another name",
  synopsis: "voices rename OLD NEW [OPTIONS]",
  description: [
    "Renames a voice that was added or imported. The speakers of a model keep the names that it gives them.",
  ],
  examples: [["tts voices rename anna anna-2024", "keep the old voice under another name"]],
  options: REPLACING_OPTIONS,
  run: ({ force }, { positionals }) => {
    const [name, newName] = named("rename", positionals, ["OLD", "NEW"]);
    openFolder().rename(name, newName, { replace: force === true });
  },
});

export const rm = defineCommand({
  brief: "remove a voice",
  synopsis: "voices rm NAME",
  description: ["Removes the file of a voice. Nothing brings it back but an export of it."],
  examples: [["tts voices rm anna", "the voice is gone"]],
  options: COMMON,
  run: (_args, { positionals }) => openFolder().remove(named("rm", positionals, ["NAME"])[0]),
});

export const exportTo = defineCommand({
  brief: "copy a voice to a file",
  synopsis: "voices export NAME FILE",
  description: ["Writes the voice as one JSON file, to be passed on. A file of that name is replaced."],
  examples: [
    ["tts voices export anna anna.voice.json", "then, elsewhere: tts voices import anna.voice.json"],
  ],
  options: COMMON,
  run: exportVoice,
});

export const importFrom = defineCommand({
  brief: "take a voice from a file of export",
  synopsis: "voices import FILE [NAME] [OPTIONS]",
  description: ["Keeps the voice under the name that it has in the file, or under NAME."],
  examples: [["tts voices import anna.voice.json berta", "under another name"]],
  options: REPLACING_OPTIONS,
  run: importVoice,
});

async function listVoices(args: Values<typeof LIST_OPTIONS>, { positionals }: CommandData): Promise<void> {
  named("list", positionals, []);
  const folder = openFolder();
  const names = folder.names();
  if (args.json === true) await print(JSON.stringify(names));
  else if (names.length === 0) log.info("there are no voices yet: tts voices add NAME --from FILE");
  else for (const name of names) await print(describe(folder.read(name)));
}

function describe({ name, text, codes, provenance }: Voice): string {
  const kind =
    codes === null || text === "" ? "speaker vector" : `in-context, ${lengthOf(codes).toFixed(1)} s`;
  return `${name.padEnd(20)} ${kind.padEnd(22)} ${provenance.model.padEnd(16)} ${provenance.made.slice(0, 10)}`;
}

/** Seconds. */
const lengthOf = (codes: Int32Array) => codes.length / CODES_PER_FRAME / FRAMES_PER_SECOND;

async function showVoice(args: Values<typeof SHOW_OPTIONS>, { positionals }: CommandData): Promise<void> {
  const voice = openFolder().read(named("show", positionals, ["NAME"])[0]);
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

async function exportVoice(_args: Values<typeof COMMON>, { positionals }: CommandData): Promise<void> {
  const [name, file] = named("export", positionals, ["NAME", "FILE"]);
  const folder = openFolder();
  folder.read(name); // throws if the voice is damaged
  if (file === "")
    throw new TtsError("USAGE", "the name of the file is empty", "write tts voices export NAME FILE");
  await writeWhole(file, readRegularFile(folder.path(name)));
}

async function importVoice(
  { force }: Values<typeof REPLACING_OPTIONS>,
  { positionals }: CommandData,
): Promise<void> {
  const [file, name] = named("import", positionals, ["FILE", "[NAME]"]);
  const voice = await receiveVoice(file);
  const { codes, provenance, text } = voice;
  openFolder().write({ ...voice, name: name ?? voice.name }, { replace: force === true });
  if (codes === null) return;
  const missing = missingWords(text, lengthOf(codes) - (provenance.tailSilenceSeconds || 0));
  if (missing !== null) log.warn(`${missing}; take the voice again with all the words of the recording`);
}
