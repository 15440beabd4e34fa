"""The ways to run a program: alone, recorded by shmrec, and under its peers. One table: ways(place).

A way turns a command into the one that runs it so, and says what it cannot run and why. It owns
nothing; what it needs on disk (policies, compiled programs) lies in the place's folder.
"""
import os
import re
import shutil
import subprocess

MIX, PROGRAM, SERVER, START = "mix", "program", "server", "start"  # kinds of workloads
TOO_SLOW = "would take minutes"

SEGMENT_KINDS = ["path: '/**'", "posix: '*'", "memfd: '*'", "sysv: '*'", "anonymous: true"]


class Unable(Exception):
    """A way cannot run a workload; the message is the reason that the table gives."""


class Way:
    def __init__(self, name, title, prefix, tool=None, refused=None, missing=None,
                 build="plain", environment=None, slow=False):
        self.name, self.title, self.tool = name, title, tool
        self.prefix = prefix  # words before the command, given the run's folder and its bundle
        self.refused = refused or {}  # reason, by a workload's name or kind
        self.missing = missing  # why this way is not there at all
        self.build = build
        self.environment = environment or {}
        self.slow = slow  # measured in one round when time is short

    def check(self, workload):
        """Raises Unable with the reason, if there is one."""
        reason = self.missing or self.refused.get(workload.name) or self.refused.get(workload.kind)
        if not reason and self.tool and not shutil.which(self.tool):
            reason = f"{self.tool} is not installed (tools/install-packages --bench)"
        if reason:
            raise Unable(reason)

    def command(self, command, folder=None, bundle=None):
        return [*self.prefix(folder, bundle), *command]

    @property
    def recorded(self):
        return self.name.startswith("recorded")


def plain_environment():
    return {name: value for name, value in os.environ.items() if not name.startswith("SHMREC_")}


def shmrec_says(shmrec, *arguments):
    done = subprocess.run([shmrec, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, env=plain_environment())
    return done.returncode, done.stdout


def accepted_policy(place, name, setting):
    """A file with the setting for all segments, and None; or None, and why shmrec refuses it."""
    rules = "".join(f"  - {{match: {{{kind}}}, {setting}}}\n" for kind in SEGMENT_KINDS)
    path, said = place.file(f"{name}.yaml"), ""
    for body in (f"defaults: {{{setting}}}\n", "segments:\n" + rules):
        with open(path, "w", encoding="utf-8") as file:
            file.write("apiVersion: shmrec/v1\nkind: Policy\n" + body)
        status, said = shmrec_says(place.shmrec, "policy", "check", path)
        if status == 0:
            return path, None
    return None, "this shmrec does not know it: " + re.sub(r"^shmrec: \S+: ", "", said).split("\n")[0]


def recorded(place, name, title, options=(), missing=None):
    def prefix(folder, bundle):
        end = ["-o", bundle] if bundle else ["--on-failure", "--keep-spool"]
        return [place.shmrec, "run", "-q", *options, "--spool", folder, *end, "--"]
    return Way(name, title, prefix, missing=missing)


def recorded_by_policy(place, name, title, setting):
    path, missing = accepted_policy(place, name, setting)
    return recorded(place, name, title, ["--policy", path] if path else [], missing)


# What a recorder that is left on costs: the log is in memory, and what is new in it takes the place of what is
# old. A log that is new has each of its pages touched for the first time, which costs as much as a record.
def recorded_wrapped(place):
    path = place.file("recorded-wrapped.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("apiVersion: shmrec/v1\nkind: Policy\nlimits: {logSize: 32MiB}\n")
    return recorded(place, "recorded-wrapped", "recorded, into a log of 32 MiB that has wrapped",
                    ["--policy", path])


def recorded_slow(place):
    known = "--slow" in shmrec_says(place.shmrec, "run", "--help")[1]
    return recorded(place, "recorded-slow", "recorded, by faults (`run --slow`)", ["--slow"],
                    None if known else "this shmrec does not know it: no --slow in run --help")


def dynamorio(place):
    prefix = [place.drrun, *(["-c", place.client] if place.client else []), "--"]
    return Way("dynamorio", "DynamoRIO" + (f" with {os.path.basename(place.client)}" if place.client
                                           else " without a client"),
               lambda folder, bundle: prefix, missing=None if place.drrun else "no --drrun given")


GDB = ["gdb", "-batch", "-nx", "-iex", "set debuginfod enabled off"]
for line in ("set confirm off", "set pagination off", "set record full stop-at-limit off",
             "break main", "run", "record full", "continue"):
    GDB += ["-ex", line]
# It refuses vector instructions that it does not know: the C library is told to do without.
PLAIN_LIBC = {"LD_BIND_NOW": "1",
              "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,"
                                "-AVX_Fast_Unaligned_Load,-ERMS,-FSRM,-RTM,-EVEX"}


def ways(place):
    valgrind = ["valgrind", "-q", "--trace-children=yes"]
    lackey = [*valgrind, "--tool=lackey", "--basic-counts=no", "--trace-mem=yes",
              "--log-file=/dev/null"]
    two = {name: "records one process" for name in place.of_two_processes}
    return [
        Way("alone", "alone", lambda folder, bundle: []),
        recorded(place, "recorded", "recorded: all, exact order, values"),
        recorded_wrapped(place),
        recorded_by_policy(place, "recorded-writes", "recorded, `accesses: writes`",
                           "accesses: writes"),
        recorded_by_policy(place, "recorded-relaxed", "recorded, `order: relaxed`",
                           "order: relaxed"),
        recorded_slow(place),
        dynamorio(place),
        Way("valgrind-none", "valgrind --tool=none",
            lambda folder, bundle: [*valgrind, "--tool=none"], "valgrind"),
        Way("valgrind-lackey", "valgrind lackey, --trace-mem=yes to /dev/null",
            lambda folder, bundle: lackey, "valgrind", slow=True,
            refused={SERVER: TOO_SLOW, "python": TOO_SLOW, "fork-server": TOO_SLOW}),
        Way("qemu", "qemu-user", lambda folder, bundle: ["qemu-x86_64"], "qemu-x86_64"),
        Way("qemu-plugin", "qemu-user with a plugin that keeps each access's address",
            lambda folder, bundle: ["qemu-x86_64", "-plugin", place.qemu_plugin()], "qemu-x86_64"),
        Way("tsan", "TSan (gcc -fsanitize=thread)",
            # Its shadow memory lies where some kernels' randomization puts other things.
            lambda folder, bundle: ["setarch", "-R"], "setarch", build="tsan",
            refused=dict.fromkeys((PROGRAM, SERVER, START), "would have to be compiled for it")),
        Way("gdb-record", "gdb record full", lambda folder, bundle: [*GDB, "--args"], "gdb",
            environment=PLAIN_LIBC, slow=True,
            refused={**two, **dict.fromkeys((PROGRAM, SERVER, START), TOO_SLOW)}),
        Way("strace", "strace -f", lambda folder, bundle: ["strace", "-f", "-o", "/dev/null"],
            "strace"),
    ]
