"""Keeps gdb from this machine's libraries while it opens a core.

A library that is not in the sysroot under the name by which the program knew it is looked for in the search path,
but first below the directory that gdb runs in: if that is /, the library is this machine's.
"""

import os

EMPTY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "empty")
left = []  # descriptors of directories, which also lead back to one that was removed


def leave():
    left.append(os.open(".", os.O_PATH | os.O_DIRECTORY))
    os.makedirs(EMPTY, exist_ok=True)
    os.chdir(EMPTY)


def come_back():
    start = left.pop()
    os.fchdir(start)
    os.close(start)
