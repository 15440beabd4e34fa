#!/usr/bin/env python3
"""Records real programs and asks blame who wrote: a line of the user's code, or a place in a module.

usage: programs.py --shmrec PATH NAME
  boost      Boost.Interprocess: a vector and a map, templates of which few are inlined
  rust, go   each language's atomics, indexing and copying
  mpi        ranks with a shared window, and the messages of Open MPI
  nginx      as the distribution ships it, without symbols or with some
  postgres   the same; the server and pgbench
  stripped   a program without symbols, and code that a program generates
Exit status: 0 right, 1 wrong, 77 what it needs is not installed.
"""

import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import built

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = os.path.join(HERE, "programs")
REAL = os.path.join(os.path.dirname(HERE), "real")
SKIPPED = 77


class Recorded:
    """A bundle, and what is asked of it."""

    def __init__(self, shmrec, top, command):
        self.shmrec, self.bundle = shmrec, os.path.join(top, "bundle.shmrec.tar.zst")
        work = os.path.join(top, "work")
        os.makedirs(work, exist_ok=True)
        done = subprocess.run([shmrec, "run", "-q", "-o", self.bundle, "--spool", os.path.join(top, "spool"),
                               "--", *command], cwd=work, stdin=subprocess.DEVNULL, timeout=300)
        if done.returncode:
            raise RuntimeError("%s: status %d" % (command, done.returncode))
        self.listed = self.ask("ls", self.bundle)

    def ask(self, command, *arguments):
        asked = subprocess.run([self.shmrec, command, "--json", *arguments], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
        if asked.returncode:
            raise RuntimeError("%s %s: %s" % (command, arguments, asked.stderr.splitlines()[0]))
        return json.loads(asked.stdout)

    def last(self, where, *options):
        return self.ask("blame", self.bundle, where, "--last", *options)["rows"]

    def table(self, where, *options):
        return subprocess.run([self.shmrec, "blame", self.bundle, where, "--last", *options], check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout

    def segment(self, matches):
        return next(segment["number"] for segment in self.listed["segments"] if matches(segment))


def source(name):
    return os.path.join(SOURCES, name)


def names_line(rows, name, *comments):
    """What is wrong unless each row names one of the lines with these comments, and each line is named."""
    expected = {"%s:%d" % (name, built.line_of(source(name), comment)) for comment in comments}
    found = {"%s:%s" % (os.path.basename(row.get("file", "?")), row.get("line")) for row in rows}
    return "" if found == expected else "%s expected, %s found" % (sorted(expected), sorted(found))


def names_place(rows, modules):
    """Each row must have a place in a module: one of these programs', or a source line."""
    wrong = [row for row in rows if not row.get("file") and
             not re.fullmatch(r"(%s)\+0x[0-9a-f]+" % "|".join(modules), row.get("place", ""))]
    return "rows without a place: %s" % wrong if wrong or not rows else ""


def compiled(top, command):
    command = built.compiler_of(command)
    if command is None:
        return None
    program = os.path.join(top, "program")
    subprocess.run(command + ["-o", program], check=True, cwd=top)
    return program


def boost(shmrec, top):
    if not os.path.exists("/usr/include/boost/interprocess/managed_shared_memory.hpp"):
        return None
    wrong = []
    for options in ["-O0"], ["-O2"]:
        program = compiled(top, ["g++", "-g", *options, source("boost.cc"), "-lrt", "-lpthread"])
        run = Recorded(shmrec, top, [program])
        for where, comments in [("table->numbers.m_holder.m_size", ["push"]),
                                ("table->numbers.m_holder.m_start[2]", ["index"]),
                                ("table->by_key", ["insert", "constructor"]),
                                ("table->self->marker", ["marker"])]:
            answer = names_line(run.last(where), "boost.cc", *comments)
            wrong.append(answer and "%s %s: %s" % (options, where, answer))
    return wrong


def rust(shmrec, top):
    wrong = []
    for options in ["-g"], ["-g", "-O"]:
        program = compiled(top, ["rustc", "--edition=2021", *options, source("shared.rs")])
        if program is None:
            return None
        run = Recorded(shmrec, top, [program])
        wrong += [names_line(run.last("1+%d" % at, "--len", "4"), "shared.rs", comment)
                  for at, comment in [(0, "atomic"), (36, "index"), (8, "slice")]]
    return wrong


def go(shmrec, top):
    compilers = [shutil.which("go")] + glob.glob("/usr/lib/go-*/bin/go")
    if not any(compilers):
        return None
    program = os.path.join(top, "program")
    subprocess.run([next(filter(None, compilers)), "build", "-o", program, source("shared.go")], check=True,
                   env=dict(os.environ, GOCACHE=os.path.join(top, "cache"), HOME=top, GO111MODULE="off"))
    run = Recorded(shmrec, top, [program])
    return [names_line(run.last("1+%d" % at, "--len", "4"), "shared.go", comment)
            for at, comment in [(0, "atomic"), (20, "index"), (40, "copy")]]


def mpi(shmrec, top):
    program = compiled(top, ["mpicc", "-O1", "-g", source("window.c")])
    if program is None or not shutil.which("mpirun"):
        return None
    run = Recorded(shmrec, top, ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np", "2", program])
    wrong = [names_line(run.last(where), "window.c", "window") for where in ("window[0]", "window[4]")]
    # Messages go through queues of the library, of which only the place in its module is known.
    queue = run.segment(lambda segment: "vader_segment" in segment["name"])
    rows = run.last("%d+0x1000" % queue, "--len", "4096")
    return wrong + [names_place(rows, [r"[\w-]+\.so[0-9.]*"])]


def nginx(shmrec, top):
    if not shutil.which("nginx") or not shutil.which("curl"):
        return None
    run = Recorded(shmrec, top, ["bash", os.path.join(REAL, "web.sh"), "nginx"])
    zone = run.segment(lambda segment: segment["kind"] == "anonymous" and segment["bytes"] == 65536)
    return [names_place(run.last("%d+0" % zone, "--len", "4096"), ["nginx"])]


POSTGRES = """
set -e
cd "$0"
pg_ctl -D data -l log -w -o "-k $0 -c listen_addresses= -c autovacuum=off" start > started
psql -X -h "$0" -d postgres -q -c "create table t as select i from generate_series(1, 500) i" -c "checkpoint"
pg_ctl -D data -m fast -w stop > stopped
"""


def postgres(shmrec, top):
    """With POSTGRES_BIN, the programs of that directory instead of the distribution's."""
    programs = os.environ.get("POSTGRES_BIN", "/usr/lib/postgresql/15/bin")
    if not os.path.exists(os.path.join(programs, "postgres")):
        return None
    os.environ.update(PATH=programs + ":" + os.environ["PATH"], LC_ALL="C")
    os.chmod(top, 0o755)
    home = os.path.join(top, "home")
    os.makedirs(home)
    as_user = []
    if os.getuid() == 0:  # which it refuses to run as
        shutil.chown(home, "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
    subprocess.run([*as_user, "initdb", "-D", os.path.join(home, "data"), "--no-sync", "-A", "trust"], check=True,
                   stdout=subprocess.DEVNULL)
    run = Recorded(shmrec, top, [*as_user, "bash", "-c", POSTGRES, home])
    buffers = max((segment for segment in run.listed["segments"] if segment["kind"] == "anonymous"),
                  key=lambda segment: segment["bytes"])
    touched = run.ask("ls", run.bundle, str(buffers["number"]))
    rows = [row for piece in touched["ranges"][:2000:200]
            for row in run.last("%d+%d" % (buffers["number"], piece["offset"]), "--len", "64")]
    print("%d rows, %d with source lines" % (len(rows), sum("file" in row for row in rows)))
    return [names_place(rows, ["postgres", r"[\w-]+\.so[0-9.]*"])]


def stripped(shmrec, top):
    program = compiled(top, ["gcc", "-O1", "-s", source("generated.c")])
    run = Recorded(shmrec, top, [program])
    wrong = [names_place(run.last("1+%d" % at, "--len", "4"), ["program"]) for at in (0, 8)]
    if not re.search(r" 1  +program  program +program\+0x[0-9a-f]+  anon", run.table("1+0", "--len", "4")):
        wrong.append("the table does not show the place")
    code = run.last("1+4", "--len", "4")
    if [row.get("place") for row in code] != ["generated code"] or "generated code" not in run.table("1+4"):
        wrong.append("generated code is not told: %s" % code)
    return wrong


PROGRAMS = {"boost": boost, "rust": rust, "go": go, "mpi": mpi, "nginx": nginx, "postgres": postgres,
            "stripped": stripped}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("program", choices=PROGRAMS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shmrec-programs-") as top:
        wrong = PROGRAMS[options.program](options.shmrec, top)
    if wrong is None:
        print("skipped: what %s needs is not installed" % options.program)
        return SKIPPED
    print("\n".join(filter(None, wrong)) or "blame names the places")
    return 1 if any(wrong) else 0


if __name__ == "__main__":
    sys.exit(main())
