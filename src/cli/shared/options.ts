// Options as the commands define them, in citty's form with a group. They are read strictly: an unknown
// option is an error that names the nearest one.

import type { ArgDef } from "citty";
import { WEIGHT_CHOICES, type WeightType } from "../../config.ts";
import { TtsError } from "../../errors.ts";
import { nearest } from "../../nearest.ts";

/** An option: citty's definition and the heading it stands under in the manual. */
export type OptionDef = ArgDef & {
  type: "string" | "boolean";
  description: string;
  alias?: string;
  valueHint?: string;
  group?: string;
  /** What the option means without a value: the next argument is one only if it looks like this. */
  implied?: { value: string; unlessNext: RegExp };
};
export type Options = Readonly<Record<string, OptionDef>>;

/**
 * The values that citty reads for a table of options, by name; it gives --no-convert as convert = false.
 * Any other name does not compile.
 */
export type Values<T extends Options> = {
  readonly [Name in keyof T as Name extends `no-${infer Negated}` ? Negated : Name]:
    | (T[Name]["type"] extends "boolean" ? boolean : string)
    | undefined;
};

/** Options that every command has. */
export const COMMON = {
  quiet: { type: "boolean", description: "Say nothing but errors.", group: "Messages" },
  verbose: {
    type: "boolean",
    description: "Also say what is loaded, how the text was split and where an error comes from.",
    group: "Messages",
  },
  help: { type: "boolean", alias: "h", description: "Show this manual.", group: "Messages" },
} as const satisfies Options;

/** What a checkpoint becomes by default, in words; weightsFor decides. */
export const USUAL_WEIGHTS = "q4_0; f32 for small models";

/** Options of commands that convert. `standard` is the default, in words. */
export const weightOptions = (standard: string, group: string) =>
  ({
    weights: {
      type: "string",
      valueHint: "TYPE",
      description: `Weight type of talker and code predictor: ${WEIGHT_CHOICES.join(", ")}. Default: ${standard}.`,
      group,
    },
    "predictor-weights": {
      type: "string",
      valueHint: "TYPE",
      description: "Weight type of the code predictor alone. Default: what --weights says.",
      group,
    },
  }) as const satisfies Options;

/** @throws TtsError USAGE */
export function readWeights(args: Values<ReturnType<typeof weightOptions>>): {
  weights?: WeightType;
  predictorWeights?: WeightType;
} {
  return {
    weights: choice(args, "weights", WEIGHT_CHOICES),
    predictorWeights: choice(args, "predictor-weights", WEIGHT_CHOICES),
  };
}

export interface ReadArguments {
  /** `--name` and `--name=value` only. */
  flags: string[];
  /** Everything else, and all that comes after `--`. */
  positionals: string[];
}

/**
 * Sorts raw arguments into flags and positionals.
 * @throws TtsError USAGE: unknown option, missing or superfluous value
 */
export function readArguments(raw: readonly string[], options: Options): ReadArguments {
  const result: ReadArguments = { flags: [], positionals: [] };
  for (let i = 0; i < raw.length; i++) {
    const argument = raw[i];
    if (argument === "--") {
      result.positionals.push(...raw.slice(i + 1));
      break;
    }
    if (!argument.startsWith("-") || argument === "-") {
      result.positionals.push(argument);
      continue;
    }
    const equals = argument.indexOf("=");
    const given = equals < 0 ? argument : argument.slice(0, equals);
    const name = findOption(given, options);
    if (name === null) throw unknownOption(given, options);
    const inline = equals < 0 ? null : argument.slice(equals + 1);
    if (options[name].type === "boolean") {
      if (inline !== null)
        throw new TtsError("USAGE", `--${name} takes no value, but got "${inline}"`, `write just --${name}`);
      result.flags.push(`--${name}`);
      continue;
    }
    const { implied } = options[name];
    if (inline === null && implied !== undefined && !implied.unlessNext.test(raw[i + 1] ?? "")) {
      result.flags.push(`--${name}=${implied.value}`);
      continue;
    }
    if (inline === null && i + 1 >= raw.length)
      throw new TtsError(
        "USAGE",
        `${given} needs a value`,
        `write ${given} ${options[name].valueHint ?? "VALUE"}`,
      );
    result.flags.push(`--${name}=${inline ?? raw[++i]}`);
  }
  return result;
}

function findOption(given: string, options: Options): string | null {
  if (given.startsWith("--")) return Object.hasOwn(options, given.slice(2)) ? given.slice(2) : null;
  return Object.keys(options).find((name) => options[name].alias === given.slice(1)) ?? null;
}

function unknownOption(given: string, options: Options): TtsError {
  const name = nearest(given.replace(/^-+/, ""), Object.keys(options));
  const isText = /\s/.test(given) || /^-\d/.test(given);
  const hint = isText
    ? "put -- before a text that starts with a dash"
    : name !== null
      ? `did you mean --${name}?`
      : "see --help";
  return new TtsError("USAGE", `there is no option ${given}`, hint);
}

/**
 * The option for a setting of engine.ts: --max-frames for maxFrames, --talker-cpus for cpus.talker. If the
 * table has no such option, the setting's name.
 */
export function flagOf(setting: string, options: Options): string {
  const words = setting.split(".").toReversed().join("-");
  const name = words.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  if (!Object.hasOwn(options, name)) return setting;
  const { alias } = options[name];
  return alias === undefined ? `--${name}` : `-${alias}`;
}

/** Values with a text or undefined under this name. */
export type Text<Name extends string> = Readonly<Record<Name, string | undefined>>;

/** @throws TtsError USAGE when it is not a number */
export function number<Name extends string>(args: Text<Name>, name: Name): number | undefined {
  const value = args[name];
  return value === undefined ? undefined : asNumber(name, value);
}

/** @throws TtsError USAGE */
export function asNumber(name: string, value: string): number {
  if (value.trim() !== "" && Number.isFinite(Number(value))) return Number(value);
  throw new TtsError("USAGE", `--${name} is "${value}"`, "give a number");
}

/** @throws TtsError USAGE when it is none of `choices` */
export function choice<Name extends string, T extends string>(
  args: Text<Name>,
  name: Name,
  choices: readonly T[],
): T | undefined {
  const value = args[name];
  return value === undefined ? undefined : asChoice(name, value, choices);
}

/** @throws TtsError USAGE */
export function asChoice<T extends string>(name: string, value: string, choices: readonly T[]): T {
  if (choices.includes(value as T)) return value as T;
  const guess = nearest(value, choices);
  throw new TtsError(
    "USAGE",
    `--${name} is "${value}"`,
    guess === null ? `choose one of ${choices.join(", ")}` : `did you mean ${guess}?`,
  );
}

/** @throws TtsError USAGE for an empty path */
export function filePath<Name extends string>(args: Text<Name>, name: Name): string | undefined {
  const path = args[name];
  if (path === "") throw new TtsError("USAGE", `--${name} is empty`, "name a file");
  return path;
}
