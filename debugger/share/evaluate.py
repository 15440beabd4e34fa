"""Finds the place in memory that an expression means in a frame of the core that gdb has opened.

The question is in question.json beside this file, the answer comes into answer.json. The expression is data of
the question: gdb evaluates it, and it never becomes part of a command.
"""

import json
import os
import sys

import gdb

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from places import place_of

MOST_FRAMES = 512
MOST_THREADS = 1024


class Failed(Exception):
    """With the frames that there are to choose from, if they are of use."""

    def __init__(self, message, frames=()):
        super().__init__(message)
        self.frames = [described(number, frame) for number, frame in frames]


def frames_of(thread):
    """(number, frame), innermost first, as far as the stack can be unwound."""
    thread.switch()
    frames = []
    try:
        frame = gdb.newest_frame()
        while frame is not None and len(frames) < MOST_FRAMES:
            frames.append((len(frames), frame))
            frame = frame.older()
    except gdb.error:
        pass
    return frames


def described(number, frame):
    where = frame.find_sal()
    line = " (%s:%d)" % (os.path.basename(where.symtab.filename), where.line) if where.symtab else ""
    return "frame %d: %s%s" % (number, frame.name() or hex(frame.pc()), line)


def is_called(frame, wanted):
    """By its whole name, or the last parts of it."""
    name = frame.name() or ""
    return name == wanted or name.endswith("::" + wanted)


def by_number(threads, number):
    frames = frames_of(threads[0])
    if number < len(frames):
        return frames[number]
    raise Failed("there is no frame %d; the thread that died has" % number, frames)


def by_name(threads, wanted):
    """The innermost of the thread that died, else of the other threads in their order."""
    for thread in threads:
        found = [(number, frame) for number, frame in frames_of(thread) if is_called(frame, wanted)]
        names = {frame.name() for _, frame in found}
        if len(names) > 1:
            raise Failed("several functions are called %s; say the whole name, or the frame's number" % wanted, found)
        if found:
            return found[0]
    raise Failed("no frame is of a function %s; the thread that died has" % wanted, frames_of(threads[0]))


def value_kind(kind):
    """How values of the type are read, as recording/blame/value_type.h calls it, and how many bytes one has."""
    if kind.code == gdb.TYPE_CODE_PTR:
        return "hex", kind.sizeof
    if kind.code == gdb.TYPE_CODE_ARRAY:
        item = kind.target().strip_typedefs()
        return ("text", 0) if item.unqualified().name == "char" else value_kind(item)
    if kind.code == gdb.TYPE_CODE_FLT and kind.sizeof in (4, 8):
        return "float", kind.sizeof
    if kind.code == gdb.TYPE_CODE_BOOL and kind.sizeof == 1:
        return "bool", 1
    if kind.code == gdb.TYPE_CODE_ENUM:
        return "enum", kind.sizeof
    if kind.code == gdb.TYPE_CODE_INT and kind.sizeof > 1 and not kind.is_signed:
        return "unsigned", kind.sizeof
    return "unknown", 0


def enumerators(kind):
    return [[field.enumval, field.name] for field in kind.fields()] if kind.code == gdb.TYPE_CODE_ENUM else []


def evaluate(question):
    selected = gdb.selected_thread()
    if selected is None:
        raise Failed("gdb finds no thread in the core")
    others = sorted(gdb.selected_inferior().threads(), key=lambda thread: thread.num)
    threads = [selected] + [thread for thread in others if thread.num != selected.num]
    find = by_number if isinstance(question["frame"], int) else by_name
    number, frame = find(threads[:MOST_THREADS], question["frame"])
    frame.select()
    address, length, kind = place_of(question["expression"])
    how, size = value_kind(kind) if kind is not None else ("unknown", 0)
    return {"address": address, "length": length, "frame": described(number, frame), "kind": how, "size": size,
            "names": enumerators(kind) if kind is not None else []}


def answer(question):
    try:
        return evaluate(question)
    except Failed as error:
        return {"error": str(error), "frames": error.frames}
    except (gdb.error, gdb.GdbError, OverflowError) as error:
        return {"error": str(error), "frames": []}


with open(os.path.join(HERE, "question.json"), encoding="utf-8") as asked:
    said = answer(json.load(asked))
with open(os.path.join(HERE, "answer.json"), "w", encoding="utf-8") as file:
    json.dump(said, file)
