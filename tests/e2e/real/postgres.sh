#!/bin/bash
# PostgreSQL from nothing: initdb, start, pgbench -i, both modes, clean stop; prints what is the same in
# every run. usage: postgres.sh [TRANSACTIONS] (works in a directory of its own; as root it becomes `postgres`)
set -euo pipefail
transactions=${1:-20}
export PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin LC_ALL=C TZ=UTC
if [ "$(id -u)" = 0 ]; then
  # It may not be allowed to read this file, nor to be in this directory.
  exec setpriv --reuid=postgres --regid=postgres --init-groups bash -c "$(cat "$0")" "$0" "$transactions"
fi
top=$(mktemp -d /tmp/shmrec-pg-XXXXXX)
cd "$top"
data=$top/data socket=$top
started=0
finish() {
  status=$?
  [ $started = 0 ] || pg_ctl -D "$data" -m immediate stop > /dev/null || true
  [ $status = 0 ] || tail -30 log >&2 || true
  cd /
  rm -rf "$top"
}
trap finish EXIT
initdb -D "$data" -A trust --no-sync --no-instructions > log
cat >> "$data/postgresql.conf" << END
listen_addresses = ''
unix_socket_directories = '$socket'
fsync = off
autovacuum = off
shared_buffers = 16MB
max_connections = 20
END
pg_ctl -D "$data" -l log -w -t 120 start > /dev/null
started=1
query() { psql -X -At -h "$socket" -d postgres -c "$1"; }
bench() { pgbench -h "$socket" -n "$@" postgres > bench.log 2>&1 || { cat bench.log >&2; false; }; }
pgbench -h "$socket" -i -s 1 -q postgres > /dev/null 2>&1
query "select 'accounts', count(*), sum(abalance) from pgbench_accounts"
for protocol in simple prepared; do
  bench -M "$protocol" -c 2 -j 2 -t "$transactions"
  grep -E 'transactions actually processed|failed transactions' bench.log
  bench -M "$protocol" -S -c 2 -j 2 -t "$transactions"
  grep -E 'transactions actually processed|failed transactions' bench.log
done
rm bench.log
# What the benchmark keeps equal, whatever its random numbers were.
query "select 'history', count(*) from pgbench_history"
query "select 'sums agree', (select sum(abalance) from pgbench_accounts) = (select sum(tbalance) from pgbench_tellers),
  (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)"
query "create table numbers as select i, md5(i::text) as text from generate_series(1, 2000) i"
query "create index on numbers (text)"
query "set enable_seqscan = off; select md5(string_agg(text, ',' order by text)) from numbers where text > '8'"
query "set min_parallel_table_scan_size = 0; set parallel_setup_cost = 0; set parallel_tuple_cost = 0;
  select count(*), sum(length(text)) from numbers"
pg_ctl -D "$data" -m fast -w -t 120 stop > /dev/null
started=0
pg_controldata "$data" | grep 'cluster state'
# A fast stop may meet a connection that is just ending, alone too.
grep -E 'PANIC|FATAL|ERROR|terminated by signal' log | grep -v 'due to administrator command' || true
