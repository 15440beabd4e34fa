"""The table of workloads. Each says what an operation is, the ratios that are wanted of it (all,
writes only; None: none was set), and opens a session for a way to run it."""
import dataclasses
import os
import sys
import typing

from comparison.measure import CommandSession, StartSession
from comparison.ways import MIX, PROGRAM, SERVER, START


@dataclasses.dataclass
class Workload:
    name: str
    kind: str
    what: str  # with what an operation is
    goal: tuple
    open: typing.Callable  # (place, way, timeout) -> session; raises Unable
    quick: bool = True  # part of a short comparison
    processes: int = 1


MIXES = {  # name: what, goal
    "sparse": ("one access per 1,000 private steps", (1.03, 1.02)),
    "sparse4": ("the same, private steps in four chains", (1.06, 1.03)),
    "normal": ("one access per 50 private steps", (1.2, 1.1)),
    "normal4": ("the same, private steps in four chains", (1.5, 1.25)),
    "dense": ("accesses, nothing between them", (5, 3)),
    "bulk4k": ("memcpy of 4 KiB out and in", (1.5, 1.3)),
    "bulk64k": ("memcpy of 64 KiB out and in", (1.3, 1.2)),
    "both": ("one function on 9 private words and a shared one", (None, None)),
    "private": ("private steps only, 1,000 an operation", (1.02, 1.02)),
    "getppid": ("a system call that touches no memory", ("+60 ns", None)),
}
PAIRS = {"2": ", two processes", "same": ", two processes on the same lines"}
PRIVATE = ("private", "getppid")


def mix(name, processes="1"):
    what, goal = MIXES[name]

    def open_session(place, way, timeout):
        program = place.program("mixes", way.build)
        return CommandSession(place, way, lambda seconds: [program, name, str(seconds), processes],
                              timeout)
    if processes == "1":
        return Workload(name, MIX, what, goal, open_session)
    return Workload(f"{name}-{processes}", MIX, what + PAIRS[processes], (None, None),
                    open_session, name in ("normal", "dense"), processes=2)


def start():
    def open_session(place, way, timeout):
        return StartSession(place, way, ["/bin/true"], timeout)
    return Workload("start", START, "start and end of /bin/true", ("+3 ms", None), open_session)


def workloads():
    mixes = [mix(name) for name in MIXES]
    pairs = [mix(name, pair) for name in MIXES if name not in PRIVATE for pair in PAIRS]
    return [*mixes, *pairs, start()]
