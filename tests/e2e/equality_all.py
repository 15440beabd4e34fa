#!/usr/bin/env python3
"""Runs equality.py for every victim that ctest knows, and prints one line each.

usage: equality_all.py BUILD_DIRECTORY [--repeat N] [--match PATTERN] [OPTIONS OF equality.py...]
Exit status: the number of those that failed, at most 100.
"""

import argparse
import json
import os
import re
import subprocess
import sys


def tests_of(build):
    listing = subprocess.run(["ctest", "--test-dir", build, "--show-only=json-v1"], check=True,
                             capture_output=True).stdout
    for test in json.loads(listing)["tests"]:
        if test["name"].startswith("equality.") and "command" in test:
            yield test["name"], test["command"]


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("build")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--match", default="")
    options, extra = parser.parse_known_args()
    failed = []
    for name, command in tests_of(os.path.abspath(options.build)):
        if not re.search(options.match, name):
            continue
        split = command.index("--")
        for _ in range(options.repeat):
            result = subprocess.run(command[:split] + extra + command[split:], stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT)
            if result.returncode != 0:
                failed.append(name)
                print("FAILED %s\n%s" % (name, result.stdout.decode(errors="replace")), flush=True)
                break
        else:
            print(result.stdout.decode(errors="replace").strip(), flush=True)
    print("%d failed: %s" % (len(failed), " ".join(failed)))
    return min(len(failed), 100)


if __name__ == "__main__":
    sys.exit(main())
