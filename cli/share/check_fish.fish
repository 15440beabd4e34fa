#!/usr/bin/env fish
# Fails unless fish's completion knows commands and options. usage: check_fish.fish DIRECTORY_OF_SHMREC
set -gx PATH $argv[1] $PATH
source (status dirname)/shmrec.fish

# Completes a line and expects a word among the answers.
function expect
    if not contains -- $argv[1] (complete -C $argv[2] | string split -f1 \t)
        echo "$argv[2]<TAB> does not give $argv[1], but" (complete -C $argv[2])
        exit 1
    end
end

expect blame 'shmrec bl'
expect --recording 'shmrec blame b.tar.zst --rec'
expect --format 'shmrec export b.tar.zst --fo'
expect verify 'shmrec bundle ver'
expect --policy 'shmrec run --pol'
expect --level 'shmrec run --le'
expect --until 'shmrec replay b.tar.zst --un'
expect sleep 'shmrec run -- slee'
