"""The scratch folder of one comparison: compiled programs, policies, what runs leave. Owned by
bench/compare, removed at its end."""
import os
import pathlib
import shutil
import subprocess

from comparison.ways import Unable

PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"
FLAGS = {"plain": [], "tsan": ["-fsanitize=thread"]}
LIBRARIES = {"lmdb": ["-llmdb"], "sqlite": ["-lsqlite3"]}


class Place:
    """`shmrec` is a copy that every user may execute: some servers do not run as root."""

    def __init__(self, folder, options, of_two_processes):
        self.folder = folder
        os.chmod(folder, 0o755)
        self.shmrec = self.file("shmrec")
        shutil.copy(options.shmrec, self.shmrec)
        self.drrun, self.client = options.drrun, options.client
        self.of_two_processes = of_two_processes
        self.alone = None  # the way to run what only prepares
        self._made = {}
        self._folders = 0

    def file(self, name):
        return os.path.join(self.folder, name)

    def new_folder(self, user=None):  # theirs, if there is a user
        self._folders += 1
        path = self.file(f"run-{self._folders}")
        os.mkdir(path)
        if user:
            shutil.chown(path, user)
        return path

    def once(self, name, make):
        """What make() returns, made once; it stays impossible if it was."""
        if name not in self._made:
            try:
                self._made[name] = make(), None
            except Unable as error:
                self._made[name] = None, str(error)
        made, reason = self._made[name]
        if reason:
            raise Unable(reason)
        return made

    def program(self, name, build="plain"):
        """Path of programs/NAME.cc, compiled."""
        out = self.file(f"{name}-{build}")
        return self.once(out, lambda: compiled(
            ["c++", "-std=c++20", "-O2", "-g", "-Wall", "-Wextra", *FLAGS[build], "-o", out,
             str(PROGRAMS / f"{name}.cc"), *LIBRARIES.get(name, [])], out))

    def copied(self, path):
        return shutil.copy(path, self.folder)

    def qemu_plugin(self):
        out = self.file("qemu_plugin.so")
        return self.once(out, lambda: compiled(
            ["cc", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", out,
             str(PROGRAMS / "qemu_plugin.c")], out))


def compiled(command, out):
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        first = next((line for line in done.stderr.splitlines() if "error" in line), "")
        raise Unable(f"does not compile: {first.split('error: ')[-1]}")
    return out
