#!/usr/bin/env python3
"""bench/compare still measures: one mix alone and recorded, in a few seconds, as JSON and Markdown.

usage: smoke_test.py --shmrec PATH"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

COMPARE = str(pathlib.Path(__file__).resolve().parent.parent / "compare")


def problems(result, text):
    alone, recorded = (result["workloads"][0]["cells"][way] for way in ("alone", "recorded"))
    for name, cell in (("alone", alone), ("recorded", recorded)):
        if "ratio" not in cell:
            yield f"{name} did not run: {cell['reason']}"
            return
    if alone["ratio"] != 1 or not 0 < alone["medianNs"] < 1e6:
        yield f"alone: {alone}"
    if recorded["ratio"] <= 1:
        yield f"recorded costs nothing: {recorded}"
    if not 0.9 < recorded["accessesPerOperation"] < 20:
        yield f"an operation is one access, the log has {recorded['accessesPerOperation']}"
    if not 4 < recorded["logBytesPerAccess"] < 1000:
        yield f"bytes of log for an access: {recorded['logBytesPerAccess']}"
    if "| dense" not in text or "What recording takes" not in text:
        yield f"no table in\n{text}"


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    shmrec = parser.parse_args().shmrec
    with tempfile.TemporaryDirectory(prefix="shmrec-smoke-") as folder:
        saved = folder + "/result.json"
        measured = [COMPARE, "--shmrec", shmrec, "--workloads", "dense", "--ways", "recorded",
                    "--rounds", "2", "--seconds", "0.02", "--json", saved]
        text = subprocess.run(measured, check=True, stdout=subprocess.PIPE, text=True).stdout
        again = subprocess.run([COMPARE, "--from-json", saved], check=True, stdout=subprocess.PIPE,
                               text=True).stdout
        document = pathlib.Path(folder, "document.md")
        subprocess.run([COMPARE, "--from-json", saved, "--markdown", str(document)], check=True)
        document_text = document.read_text(encoding="utf-8")
        plot = pathlib.Path(folder, "document", "mixes.svg")
        marks = len(xml.etree.ElementTree.parse(plot).findall(".//{*}circle"))
        with open(saved, encoding="utf-8") as file:
            found = list(problems(json.load(file), text))
    if marks != 2 or "](document/mixes.svg)" not in document_text:
        found.append(f"the plot has {marks} circles, in its legend and its row 2 are expected")
    if again != text:
        found.append(f"printed again from the result:\n{again}\nat first:\n{text}")
    print("\n".join(found) or text)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
