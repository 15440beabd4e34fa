"""Results as JSON and as Markdown. A result is one document (`document`); all else is made of it."""
import datetime
import os
import platform
import shlex
import statistics
import subprocess
import sys


def machine():
    model = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = " ".join(line.split(":")[1].split())
                break
    return f"{model}, {os.cpu_count()} processors, Linux {platform.release()}"


def command_line():
    return shlex.join([os.path.relpath(sys.argv[0]), *sys.argv[1:]])


def header(options):
    version = subprocess.run([options.shmrec, "--version"], stdout=subprocess.PIPE, text=True)
    return {"format": "shmrec-compare/1", "machine": machine(), "command": command_line(),
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "shmrec": version.stdout.strip(), "rounds": options.rounds, "seconds": options.seconds,
            "loadBefore": os.getloadavg()}


def spread(values):
    """Half the distance between the quartiles, in percent of the median."""
    if len(values) < 2:
        return None
    quartiles = statistics.quantiles(values, n=4)
    return 50 * (quartiles[2] - quartiles[0]) / statistics.median(values)


def cell(samples, alone, session):
    """Of one way to run one workload. samples, alone: Sample or None by round."""
    taken = [sample for sample in samples if sample]
    ratios = [one.ns / other.ns for one, other in zip(samples, alone) if one and other and other.ns]
    log = session.log
    return {
        "ns": [sample.ns for sample in taken],
        "wallNs": [sample.wall_ns for sample in taken],
        "medianNs": statistics.median(sample.ns for sample in taken),
        "medianWallNs": statistics.median(sample.wall_ns for sample in taken),
        "ratio": statistics.median(ratios) if ratios else None,
        "spread": spread(ratios),
        "peakBytes": max((sample.peak_bytes for sample in taken if sample.peak_bytes), default=None),
        "accessesPerOperation": log.accesses / session.operations if log.accesses else None,
        "logBytesPerAccess": log.bytes / log.accesses if log.accesses > 1000 else None,
    }


# ---- Markdown ----------------------------------------------------------------------------------

def number(value):
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def time_text(nanoseconds):
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= size:
            return f"{number(nanoseconds / size)} {unit}"
    return f"{number(nanoseconds)} ns"


def mebibytes(count):
    return "-" if count is None else f"{count / 2**20:.1f}"


def table(heads, rows):
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def goal_text(goal):
    return " / ".join(value if isinstance(value, str) else f"{value:g}" for value in goal if value)


def shown_ways(result):
    """Those that ran something."""
    return [way for way in result["ways"]
            if any("ratio" in workload["cells"].get(way, {}) for workload in result["workloads"])]


def ratio_table(result, kinds):
    ways = [way for way in shown_ways(result) if way != "alone"]
    rows = []
    for workload in result["workloads"]:
        if workload["kind"] in kinds:
            cells = (workload["cells"].get(way, {}) for way in ways)
            rows.append([f"{workload['name']}: {workload['what']}", goal_text(workload["goal"]),
                         *(number(one.get("ratio")) for one in cells)])
    return table(["Workload", "goal: all / writes", *ways], rows)


def detail_row(workload):
    alone = workload["cells"].get("alone", {})
    recorded = workload["cells"].get("recorded", {})
    if "medianNs" not in alone or "medianNs" not in recorded:
        return None
    spread_text = "-" if recorded["spread"] is None else f"{recorded['spread']:.0f} %"
    return [workload["name"], time_text(alone["medianNs"]), time_text(recorded["medianNs"]),
            number(recorded["ratio"]), spread_text, number(recorded["accessesPerOperation"]),
            number(recorded["logBytesPerAccess"]),
            *(mebibytes(one["peakBytes"]) for one in (alone, recorded))]


def detail_table(result):
    rows = [detail_row(workload) for workload in result["workloads"] if workload["kind"] != "start"]
    return table(["Workload", "alone", "recorded", "ratio", "spread", "accesses per operation",
                  "log bytes per access", "peak MiB alone", "peak MiB recorded"],
                 [row for row in rows if row])


def start_table(result):
    rows = []
    for workload in result["workloads"]:
        for way in shown_ways(result) if workload["kind"] == "start" else []:
            one = workload["cells"][way]
            if "ratio" in one:
                rows.append([result["ways"][way], f"{one['medianWallNs'] / 1e6:.1f}",
                             f"{one['medianNs'] / 1e6:.1f}"])
    return table(["Start and end of /bin/true", "wall, ms", "processor, ms"], rows)


def reasons(result):
    """Why cells are empty: each reason once, with its workloads."""
    found = {}
    for workload in result["workloads"]:
        for way, one in workload["cells"].items():
            if "reason" in one:
                found.setdefault((way, one["reason"]), []).append(workload["name"])
    lines = []
    for (way, reason), names in found.items():
        which = "everything" if len(names) == len(result["workloads"]) else ", ".join(names)
        lines.append(f"- {way}, {which}: {reason}")
    return "\n".join(lines)


def first_line(result):
    load = " and ".join(" ".join(f"{one:.2f}" for one in result[key])
                        for key in ("loadBefore", "loadAfter"))
    return (f"{result['date']}, {result['machine']}, load {load} (1, 5, 15 minutes; before and "
            f"after); {result['shmrec']}; `{result['command']}`: medians of {result['rounds']} "
            f"rounds, {result['seconds']:g} s a sample.")


def markdown(result, plots=()):
    kinds = {workload["kind"] for workload in result["workloads"]}
    parts = [first_line(result)]
    for title, wanted in (("Mixes", ("mix",)), ("Programs", ("program", "server"))):
        if kinds & set(wanted):
            parts += [f"## {title}", *(plot for key, plot in plots if key == title),
                      ratio_table(result, wanted)]
    if "recorded" in shown_ways(result) and kinds != {"start"}:
        parts += ["## What recording takes", detail_table(result)]
    if "start" in kinds:
        parts += ["## Start and end", *(plot for key, plot in plots if key == "Start"),
                  start_table(result)]
    parts += ["## The ways", "\n".join(f"- {way}: {title}" for way, title in result["ways"].items())]
    if reasons(result):
        parts += ["## What `-` stands for", reasons(result)]
    return "\n\n".join(parts) + "\n"
