#!/usr/bin/env python3
"""shmrec blame asked from a frame of a core, and of variables of libraries.

usage: frames.py --shmrec PATH PRODUCER_CONSUMER CRASHES
The consumer of the example dies; a question with its locals has the answer that the address has. Frames of
other threads, wrong names, what is in no shared memory, expressions that want to run commands, a machine
without gdb. Then static variables of one name in a program and its library, and pointers in shared memory.
Exit status: 0 if so, 77: no gdb.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

LIBRARY = """
struct node { struct node* next; int value; };
static __attribute__((used)) struct node* list;
void fill(struct node* nodes) {
  list = nodes;
  list->next = nodes + 1;
  list->next->value = 33;  // library
  list->next->next = nodes + 2;
  list->next->next->value = 44;  // further
}
"""
OPTIMIZED = """
#include <stdlib.h>
#include <sys/mman.h>
struct item { int number; int* link; };
static struct item* items;
__attribute__((noinline)) static void die(int* p) { *p += 1; abort(); }
__attribute__((noinline)) static void use(int count) {
  int* gone = &items[count].number;
  die(&items[count + 1].number);
  (void)gone;
}
int main(int count, char** arguments) {
  (void)arguments;
  items = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  items[count].number = 4;
  items[count].link = &items[count + 1].number;
  use(count);
  return 0;
}
"""
PROGRAM = """
#include <sys/mman.h>
struct node { struct node* next; int value; };
static struct node* list;
void fill(struct node* nodes);
int main(void) {
  list = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  list[100].next = list + 101;
  list[100].next->value = 55;  // program
  fill(list + 10);
  list += 100;
  return 3;
}
"""


def run(*words, status=0, **options):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=100,
                          **options)
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    assert done.returncode == status, "%s: exit status %d, expected %d\n%s%s" % (words, done.returncode, status, out, err)
    return out, err


def record(shmrec, top, *command):
    bundle = os.path.join(top, "bundle.shmrec.tar.zst")
    subprocess.run([shmrec, "run", "--spool", os.path.join(top, "spool"), "-o", bundle, "--", *command], cwd=top,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
    return bundle


def same(what, found, expected):
    assert found == expected, "%s:\n%s\nexpected:\n%s" % (what, found, expected)


def expect(part, text):
    assert part in text, "no %r in:\n%s" % (part, text)


def in_gdb(shmrec, bundle, expression):
    text, _ = run(shmrec, "gdb", bundle, "--", "-batch", "-nx", "-ex", "frame function consumer_run", "-ex",
                  "output %s" % expression)
    return text.splitlines()[-1]


def the_example(shmrec, program, top):
    bundle = record(shmrec, top, program)
    address = re.search(r"0x[0-9a-f]+", in_gdb(shmrec, bundle, "&shmem_data_array[index]")).group()
    by_address, _ = run(shmrec, "blame", bundle, address, "--recording", "consumer", "--len", "4")
    assert "producer_run" in by_address, by_address
    stack, _ = run(shmrec, "gdb", bundle, "--", "-batch", "-nx", "-ex", "backtrace")
    frame = re.search(r"^#(\d+) .* in consumer_run ", stack, re.M).group(1)
    for where in ("consumer_run:&shmem_data_array[index]", "consumer_run: shmem_data_array[index]",
                  "frame %s: &shmem_data_array[index]" % frame, "frame %s:shmem_data_array + index" % frame,
                  "consumer_run:*(int*)(void*)(&shmem_data_array[index] + 0)", "consumer_run:%s" % address):
        options = ["--len", "4"] if where.endswith(address) else []
        table, notes = run(shmrec, "blame", bundle, where, *options)
        same(where, table, by_address)
        expect("note: asked in frame %s: consumer_run (shmem_producer_consumer.c:" % frame, notes)
    same("named", run(shmrec, "blame", bundle, "consumer_run:&shmem_data_array[index]", "--recording", "consumer")[0],
         by_address)
    answer = json.loads(run(shmrec, "blame", bundle, "main:shmem_data_array", "--json")[0])
    same("length of what a pointer leads to", answer["length"], 4)
    same("its place", answer["offset"], 0)
    place = re.search(r"\S+\+0x[0-9a-f]+$", by_address, re.M).group()
    for question in (["timeline"], ["blame", "--last"]):
        asked = [shmrec, *question, bundle]
        same(question, run(*asked, "consumer_run:&shmem_data_array[index]")[0], run(*asked, place, "--len", "4")[0])
    return bundle


def errors(shmrec, bundle):
    def refused(where, *options, **more):
        return run(shmrec, "blame", bundle, where, *options, status=2, **more)[1]
    said = refused("consumer_run:index")
    expect("consumer_run:index: 0x", said)
    expect("is not in traced shared memory of", said)
    said = refused("nothing:index")
    expect("no frame is of a function nothing; the thread that died has", said)
    assert re.search(r"^  frame \d+: consumer_run \(shmem_producer_consumer\.c:\d+\)$", said, re.M), said
    expect("there is no frame 999", refused("frame 999: index"))
    expect('No symbol "nothing" in current context', refused("consumer_run:nothing"))
    expect("expected an expression behind ':'", refused("consumer_run:"))
    expect("left no core", refused("producer_run:index", "--recording", "producer"))
    expect("no recording is called 'nobody'", refused("consumer_run:index", "--recording", "nobody"))
    with tempfile.TemporaryDirectory(prefix="shmrec-frames-") as empty:
        said = refused("consumer_run:index", env={"PATH": empty})
        expect("gdb: it is not installed, or not on PATH; say an address", said)


def hostile(shmrec, bundle, top):
    """What would run a command if it could leaves no trace, and is an error like any other."""
    trace = os.path.join(top, "trace")
    touch = "touch %s" % trace
    for expression in ('$_shell("%s")' % touch, "1\nshell %s" % touch, "1; shell %s" % touch, "| %s" % touch,
                       "python open('%s', 'w')" % trace, "1\npython open('%s', 'w')" % trace, 'system("%s")' % touch,
                       "((int(*)(const char*))system)(\"%s\")" % touch, '"%s"' % touch, "`%s`" % touch, "!%s" % touch,
                       "$(%s)" % touch, "'\"; shell %s; \"'" % touch, "__import__('os').system('%s')" % touch,
                       "&shmem_data_array[index] -ex 'shell %s'" % touch, "-ex", "$_gdb_setting(\"height\")",
                       "&shmem_data_array[index = 5]", "(" * 4000, "a" * 5000, "*" * 4000 + "index", "%s%n\\", "\x1b[2J",
                       "shmem_data_array[0]@100000000000", "1/0", "$rip = 0", "\udcff"):
        _, said = run(shmrec, "blame", bundle, "consumer_run:" + expression, status=2)
        assert said.startswith("shmrec: ") and "\x1b" not in said, said
        assert not os.path.exists(trace), "%r was executed" % expression
    # What only looks like a command is an expression.
    run(shmrec, "blame", bundle, "consumer_run:&shmem_data_array[index] + 0")
    assert not os.path.exists(trace)


def other_threads(shmrec, crashes, top):
    bundle = record(shmrec, top, crashes, "abort")
    table, notes = run(shmrec, "blame", bundle, "main:shared->words[5]")
    expect("write", table)
    expect("in frame ", notes)
    answer = json.loads(run(shmrec, "blame", bundle, "counter: shared->words[100]", "--json")[0])
    same("of another thread", answer["offset"] % 4, 0)
    assert any("counter" in note for note in answer["notes"]), answer["notes"]
    expect("is not in traced", run(shmrec, "blame", bundle, "fall:local.number", status=2)[1])


def optimized(shmrec, top):
    """What the compiler kept, in registers too, and what it did not; pointers in shared memory are the core's."""
    with open(os.path.join(top, "optimized.c"), "w") as file:
        file.write(OPTIMIZED)
    run("cc", "-g", "-O2", "-o", "optimized", "optimized.c", cwd=top)
    bundle = record(shmrec, top, os.path.join(top, "optimized"))
    for where, offset in (("use:&items[count].number", 16), ("use:*items[1].link", 32), ("main:items[count].link", 32)):
        answer = json.loads(run(shmrec, "blame", bundle, where, "--json")[0])
        same(where, (answer["offset"], answer["length"], len(answer["rows"])), (offset, 4, 1))
    expect("die:p: p: the compiler has optimized it out", run(shmrec, "blame", bundle, "die:p", status=2)[1])
    expect("use:count: its value is taken for an address: 0x1 is not in traced",
           run(shmrec, "blame", bundle, "use:count", status=2)[1])


def libraries(shmrec, top):
    for name, text in (("library.c", LIBRARY), ("program.c", PROGRAM)):
        with open(os.path.join(top, name), "w") as file:
            file.write(text)
    run("cc", "-g", "-O1", "-shared", "-fPIC", "-o", "liblist.so.1", "library.c", cwd=top)
    run("cc", "-g", "-O0", "-o", "program", "program.c", "./liblist.so.1", cwd=top)
    bundle = record(shmrec, top, os.path.join(top, "program"))
    for where, comment, value in (("list->next->value", "program", 55), ("liblist.so:list->next->value", "library", 33),
                                  ("liblist.so.1:list->next->next->value", "further", 44),
                                  ("program:list->next->value", None, None)):
        if comment is None:  # a name without a dot is a function's
            expect("no process left a core", run(shmrec, "blame", bundle, where, status=2)[1])
            continue
        rows = json.loads(run(shmrec, "blame", bundle, where, "--json")[0])["rows"]
        source = PROGRAM if comment == "program" else LIBRARY
        line = next(n for n, text in enumerate(source.splitlines(), 1) if text.endswith("// " + comment))
        same(where, [(row["line"], row["number"]) for row in rows if row["type"] == "write"][-1:], [(line, value)])
    expect("no library or program 'libnone.so'", run(shmrec, "blame", bundle, "libnone.so:list", status=2)[1])
    expect("no such global variable", run(shmrec, "blame", bundle, "liblist.so:other", status=2)[1])


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("program")
    parser.add_argument("crashes")
    options = parser.parse_args()
    if not shutil.which("gdb"):
        return 77
    with tempfile.TemporaryDirectory(prefix="shmrec-frames-") as top:
        libraries(options.shmrec, top)
    with tempfile.TemporaryDirectory(prefix="shmrec-frames-") as top:
        optimized(options.shmrec, top)
    with tempfile.TemporaryDirectory(prefix="shmrec-frames-") as top:
        bundle = the_example(options.shmrec, os.path.abspath(options.program), top)
        errors(options.shmrec, bundle)
        hostile(options.shmrec, bundle, top)
    with tempfile.TemporaryDirectory(prefix="shmrec-frames-") as top:
        other_threads(options.shmrec, os.path.abspath(options.crashes), top)
    return 0


if __name__ == "__main__":
    sys.exit(main())
