// The completion script for zsh: a file _tts in a folder of $fpath, or sourced after compinit.

import type { CompletedCommand, CompletedOption, Value } from "./_values.ts";

export function zshScript(commands: readonly CompletedCommand[]): string {
  const named = commands.filter(({ name }) => name !== "");
  return `#compdef tts
# zsh completion for tts. Made by: tts completion zsh

# $1: fixed words, $2: files, folders or "", $3: the kind of names to ask the program for, or "".
_tts_value() {
    local ret=1
    local -a expl candidates=(\${=1})
    [[ -n $3 ]] && candidates+=(\${(f)"$(_call_program names $tts_program completion $3 2>/dev/null)"})
    (( $#candidates )) && _wanted values expl value compadd -a candidates && ret=0
    case $2 in
        files) _files && ret=0 ;;
        folders) _files -/ && ret=0 ;;
    esac
    return ret
}

# The arguments of command $1 that are not options.
_tts_place() {
    case "$1 $(( $#line - 1 )) $line[1]" in
${named.flatMap(({ name, places }) => places.map(({ first, index, value }) => `        (${quoted(`${name} ${index} ${first}`)}${index === 0 || first === "" ? "*" : ""}) _tts_value ${asArguments(value)} ;;`)).join("\n")}
        (*) return 1 ;;
    esac
}

_tts_commands() {
    (( CURRENT == 2 )) || return 1
    local -a commands=(
${named.map(({ description, name }) => `        ${quoted(`${name}:${description}`)}`).join("\n")}
    )
    _describe command commands
}

${commands.map(commandFunction).join("\n\n")}

_tts() {
    local tts_program=$words[1]
    if (( CURRENT > 2 && $+functions[_tts_command_$words[2]] )); then
        shift words
        (( CURRENT-- ))
        _tts_command_$words[1]
    else
        _tts_command_
    fi
}

if [[ $funcstack[1] == _tts ]]; then
    _tts "$@"
else
    compdef _tts tts
fi
`;
}

function commandFunction({ name, options }: CompletedCommand): string {
  const last = name === "" ? "'1: :_tts_commands' '*: :'" : quoted(`*:argument: _tts_place ${name}`);
  return `_tts_command_${name}() {
    _arguments -S \\
${options.map((option) => `        ${optionSpec(option)} \\\n`).join("")}        ${last}
}`;
}

/** `'(-o --output)'{-o,--output=}'[where the sound goes]:FILE:action'` */
function optionSpec({ description, hint, spellings, value }: CompletedOption): string {
  const others = spellings.length === 1 ? "" : quoted(`(${spellings.join(" ")})`);
  const forms = spellings.map((spelling) =>
    value !== null && spelling.startsWith("--") ? `${spelling}=` : spelling,
  );
  const behind = value === null ? "" : `:${hint.replace(/:/g, "\\:")}: _tts_value ${asArguments(value)}`;
  return `${others}${forms.length === 1 ? forms[0] : `{${forms.join(",")}}`}${quoted(`[${description.replace(/[[\]\\]/g, "\\$&")}]${behind}`)}`;
}

const asArguments = ({ files, names, words }: Value) => `"${words.join(" ")}" "${files}" "${names}"`;

const quoted = (text: string) => `'${text.replace(/'/g, "'\\''")}'`;
