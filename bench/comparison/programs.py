"""Real programs that are one command: each a function that opens a session for a way to run it.
Databases are filled once, alone; every way works on a copy."""
import shutil
import sys

from comparison.measure import CommandSession, run_command, why
from comparison.place import PROGRAMS
from comparison.ways import Unable


def filled(place, name):
    def fill():
        folder = place.new_folder()
        said, status, _, _ = run_command([place.program(name), folder, "fill"], 60)
        if status != 0:
            raise Unable(why(said, status))
        return folder
    return place.once(f"filled {name}", fill)


def database(name, mode):
    def open_session(place, way, timeout):
        copy = place.new_folder()
        shutil.copytree(filled(place, name), copy, dirs_exist_ok=True)
        program = place.program(name)
        return CommandSession(place, way, lambda seconds: [program, copy, mode, str(seconds)],
                              timeout)
    return open_session


def fork_server(place, way, timeout):
    program = place.program("fork_server")
    return CommandSession(place, way, lambda seconds: [program, str(seconds)], timeout)


def python_shared_memory(place, way, timeout):
    script = str(place.copied(PROGRAMS / "shared.py"))
    return CommandSession(place, way, lambda seconds: [sys.executable, script, str(seconds)], timeout)
