"""The table of workloads. Each says what an operation is, the ratios that are wanted of it (all,
writes only; None: none was set), and opens a session for a way to run it."""
import dataclasses
import typing

from comparison import programs, servers
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


def real():
    select, tpcb = servers.postgres("-S"), servers.postgres()
    get, put, put_writemap = (programs.database("lmdb", m) for m in ("get", "put", "put-writemap"))
    sqlite_select, sqlite_update = (programs.database("sqlite", m) for m in ("select", "update"))
    return [Workload(*row) for row in (
        ("pgbench-select", SERVER, "PostgreSQL, pgbench -S, a transaction", (1.6, 1.15), select),
        ("pgbench-tpcb", SERVER, "PostgreSQL, pgbench's TPC-B, a transaction", (1.9, 1.3), tpcb),
        ("lmdb-get", PROGRAM, "LMDB, get", (1.6, 1.05), get),
        ("lmdb-put", PROGRAM, "LMDB, put", (1.2, 1.2), put),
        ("lmdb-put-writemap", PROGRAM, "LMDB, put with MDB_WRITEMAP", (1.6, 1.4), put_writemap),
        ("sqlite-select", PROGRAM, "SQLite WAL, select of a row", (1.3, 1.05), sqlite_select),
        ("sqlite-update", PROGRAM, "SQLite WAL, update of a row", (1.4, 1.2), sqlite_update),
        ("nginx", SERVER, "nginx with limit_req and limit_conn, a request", (1.05, 1.03),
         servers.nginx),
        ("python", PROGRAM, "Python shared_memory, struct write and read", (1.3, 1.15),
         programs.python_shared_memory),
        ("fork-server", PROGRAM, "a server of 200 processes, a request", (None, None),
         programs.fork_server),
        ("redis", SERVER, "Redis, get and set: private memory only", (1.02, 1.02), servers.redis),
    )]


def workloads():
    mixes = [mix(name) for name in MIXES]
    pairs = [mix(name, pair) for name in MIXES if name not in PRIVATE for pair in PAIRS]
    return [*mixes, *pairs, *real(), start()]
