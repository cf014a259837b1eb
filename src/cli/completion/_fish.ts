// The completion script for fish 3 and later.

import { byValue, type CompletedCommand, type CompletedOption, type Value } from "./_values.ts";

/** Functions that find what the cursor is at, the same for every list of commands. */
const PLACES = `# Whether the cursor is at place $argv[2] of command $argv[1], whose first argument is $argv[3] ('' is any).
function __tts_at
    __tts_is $argv[1]; or return 1
    set -l words (commandline -opc)
    set -l given
    set -l option ''
    set -l ended ''
    for word in $words[3..-1]
        if test -n "$ended"
            set -a given $word
        else if test -n "$option"
            set option ''
        else if test "$word" = --
            set ended yes
        else if string match -q -- '-?*' $word
            __tts_takes_value $argv[1] $word; and set option $word
        else
            set -a given $word
        end
    end
    test (count $given) -eq $argv[2]; or return 1
    test -z "$argv[3]"; or test "$given[1]" = "$argv[3]"
end

function __tts_names
    set -l words (commandline -opc)
    type -q $words[1]; and $words[1] completion $argv[1] 2>/dev/null
end
`;

export function fishScript(commands: readonly CompletedCommand[]): string {
  const names = commands.flatMap(({ name }) => (name === "" ? [] : [name]));
  const spellings = commands.flatMap(({ name, options }) =>
    options.flatMap(({ spellings, value }) =>
      spellings.map((spelling) => ({ value, word: `'${name} ${spelling}'` })),
    ),
  );
  return `# fish completion for tts. Made by: tts completion fish

# The command on the line; nothing for speaking.
function __tts_command
    set -l words (commandline -opc)
    if contains -- "$words[2]" ${names.join(" ")}
        echo $words[2]
    end
end

# Whether the command on the line is $argv[1]; '' is speaking.
function __tts_is
    set -l command (__tts_command)
    test "$command" = "$argv[1]"
end

# Whether option $argv[2] of command $argv[1] takes a value from the next word.
function __tts_takes_value
    switch "$argv[1] $argv[2]"
        case ${byValue(spellings)
          .flatMap(([, same]) => same.map(({ word }) => word))
          .join(" ")}
            return 0
    end
    return 1
end

${PLACES}
complete -c tts -f
${commands
  .filter(({ name }) => name !== "")
  .map(
    ({ description, name }) =>
      `complete -c tts -n 'test (count (commandline -opc)) -eq 1' -a ${name} -d ${quoted(description)}`,
  )
  .join("\n")}

${commands.map(commandLines).join("\n\n")}
`;
}

function commandLines({ name, options, places }: CompletedCommand): string {
  const lines = options.map((option) => `complete -c tts -n "__tts_is '${name}'" ${optionFlags(option)}`);
  for (const { first, index, value } of places)
    lines.push(
      `complete -c tts -n "__tts_at '${name}' ${index} '${first}'" ${value.files === "files" ? "-F" : "-f"}${candidates(value)}`,
    );
  return lines.join("\n");
}

function optionFlags({ description, spellings, value }: CompletedOption): string {
  const names = spellings.map((spelling) =>
    spelling.startsWith("--") ? `-l ${spelling.slice(2)}` : `-s ${spelling.slice(1)}`,
  );
  const takes = value === null ? "" : `${value.files === "files" ? " -r -F" : " -x"}${candidates(value)}`;
  return `${names.join(" ")}${takes} -d ${quoted(description)}`;
}

function candidates({ files, names, words }: Value): string {
  const all = [
    ...words,
    ...(names === "" ? [] : [`(__tts_names ${names})`]),
    ...(files === "folders" ? ["(__fish_complete_directories (commandline -ct))"] : []),
  ];
  return all.length === 0 ? "" : ` -a ${quoted(all.join(" "))}`;
}

const quoted = (text: string) => `'${text.replace(/[\\']/g, "\\$&")}'`;
