# On a terminal: Ctrl-C reaches the command once, Ctrl-Z stops the whole job, an interactive shell works.
. "$(dirname "$0")/lib.sh"
command -v script >/dev/null || exit 77

cat > count <<'END'
$| = 1;
$SIG{INT} = sub { ++$n };
print "up\n";
my $end = time + 1.5;
select undef, undef, undef, 0.1 while time < $end;
print "interrupts $n\n";
END
# The keys are typed a while after the start: the program says when it is ready, but nobody listens.
out=$( (sleep 0.8; printf '\003'; sleep 2) | timeout 20 script -qec "$driver perl count" /dev/null 2>&1)
check "Ctrl-C arrives once" 1 "$(grep -c 'interrupts 1' <<<"$out")"

out=$( (sleep 0.8; printf 'echo one $((1+1))\r'; sleep 0.5; printf 'exit 5\r'; sleep 0.5) |
  timeout 20 script -qec "$driver bash --norc -i; echo code \$?" /dev/null 2>&1)
check "interactive shell" 1 "$(grep -c 'one 2' <<<"$out")"
check "...has job control" 0 "$(grep -c 'no job control' <<<"$out")"
check "...and its exit code" 1 "$(grep -c 'code 5' <<<"$out")"

# A shell with job control runs the launcher; Ctrl-Z must give its prompt back, fg must go on.
cat > job.sh <<END
set -m
$driver sh -c 'sleep 1.5; echo slept'
echo stopped with \$?
fg >/dev/null
END
out=$( (sleep 0.8; printf '\032'; sleep 3) | timeout 20 script -qec "bash --norc job.sh" /dev/null 2>&1)
check "Ctrl-Z stops the job" 1 "$(grep -c 'stopped with 148' <<<"$out")"
check "...and fg continues it" 1 "$(tr -d '\r' <<<"$out" | grep -c '^slept$')"
finish
