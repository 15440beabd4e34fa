#!/usr/bin/env python3
"""Records a program that executes so many others that the log's tables and its journal wrap several
times, and looks whether what is current is still known.

usage: exec_many.py --shmrec PATH EXEC_MANY COMMANDS SEGMENTS PROGRAM

In the log: the table of processes (or that of segments) and the journal have come round, nothing was
lost but what was overwritten, and the newest records are of segments that are known. Blame names
function and line of the program's last store; `ls` names the program with its executable. Exit status:
0 all of it holds, 1 something does not.
"""

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile

import shmlog

OF_COMMANDS = {"processes": 3, "journal": 1.05}
OF_SEGMENTS = {"segments": 3}
NEWEST = 200  # threads' last records that are looked at


def rounds(data):
    """How often the journal and the process table have come round."""
    areas = [struct.unpack_from("<QII", data, 64 + 16 * i) for i in range(8)]
    journal_units, = struct.unpack_from("<Q", data, 320)
    next_process, next_lane, next_segment = struct.unpack_from("<III", data, 384)
    return {"journal": journal_units / areas[6][1], "processes": next_process / areas[2][1],
            "segments": next_segment / areas[4][1]}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("victim")
    parser.add_argument("commands", type=int)
    parser.add_argument("segments", type=int)
    parser.add_argument("program")
    options = parser.parse_args()
    wrong = []
    with tempfile.TemporaryDirectory(prefix="shmrec-exec-many-") as top:
        spool = os.path.join(top, "spool")
        subprocess.run([options.shmrec, "run", "-q", "--keep-spool", "-o", os.path.join(top, "bundle"),
                        "--spool", spool, "--", options.victim, str(options.commands),
                        str(options.segments), options.program],
                       check=True, env=dict(os.environ, SHMREC_LOG_SIZE="8MiB"))
        run, = (os.path.join(spool, name) for name in os.listdir(spool)
                if os.path.exists(os.path.join(spool, name, "run.shmlog")))
        log = shmlog.Log(os.path.join(run, "run.shmlog"))
        came = rounds(log.data)
        print("rounds: %s\nlosses: %s" % (came, {k: v for k, v in log.losses.items() if v}))
        wanted = {**(OF_COMMANDS if options.commands else {}), **(OF_SEGMENTS if options.segments else {})}
        wrong += ["%s: %.1f rounds" % (what, came[what]) for what, times in wanted.items()
                  if came[what] < times]
        newest = sorted(log.threads.items(), key=lambda item: item[0][0])[-NEWEST:]
        wrong += ["segment %d is forgotten: %r of %s" % (records[-1].segment, records[-1], thread)
                  for thread, records in newest if records and records[-1].segment not in log.segments]
        wrong += ["%s: %d" % (loss, number) for loss, number in log.losses.items()
                  if number and "overwritten" not in loss]
        answer = subprocess.run([options.shmrec, "blame", "--json", run, "1+64"],
                                stdout=subprocess.PIPE, check=False)
        print(answer.stdout.decode()[:3000])
        rows = json.loads(answer.stdout)["rows"] if answer.returncode == 0 else []
        last = rows[-1] if rows else {}
        if last.get("function") != "store_last" or "exec_many.c" not in str(last.get("file")):
            wrong.append("blame names %s" % last)
        listing = subprocess.run([options.shmrec, "ls", run], stdout=subprocess.PIPE, check=False).stdout.decode()
        if os.path.basename(options.victim) not in listing:
            wrong.append("ls does not name the program:\n" + listing[:2000])
    for line in wrong:
        print("FAILED: " + line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
