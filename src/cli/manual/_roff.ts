// The manual as roff (the man macros), from the same definitions as --help: speaking first, then every
// command.

import type { Command } from "../shared/command.ts";
import { callsOf } from "./page.ts";

/** @param commands all by name; "" is speaking */
export function manPage(
  commands: ReadonlyMap<string, Command>,
  { date, version }: { date: string; version: string },
): string {
  const speaking = commands.get("")!;
  const { ENVIRONMENT, FILES, "EXIT STATUS": exitStatus, ...more } = speaking.sections ?? {};
  const named = [...commands].filter(([name]) => name !== "");
  return `${[
    `.TH TTS 1 ${date} "tts ${version}" "User Commands"`,
    ...[".SH NAME", `tts \\- ${roff(speaking.brief)}`],
    ...[".SH SYNOPSIS", ...synopsisLines(speaking)],
    ...[".SH DESCRIPTION", ...paragraphs(speaking.description)],
    ...[".SH OPTIONS", ...optionLines(speaking, ".SS")],
    ...[".SH COMMANDS", "\\fBtts COMMAND \\-\\-help\\fP shows the manual of one command."],
    ...named.flatMap(([name, command]) => [
      ...[`.SS tts ${roff(name)}`, ...commandLines(command)],
      ...Object.entries(command.subcommands ?? {}).flatMap(([word, subcommand]) => [
        ...[`.SS tts ${roff(name)} ${roff(word)}`, ...commandLines(subcommand)],
      ]),
    ]),
    ...sectionLines({ ...more, ENVIRONMENT, FILES, "EXIT STATUS": exitStatus }, ".SH"),
    ...[".SH EXAMPLES", ...exampleLines(speaking)],
  ].join("\n")}\n`;
}

function commandLines(command: Command): string[] {
  const { brief, description, examples, sections = {} } = command;
  return [
    ...paragraphs([sentence(brief), ...description]),
    ...[".PP", ...synopsisLines(command)],
    ...optionLines(command, ".PP"),
    ...sectionLines(sections, ".PP"),
    ...(examples.length === 0 ? [] : [...heading("Examples", ".PP"), ...exampleLines(command)]),
  ];
}

/** One line per alternative. */
function synopsisLines({ synopsis }: Command): string[] {
  return callsOf(synopsis).flatMap((call, i) => [...(i === 0 ? [] : [".br"]), `\\fBtts\\fP ${roff(call)}`]);
}

function optionLines({ options }: Command, macro: ".SS" | ".PP"): string[] {
  const groups = Map.groupBy(Object.entries(options), ([, { group = "Options" }]) => group);
  return [...groups].flatMap(([group, entries]) => [
    ...heading(group, macro),
    ...entries.flatMap(([name, { alias, description, type, valueHint }]) => {
      const spellings = [...(alias === undefined ? [] : [`-${alias}`]), `--${name}`].map(
        (spelling) => `\\fB${roff(spelling)}\\fP`,
      );
      const value = type === "string" ? ` \\fI${roff(valueHint ?? "VALUE")}\\fP` : "";
      return [".TP", `${spellings.join(", ")}${value}`, line(description)];
    }),
  ]);
}

function sectionLines(sections: Record<string, string[]>, macro: ".SH" | ".PP"): string[] {
  return Object.entries(sections).flatMap(([title, texts]) => [
    ...heading(title, macro),
    ...texts.flatMap((text, i) => {
      const [tag, ...rest] = text.split("\n");
      return rest.length === 0
        ? [...(i === 0 && macro === ".SH" ? [] : [".PP"]), line(tag)]
        : [".TP", `\\fB${roff(tag)}\\fP`, line(rest.join(" "))];
    }),
  ]);
}

function exampleLines({ examples }: Command): string[] {
  return examples.flatMap(([call, does]) => [".TP", `\\fB${roff(call)}\\fP`, line(does)]);
}

/** The heading of a section, or a bold line within a command; the next .PP or .TP begins below that. */
function heading(title: string, macro: ".SH" | ".SS" | ".PP"): string[] {
  return macro === ".PP" ? [".PP", `\\fB${roff(title)}:\\fP`] : [`${macro} ${roff(title)}`];
}

const paragraphs = (texts: readonly string[]) =>
  texts.flatMap((text, i) => [...(i === 0 ? [] : [".PP"]), line(text)]);

const sentence = (text: string) => `${text[0].toUpperCase()}${text.slice(1)}.`;

/** Breaks text into short lines, and escapes a dot or an apostrophe that would begin one as a request. */
function line(text: string): string {
  const lines = roff(text).match(/\S.{0,78}(?=\s|$)|\S+/g) ?? [];
  return lines.map((part) => part.replace(/^[.']/, "\\&$&")).join("\n");
}

/** Escapes characters that roff would interpret, or would print as signs that cannot be copied. */
function roff(text: string): string {
  const signs: Record<string, string> = {
    "\\": "\\e",
    "-": "\\-",
    "'": "\\(aq",
    "`": "\\(ga",
    "^": "\\(ha",
    "~": "\\(ti",
  };
  return text
    .replace(/[\\'`^~-]/g, (sign) => signs[sign])
    .replace(/[^\x20-\x7e]/gu, (sign) => {
      return `\\[u${sign.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}]`;
    });
}
