// What can be completed, taken from the commands' own definitions, for any shell. Convention: the valueHint
// of an option and the words of a synopsis are split at bars. Words that are not in capitals are fixed
// values; the table below knows some of those in capitals.

import { loadConfig, WEIGHT_CHOICES } from "../../config.ts";
import { VoiceFolder } from "../../formats/voice.ts";
import { KNOWN_MODELS } from "../../models/catalog.ts";
import { modelNames, modelsHere } from "../../models/inventory.ts";
import { languageNames } from "../../text/prompt.ts";
import { allOptions, type Command } from "../shared/command.ts";

/** Names that only the program knows, on the machine where it runs. */
export const NAME_KINDS = ["models", "voices", "speakers", "languages"] as const;
export type NameKind = (typeof NAME_KINDS)[number];

/** What may stand in one place. All three are empty for a number or a text. */
export interface Value {
  words: readonly string[];
  files: "files" | "folders" | "";
  names: NameKind | "";
}

export interface CompletedOption {
  /** `-o`, `--output` */
  spellings: string[];
  description: string;
  /** null if the option takes no value. */
  value: Value | null;
  /** What the manual calls the value. */
  hint: string;
}

/** An argument that is no option. */
export interface Place {
  /** How many arguments stand before it. */
  index: number;
  /** What the first argument must be, or "" for any. */
  first: string;
  value: Value;
}

export interface CompletedCommand {
  /** "" is speaking: its first argument may also be a command. */
  name: string;
  description: string;
  options: CompletedOption[];
  places: Place[];
}

const NOTHING: Value = { words: [], files: "", names: "" };
const CAPITALS: Record<string, Partial<Value>> = {
  FILE: { files: "files" },
  DIR: { files: "folders" },
  FOLDER: { files: "folders" },
  BUNDLE: { files: "folders" },
  OLD: { names: "voices" },
  TYPE: { words: WEIGHT_CHOICES },
  TYPES: { words: WEIGHT_CHOICES },
};
/** What NAME means for an option, or for the arguments of a command. */
const NAMES: Record<string, Partial<Value>> = {
  "--model": { names: "models" },
  "--voice": { names: "voices" },
  "--speaker": { names: "speakers", words: ["none"] },
  "--language": { names: "languages", words: ["auto"] },
  voices: { names: "voices" },
  models: { names: "models" },
  pull: { words: Object.keys(KNOWN_MODELS) },
};

/** @param commands all by name; "" is speaking */
export function completedCommands(commands: ReadonlyMap<string, Command>): CompletedCommand[] {
  return [...commands].map(([name, command]) => ({
    name,
    description: command.brief,
    options: Object.entries(allOptions(command)).map(
      ([option, { alias, description, type, valueHint = "VALUE" }]) => ({
        spellings: [...(alias === undefined ? [] : [`-${alias}`]), `--${option}`],
        description: firstSentence(description),
        value: type === "boolean" ? null : valueFor(valueHint, `--${option}`),
        hint: valueHint,
      }),
    ),
    places: name === "" ? [] : placesOf(name, command.synopsis),
  }));
}

/** Names that this machine knows, without those that a shell could take for something else. */
export function namesHere(kind: NameKind): string[] {
  const { cacheDir, voicesDir } = loadConfig();
  const names = {
    models: () => modelNames(cacheDir),
    voices: () => new VoiceFolder(voicesDir).names(),
    speakers: () => modelsHere(cacheDir).flatMap(({ speakers }) => Object.keys(speakers)),
    languages: () => modelsHere(cacheDir).flatMap(languageNames),
  }[kind]();
  return [...new Set(names)].filter((name) => /^[\p{L}\p{N}_][\p{L}\p{N}_./+-]*$/u.test(name));
}

function valueFor(hint: string, owner: string): Value {
  let value = NOTHING;
  for (const word of hint.split("|")) {
    const more = /[a-z0-9]/.test(word) ? { words: [word] } : word === "NAME" ? NAMES[owner] : CAPITALS[word];
    value = { ...value, ...more, words: [...value.words, ...(more?.words ?? [])] };
  }
  return value;
}

/** A synopsis has alternatives. If one starts with a fixed word, its other places belong to that word. */
function placesOf(name: string, synopsis: string): Place[] {
  const places: Place[] = [];
  for (const alternative of synopsis.split("  |  ")) {
    const words = alternative.replace(/ --?[a-z-]+ \S+/g, "").split(" ");
    const given = words.slice(words.indexOf(name) + 1).filter((word) => word !== "[OPTIONS]");
    const values = given.map((word) => valueFor(word.replace(/^\[|\]$/g, ""), name));
    const firsts = values[0]?.words.length > 0 && values[0].files === "" ? values[0].words : [""];
    values.forEach((value, index) => {
      for (const first of index === 0 ? [""] : firsts) places.push({ index, first, value });
    });
  }
  return merged(places);
}

/** Alternatives of one place become one value. */
function merged(places: readonly Place[]): Place[] {
  const byPlace = Map.groupBy(places, ({ first, index }) => `${index} ${first}`);
  return [...byPlace.values()].map((same) => {
    const values = same.map(({ value }) => value);
    const words = [...new Set(values.flatMap((value) => value.words))];
    const { files } = values.find((value) => value.files !== "") ?? NOTHING;
    const { names } = values.find((value) => value.names !== "") ?? NOTHING;
    return { ...same[0], value: { words, files, names } };
  });
}

/**
 * Groups options or places by their value, in order of appearance: [value, those that have it]. Those without
 * a value are left out.
 */
export function byValue<T extends { value: Value | null }>(items: readonly T[]): [Value, T[]][] {
  const groups = Map.groupBy(items, ({ value }) => JSON.stringify(value));
  return [...groups.values()].flatMap((same): [Value, T[]][] =>
    same[0].value === null ? [] : [[same[0].value, same]],
  );
}

const firstSentence = (description: string) => description.split(/(?<=\.) /)[0].replace(/\.$/, "");
