"""gdb's commands for a bundle of shmrec, as `shmrec gdb` starts it: ublame, ugo, shmprint, info
recordings, info segments; `help shmrec` lists them.

The session (session.json beside this file) says which bundle is open and which recording each
inferior shows. All answers come from the program shmrec itself.
"""

import json
import os
import subprocess
import sys

import gdb

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import away
from places import place_of

MOST_BYTES = 65536


class Session:
    def __init__(self):
        with open(os.path.join(HERE, "session.json"), encoding="utf-8") as file:
            said = json.load(file)
        self.shmrec, self.bundle = said["shmrec"], said["bundle"]
        self.recordings = said["recordings"]
        self.of_inferior = {1: said["recording"]}
        self.listing = None

    def current(self):
        """The recording that the selected inferior shows, or None."""
        return self.of_inferior.get(gdb.selected_inferior().num)

    def as_of(self, recording):
        """Options of `shmrec blame`: the moment of a core whose process ran on, else its end."""
        at = next((one["at"] for one in self.recordings if one["id"] == recording), 0)
        return ["--recording", recording] + (["--at", str(at)] if at else [])

    def ask(self, *arguments):
        done = subprocess.run([self.shmrec, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        if done.returncode != 0:
            text = done.stderr.decode(errors="replace").strip()
            raise gdb.GdbError(text or "shmrec %s ended with %d" % (arguments[0], done.returncode))
        return done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")

    def ls(self):
        if self.listing is None:
            self.listing = json.loads(self.ask("ls", "--json", self.bundle)[0])
        return self.listing

    def find(self, wanted):
        """The recording with this ID, pid or name."""
        found = [r for r in self.recordings if wanted in (r["id"], str(r["pid"]), r["name"])]
        if len(found) == 1:
            return found[0]
        if found:
            raise gdb.GdbError("%s: %d recordings are called so; use an ID of `info recordings`" % (wanted, len(found)))
        raise gdb.GdbError("%s: no such recording; `info recordings` lists them" % wanted)


SESSION = Session()


def write(text):
    gdb.write(text if text.endswith("\n") else text + "\n")


def quoted(path):
    """As one word of a command that splits its argument."""
    return '"%s"' % path.replace("\\", "\\\\").replace('"', '\\"')


def numbers(text, option):
    try:
        return str(int(text, 0))
    except ValueError:
        raise gdb.GdbError("%s %s: expected a number" % (option, text))


def split_options(words, options):
    """The expression, and the options in front of it or behind it: {name: value}."""
    taken, rest = {}, []
    words = words.split()
    while words:
        word = words.pop(0)
        if word not in options:
            rest.append(word)
        elif not options[word]:
            taken[word] = True
        elif words:
            taken[word] = words.pop(0)
        else:
            raise gdb.GdbError("%s: expected a number behind it" % word)
    return " ".join(rest), taken


def sentence(answer, forward):
    """The writer that the answer names, in one sentence; None: it names none."""
    rows = [row for row in answer["rows"] if not row.get("unrecordedWriter")]
    if forward or not rows:
        return None
    writes = [row for row in rows if row["type"] != "read" and not row.get("later")]
    if not writes:
        return "No recorded access wrote the value that is there."
    row = writes[-1]
    who = "This process" if row.get("current") else "%s (pid %s, recording %s)" % (
        row.get("name") or "a process", row.get("pid"), row.get("recording"))
    where = row.get("place") or row["pc"]
    if row.get("line"):
        where = "%s (%s:%d)" % (row.get("function") or "?", os.path.basename(row.get("file") or "?"), row["line"])
    return "%s wrote it in %s at %s." % (who, where, row["time"])


class Shmrec(gdb.Command):
    """Commands for shared memory that shmrec has recorded.

ublame EXPR        which accesses led to the value of EXPR, by all recordings
shmprint EXPR      prints EXPR and says which of its bytes this process never accessed, or has
                   not seen as they are now
info recordings    the processes in the bundle
info segments      what they shared, and where it is in this one
ugo inferior ID    goes to another process's core"""

    def __init__(self):
        super().__init__("shmrec", gdb.COMMAND_SUPPORT, prefix=True)


class Ublame(gdb.Command):
    """Prints the accesses that led to a value in shared memory, newest last.
Usage: ublame EXPR [--forward] [--history N|all] [--len N] [--show-command-line]

EXPR is anything that gdb can evaluate: a pointer means what it points to, anything else itself.
Rows of the recording that is looked at begin with *, what others wrote after its last access
with >. --forward: who read the value. --history: also earlier writes."""

    OPTIONS = {"--forward": False, "--show-command-line": False, "--history": True, "--len": True}

    def __init__(self):
        super().__init__("ublame", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def invoke(self, argument, from_tty):
        text, options = split_options(argument, self.OPTIONS)
        if not text:
            raise gdb.GdbError("Usage: ublame EXPR [--forward] [--history N] [--len N] [--show-command-line]")
        recording = SESSION.current()
        if recording is None:
            raise gdb.GdbError("this inferior is no recording of the bundle; see `info recordings`")
        address, length, _ = place_of(text)
        asked = ["blame", SESSION.bundle, hex(address), *SESSION.as_of(recording)]
        if "--len" in options:
            length = int(numbers(options["--len"], "--len"))
        if length:
            asked += ["--len", str(min(length, MOST_BYTES))]
        if "--history" in options:
            history = options["--history"]
            asked += ["--history", history if history == "all" else numbers(history, "--history")]
        asked += [option for option in ("--forward", "--show-command-line") if option in options]
        table, notes = SESSION.ask(*asked)
        write(table)
        for line in notes.splitlines():
            write(line)
        answer = json.loads(SESSION.ask(*[a for a in asked if a != "--show-command-line"], "--json")[0])
        said = sentence(answer, "--forward" in options)
        if said:
            write("\n" + said)


class Shmprint(gdb.Command):
    """Prints an expression, and which of its bytes this process has not seen as they are.
Usage: shmprint EXPR

<never accessed>: this process neither read nor wrote these bytes.
<stale>: another process wrote them after this one's last access."""

    def __init__(self):
        super().__init__("shmprint", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def invoke(self, argument, from_tty):
        value = gdb.parse_and_eval(argument)
        write("%s = %s" % (argument, value.format_string()))
        if value.address is None:
            return
        address, length = int(value.address), min(value.type.sizeof, MOST_BYTES)
        for begin, count, mark in self.marks(address, length):
            of_all = " (all)" if count == length else " (bytes %d to %d)" % (begin, begin + count - 1)
            write("  %s%s" % (mark, of_all if length > 1 else ""))

    def marks(self, address, length):
        """(first byte, count, mark) of what is not as this process has seen it."""
        try:
            answer = json.loads(SESSION.ask("blame", "--json", SESSION.bundle, hex(address),
                                            *SESSION.as_of(SESSION.current() or ""), "--len", str(length))[0])
        except gdb.GdbError as error:
            if "shared" not in str(error) and "segment" not in str(error):
                raise
            return []  # private memory
        state = ["<never accessed>"] * length
        for row in answer["rows"]:
            first = row.get("valueOffset", row["offset"]) - answer["offset"]
            for i in range(max(first, 0), min(first + len(row["value"]) // 2, length)):
                if row.get("current"):
                    state[i] = None
                elif row.get("later") and state[i] is None:
                    state[i] = "<stale>"
        ranges = []
        for i, mark in enumerate(state):
            if mark and ranges and ranges[-1][2] == mark and ranges[-1][0] + ranges[-1][1] == i:
                ranges[-1][1] += 1
            elif mark:
                ranges.append([i, 1, mark])
        return ranges


class InfoRecordings(gdb.Command):
    """Lists the recordings of the bundle: processes, how they ended, and whether they left a core."""

    def __init__(self):
        super().__init__("info recordings", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        shown = {recording: number for number, recording in SESSION.of_inferior.items()}
        rows = [("", "ID", "PID", "Name", "Ended", "Core", "Inferior")]
        for one in SESSION.recordings:
            rows.append(("*" if one["id"] == SESSION.current() else "", one["id"], str(one["pid"]), one["name"],
                         one["ended"] or "?", "yes" if one["core"] else "no", str(shown.get(one["id"], ""))))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        for row in rows:
            write("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


class InfoSegments(gdb.Command):
    """Lists the shared memory of the bundle, and where it was last mapped in this process."""

    def __init__(self):
        super().__init__("info segments", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        for segment in SESSION.ls()["segments"]:
            write("%d  %s  %s, %s bytes" % (segment["number"], segment["label"], segment["kind"], segment["bytes"]))
            for user in segment["users"]:
                mark = "*" if user["recording"] == SESSION.current() else " "
                places = ", ".join("%s-%s" % (m["begin"], m["end"]) for m in user["mappings"]) or "no longer mapped"
                write("  %s %s  %d reads, %d writes  %s" % (mark, user["recording"], user["reads"], user["writes"],
                                                            places))


class Ugo(gdb.Command):
    """Goes to another place of the bundle; `help ugo inferior`."""

    def __init__(self):
        super().__init__("ugo", gdb.COMMAND_RUNNING, prefix=True)


class UgoInferior(gdb.Command):
    """Goes to the core of another recording, as an inferior of its own.
Usage: ugo inferior ID

ID is a recording's ID, pid or name (`info recordings`). `inferior 1` goes back."""

    def __init__(self):
        super().__init__("ugo inferior", gdb.COMMAND_RUNNING)

    def invoke(self, argument, from_tty):
        words = argument.split()
        if not words:
            raise gdb.GdbError("Usage: ugo inferior ID")
        one = SESSION.find(words[0])
        for number, recording in SESSION.of_inferior.items():
            if recording == one["id"]:
                gdb.execute("inferior %d" % number)
                return
        if not one["core"]:
            self.describe(one)
            return
        before = {inferior.num for inferior in gdb.inferiors()}
        gdb.execute("add-inferior -no-connection", to_string=True)
        number = next(inferior.num for inferior in gdb.inferiors() if inferior.num not in before)
        gdb.execute("inferior %d" % number, to_string=True)
        if one["program"]:
            gdb.execute("file %s" % quoted(one["program"]), to_string=True)
        SESSION.of_inferior[number] = one["id"]
        away.leave()
        try:
            gdb.execute("core-file %s" % one["core"])
        finally:
            away.come_back()

    def describe(self, one):
        write("%s (pid %s) left no core: %s." % (one["name"], one["pid"], one["ended"] or "nobody saw its end"))
        write("What it did last with each segment:")
        for segment in SESSION.ls()["segments"]:
            for user in segment["users"]:
                if user["recording"] == one["id"]:
                    write("  %s: %d reads, %d writes" % (segment["label"], user["reads"], user["writes"]))
        write("Ask `shmrec timeline %s SEGMENT+OFFSET --recording %s`." % (SESSION.bundle, one["id"]))


for command in (Shmrec, Ublame, Shmprint, InfoRecordings, InfoSegments, Ugo, UgoInferior):
    command()
