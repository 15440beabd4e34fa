# fish completion for shmrec. Commands and options come from the program's own --help, so this file does
# not repeat them.
function __shmrec_words
    # The first word of each indented line: commands, subcommands, and both spellings of options.
    set -l line (commandline -opc)
    $line[1] $argv --help 2>/dev/null | string replace -rf '^  (-\S+|[a-z]+) .*' '$1' | string split ,
end

function __shmrec_complete
    set -l line (commandline -opc)
    switch (count $line)
        case 1
            __shmrec_words
            printf '%s\n' --help --version
        case 2
            __shmrec_words $line[2]
        case '*'
            __shmrec_words $line[2]
            test "$line[2]" = run; or __shmrec_words $line[2] $line[3]
    end
end

complete -c shmrec -f -n 'test (count (commandline -opc)) -eq 1'
complete -c shmrec -a '(__shmrec_complete)'
complete -c shmrec -n '__fish_seen_subcommand_from run' -x -a '(__fish_complete_subcommand --fcs-skip=2)'
