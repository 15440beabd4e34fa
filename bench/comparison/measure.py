"""Runs of a workload and what was seen of them.

A session is a workload run one way. CommandSession starts its program anew for each sample; servers
(servers.py) stay. Both give Samples and, where shmrec recorded, add up what the logs took.
"""
import collections
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import time

from comparison.ways import Unable, plain_environment

# ns: processor time of an operation. wall_ns: the same by the clock. operations: all that were
# made, warm-up included. peak_bytes: resident, of the program, None: not known.
Sample = collections.namedtuple("Sample", "ns wall_ns operations peak_bytes")
RESULT = re.compile(
    r"operations=(\d+) cpu_ns=(\d+) wall_ns=(\d+) all_operations=(\d+) peak_kib=(\d+)")


class LogUse:
    """Accesses in logs, and the bytes of the chunks that were handed out for them."""

    def __init__(self, shmrec):
        self.shmrec = shmrec
        self.accesses = self.bytes = 0

    def add(self, folder):
        """Of all logs under the folder."""
        for path in glob.glob(os.path.join(folder, "**/*.shmlog"), recursive=True):
            self._add_log(path)

    def _add_log(self, path):
        with subprocess.Popen([self.shmrec, "dump", "--json", path], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True) as dump:
            chunks = chunk_bytes = 0
            for item in map(json.loads, dump.stdout):
                what = item["type"]
                if what in ("journal", "chunk"):
                    break  # the tables come first, and are enough
                if what == "header":
                    chunks = item["tickets"]
                elif what == "area" and item["name"] == "chunks":
                    chunk_bytes = item["entryBytes"]
                elif what == "process":
                    self.accesses += item["accesses"]
            self.bytes += chunks * chunk_bytes
            dump.kill()


def end_group(process):
    """Ends a command of a session of its own, with all that it started and that is still there."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run_command(command, timeout, **options):
    """Output (both streams), seconds by the clock, and the usage of the command with its children."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, start_new_session=True, **options) as process:
        begin = time.perf_counter()
        os.set_blocking(process.stdout.fileno(), False)
        said = b""
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            elapsed = time.perf_counter() - begin
            said += process.stdout.read() or b""
            if pid:
                break
            if elapsed > timeout:
                end_group(process)
                os.wait4(process.pid, 0)
                process.returncode = -signal.SIGKILL
                raise Unable(f"not done in {timeout:.0f} s")
            time.sleep(0.0005 if elapsed < 0.1 else 0.005)
        said += process.stdout.read() or b""
        process.returncode = os.waitstatus_to_exitcode(status)
        end_group(process)
    return said.decode(errors="replace"), process.returncode, elapsed, usage


def why(said, status):
    """The reason of a failure, for the table: the last line that was printed, or the status."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    text = lines[-1][:160] if lines else "nothing printed"
    return f"ended with {status}: {text}" if status else f"no result: {text}"


class CommandSession:
    """`arguments`: of the program, given the seconds that a sample takes."""

    def __init__(self, place, way, arguments, timeout):
        self.place, self.way, self.arguments, self.timeout = place, way, arguments, timeout
        self.log = LogUse(place.shmrec)
        self.operations = 0

    def measure(self, seconds):
        folder = self.place.new_folder()
        command = self.way.command(self.arguments(seconds), folder)
        try:
            said, status, _, _ = run_command(
                command, self.timeout, cwd=folder, env={**plain_environment(), **self.way.environment})
            found = RESULT.search(said)
            if not found:
                raise Unable(why(said, status))
            if self.way.recorded:
                self.log.add(folder)
        finally:
            shutil.rmtree(folder)
        operations, cpu, wall, all_operations, peak = map(int, found.groups())
        self.operations += all_operations
        return Sample(cpu / operations, wall / operations, all_operations, peak * 1024)

    def close(self):
        pass


class StartSession:
    """Start and end of a program, whole: recorded runs leave their bundle."""
    TIMES = 5

    def __init__(self, place, way, command, timeout):
        self.place, self.way, self.program, self.timeout = place, way, command, timeout
        self.log = LogUse(place.shmrec)
        self.operations = 0

    def measure(self, seconds):
        samples = [self._once() for _ in range(self.TIMES)]
        self.operations += self.TIMES
        return sorted(samples)[self.TIMES // 2]

    def _once(self):
        folder = self.place.new_folder()
        command = self.way.command(self.program, folder, os.path.join(folder, "bundle.tar.zst"))
        try:
            said, status, elapsed, usage = run_command(
                command, self.timeout, cwd=folder, env={**plain_environment(), **self.way.environment})
        finally:
            shutil.rmtree(folder)
        if status != 0:
            raise Unable(why(said, status))
        return Sample((usage.ru_utime + usage.ru_stime) * 1e9, elapsed * 1e9, 1, None)

    def close(self):
        pass
