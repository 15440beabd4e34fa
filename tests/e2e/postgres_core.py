#!/usr/bin/env python3
"""A PostgreSQL backend that dies: its core opens, and what is in shared memory has its writer.

usage: postgres_core.py --shmrec PATH
Starts a server recorded, makes one of its backends die (SIGSEGV, while it sleeps in a query), and asks the
bundle: the report and `shmrec backtrace` name the function that it waited in, and in `shmrec gdb` ublame says
who wrote its PGPROC. Debian's server has no debug information: MyProc is found by its symbol.
Exit status: 0 if so, 1 if not, 77: no server, no gdb, or not root.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

SERVER = "/usr/lib/postgresql/15/bin"
WORKLOAD = """
set -eu
export PATH=%s:/usr/bin:/bin LC_ALL=C TZ=UTC
cd "$1"
initdb -D data -A trust --no-sync --no-instructions > log
cat >> data/postgresql.conf << END
listen_addresses = ''
unix_socket_directories = '$1'
fsync = off
autovacuum = off
shared_buffers = 16MB
max_connections = 20
END
pg_ctl -D data -l log -w -t 120 start > /dev/null
sql() { psql -X -At -h "$1" -d postgres; }
(echo "select 'pid', pg_backend_pid(); select pg_sleep(60);" | sql "$1" > out 2>&1 || true) &
for i in $(seq 300); do grep -q '^pid' out && break; sleep 0.1; done
sleep 0.5
kill -SEGV "$(grep '^pid' out | cut -d'|' -f2)"
wait
for i in $(seq 100); do echo "select 'it goes on'" | sql "$1" 2> /dev/null && break; sleep 0.2; done
pg_ctl -D data -m fast -w -t 60 stop > /dev/null
grep -o 'was terminated by signal 11' log
""" % SERVER


def run_as_postgres(*command, **options):
    words = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *command]
    return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=200, **options)


def expect(pattern, text):
    found = re.search(pattern, text, re.M)
    assert found, "no %r in:\n%s" % (pattern, text)
    return found


def check(shmrec, top):
    os.chmod(top, 0o755)
    mine, data = shutil.copy(shmrec, top), os.path.join(top, "server")
    os.mkdir(data)
    shutil.chown(data, "postgres", "postgres")
    bundle = os.path.join(data, "bundle")
    done = run_as_postgres(mine, "run", "--spool", os.path.join(data, "spool"), "-o", bundle, "--", "bash", "-c",
                           WORKLOAD, "workload", data, cwd=data)
    expect("it goes on\nwas terminated by signal 11", done.stdout)
    pid = expect(r"shmrec: postgres \(pid (\d+)\) died of SIGSEGV in WaitEventSetWait", done.stderr).group(1)
    stacks = run_as_postgres(mine, "backtrace", bundle, pid).stdout
    for function in ("WaitEventSetWait", "pg_sleep", "PostgresMain", "main"):
        expect(r" in %s \(\)" % function, stacks)
    said = run_as_postgres(mine, "gdb", bundle, pid, "--", "-batch", "-nx", "-ex", "backtrace", "-ex",
                           "ublame *(long*)*(char**)&MyProc", cwd=data)
    assert "Could not load shared library" not in said.stdout + said.stderr, said.stderr
    expect(r"^#\d+ .* in pg_sleep ", said.stdout)
    expect(r"^[*>]? +%s  \S+ +\S+ +write +0x\S+" % pid, said.stdout)
    expect(r"^(This process|postgres \(pid \d+, recording \S+\)) wrote it in .* at [\d,]+:0x", said.stdout)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    options = parser.parse_args()
    if os.geteuid() != 0 or not os.path.exists(SERVER) or not shutil.which("gdb"):
        return 77
    with tempfile.TemporaryDirectory(prefix="shmrec-pg-core-") as top:
        check(options.shmrec, top)
    return 0


if __name__ == "__main__":
    sys.exit(main())
