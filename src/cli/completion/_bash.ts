// The completion script for bash 4.4 and later. It does not need bash-completion, and starts the program
// only for names.

import { byValue, type CompletedCommand, type Value } from "./_values.ts";

export function bashScript(commands: readonly CompletedCommand[]): string {
  const names = commands.flatMap(({ name }) => (name === "" ? [] : [name])).join(" ");
  return `# bash completion for tts. Made by: tts completion bash

# The options of command $1; "" is speaking.
_tts_options() {
    case $1 in
${commands.map(({ name, options }) => `        '${name}') echo '${options.flatMap(({ spellings }) => spellings).join(" ")}' ;;`).join("\n")}
    esac
}

# Sets words, files and names to what may follow option $2 of command $1. Fails if the option takes no value.
_tts_option_value() {
    case "$1 $2" in
${optionCases(commands)}
        *) return 1 ;;
    esac
}

# Sets words, files and names to what may stand at place $2 of command $1, whose first argument is $3.
_tts_place_value() {
    case "$1 $2 $3" in
${placeCases(commands)}
    esac
}

${completer(names)}
complete -F _tts tts
`;
}

/** The function that bash calls. @param names of the commands, between blanks */
function completer(names: string): string {
  return `_tts() {
    local cur=\${COMP_WORDS[COMP_CWORD]} command='' option='' files='' names='' word i
    local ended=false
    local -a given=() words=()
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=\${COMP_WORDS[i]}
        if $ended; then
            given+=("$word")
        elif [[ -n $option ]]; then
            # --name=value comes as three words.
            [[ $word == = ]] || option=''
        elif [[ $word == -- ]]; then
            ended=true
        elif [[ $word == -?* ]]; then
            _tts_option_value "$command" "$word" && option=$word
        elif ((i == 1)) && [[ ' ${names} ' == *" $word "* ]]; then
            command=$word
        else
            given+=("$word")
        fi
    done
    words=() files='' names=''
    if [[ -n $option ]]; then
        [[ $cur == = ]] && cur=''
        _tts_option_value "$command" "$option"
    elif [[ $cur == -* ]] && ! $ended; then
        read -ra words <<<"$(_tts_options "$command")"
    elif ((COMP_CWORD == 1)); then
        words=(${names})
    else
        _tts_place_value "$command" "\${#given[@]}" "\${given[0]-}"
    fi
    [[ -n $names ]] && mapfile -t -O "\${#words[@]}" words < <("\${1/#\\~/$HOME}" completion "$names" 2>/dev/null)
    for word in "\${words[@]}"; do
        [[ $word == "$cur"* ]] && COMPREPLY+=("$word")
    done
    # If no word fits, readline completes files by itself, quotes and ~ included.
    case $files in
        files) compopt -o default ;;
        folders) compopt -o dirnames ;;
    esac
}
`;
}

function optionCases(commands: readonly CompletedCommand[]): string {
  const all = commands.flatMap(({ name, options }) =>
    options.flatMap(({ spellings, value }) =>
      spellings.map((spelling) => ({ value, pattern: `'${name} ${spelling}'` })),
    ),
  );
  return byValue(all).map(oneCase).join("\n");
}

function placeCases(commands: readonly CompletedCommand[]): string {
  const all = commands.flatMap(({ name, places }) =>
    places.map(({ first, index, value }) => ({
      value,
      pattern: `'${name} ${index} ${first}'${first === "" ? "*" : ""}`,
    })),
  );
  return byValue(all).map(oneCase).join("\n");
}

function oneCase([{ files, names, words }, same]: [Value, { pattern: string }[]]): string {
  const sets = [
    ...(words.length === 0 ? [] : [`words=(${words.join(" ")})`]),
    ...(files === "" ? [] : [`files=${files}`]),
    ...(names === "" ? [] : [`names=${names}`]),
  ];
  const patterns = same.map(({ pattern }) => pattern).join(" | \\\n        ");
  return `        ${patterns}) ${sets.length === 0 ? "" : `${sets.join(" ")} `};;`;
}
