# bash completion for shmrec. Commands and options come from the program's own --help, so this file
# does not repeat them.
_shmrec_words() {
  # The first word of each indented line: commands, subcommands, and both spellings of options.
  "${COMP_WORDS[0]}" "$@" --help 2>/dev/null |
    sed -nE 's/^  (-[^ ]+|[a-z]+) .*/\1/p' | tr ',' '\n'
}

_shmrec() {
  local current=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]-} words i
  COMPREPLY=()
  if [ "$COMP_CWORD" = 1 ]; then
    words="$(_shmrec_words) --help --version"
  elif [ "$command" = run ]; then
    # Behind the options stands a command, with arguments of its own.
    for ((i = 2; i < COMP_CWORD; i++)); do
      case ${COMP_WORDS[i]} in
        -p | --policy | -o | --output | --spool | --level) ((i++)) ;;
        --) _command_offset $((i + 1)); return ;;
        -*) ;;
        *) _command_offset "$i"; return ;;
      esac
    done
    words=$(_shmrec_words run)
    [[ $current == -* ]] || { COMPREPLY=($(compgen -c -- "$current")); return; }
  elif [ "$COMP_CWORD" = 2 ]; then
    words=$(_shmrec_words "$command")
  else
    words="$(_shmrec_words "$command") $(_shmrec_words "$command" "${COMP_WORDS[2]}")"
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "$current"))
}
complete -o filenames -F _shmrec shmrec
