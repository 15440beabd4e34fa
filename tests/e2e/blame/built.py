"""Programs that a test compiles in several ways and records."""

import os
import shutil
import subprocess


def compiler_of(command):
    """The command with its compiler's path, also where only a versioned one is installed; None: not there."""
    def program(name):
        return shutil.which(name) or shutil.which(name + "-14")
    if not program(command[0]) or ("-fuse-ld=lld" in command and not program("ld.lld")):
        return None
    return [program(command[0])] + command[1:]


def line_of(source, comment):
    """The number of the line that ends with this comment."""
    with open(source) as lines:
        return next(n for n, line in enumerate(lines, 1) if line.endswith("// %s\n" % comment))


def record(shmrec, top, command, source):
    """Compiles the source in the directory and runs it recorded, however it ends. Returns the bundle."""
    program, bundle = os.path.join(top, "program"), os.path.join(top, "program.shmrec.tar.zst")
    subprocess.run(command + ["-o", program, source], check=True, cwd=top)
    subprocess.run([shmrec, "run", "-q", "-o", bundle, "--spool", os.path.join(top, "spool"), "--", program],
                   cwd=top, stderr=subprocess.DEVNULL)
    return bundle
