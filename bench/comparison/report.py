"""A result is one JSON document; Markdown and plots are made of it."""
import datetime
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys

from comparison import plot

HERE = pathlib.Path(__file__).resolve().parent
SECTIONS = {"Mixes": ("mix",), "Programs": ("program", "server")}  # kinds of workloads


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


def of_kinds(result, kinds):
    return [workload for workload in result["workloads"] if workload["kind"] in kinds]


def ratio_table(result, kinds):
    ways = [way for way in shown_ways(result) if way != "alone"]
    rows = [[f"{workload['name']}: {workload['what']}", goal_text(workload["goal"]),
             *(number(workload["cells"].get(way, {}).get("ratio")) for way in ways)]
            for workload in of_kinds(result, kinds)]
    return table(["Workload", "goal: all / writes", *ways], rows)


def detail_row(workload):
    alone = workload["cells"].get("alone", {})
    recorded = workload["cells"].get("recorded", {})
    if "medianNs" not in alone or "medianNs" not in recorded:
        return None
    spread_text = "-" if recorded["spread"] is None else f"{recorded['spread']:.0f} %"
    more = recorded["medianNs"] - alone["medianNs"]
    return [workload["name"], time_text(alone["medianNs"]), time_text(recorded["medianNs"]),
            time_text(more) if more > 0 else "-", number(recorded["ratio"]), spread_text, number(recorded["accessesPerOperation"]),
            number(recorded["logBytesPerAccess"]),
            *(mebibytes(one["peakBytes"]) for one in (alone, recorded))]


def detail_rows(result):
    rows = (detail_row(workload) for workload in of_kinds(result, sum(SECTIONS.values(), ())))
    return [row for row in rows if row]


def detail_table(result):
    return table(["Workload", "alone", "recorded", "more", "ratio", "spread", "accesses per operation",
                  "log bytes per access", "peak MiB alone", "peak MiB recorded"], detail_rows(result))


def start_rows(result):
    """Way, milliseconds by the clock, of processor time."""
    return [(way, one["medianWallNs"] / 1e6, one["medianNs"] / 1e6)
            for workload in of_kinds(result, ("start",)) for way, one in workload["cells"].items()
            if "ratio" in one]


def start_table(result):
    return table(["Start and end of /bin/true", "wall, ms", "processor, ms"],
                 [[way, f"{wall:.1f}", f"{processor:.1f}"]
                  for way, wall, processor in start_rows(result)])


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


def sections(result, plots):
    """plots: link to a plot by title; none if it is empty."""
    def section(title, text):
        return "\n\n".join([f"## {title}", *([plots[title]] if title in plots else []), text])
    for title, kinds in SECTIONS.items():
        if of_kinds(result, kinds):
            yield section(title, ratio_table(result, kinds))
    if detail_rows(result):
        yield section("What recording takes", detail_table(result))
    if start_rows(result):
        yield section("Start and end", start_table(result))
    yield section("The ways", "\n".join(f"- {way}: {title}" for way, title in result["ways"].items()
                                        if way != "alone"))
    if reasons(result):
        yield section("What a dash stands for", reasons(result))


def markdown(result, plots=None):
    return "\n\n".join([first_line(result), *sections(result, plots or {})]) + "\n"


# ---- A document with plots ---------------------------------------------------------------------

def ratio_plot(result, title):
    ways = [way for way in shown_ways(result) if way != "alone"]
    rows = []
    for workload in of_kinds(result, SECTIONS[title]):
        ratios = {way: workload["cells"][way]["ratio"] for way in ways
                  if workload["cells"][way].get("ratio")}
        goal = workload["goal"][0]
        rows.append((workload["name"], ratios, goal if isinstance(goal, (int, float)) else None,
                     number(ratios.get("recorded"))))
    return plot.ratios_svg(f"{title}, and what tracing them costs", ways, rows)


def plots_of(result):
    drawn = {title: ratio_plot(result, title) for title, kinds in SECTIONS.items()
             if of_kinds(result, kinds)}
    if start_rows(result):
        drawn["Start and end"] = plot.times_svg("Start and end of /bin/true", start_rows(result))
    return drawn


def write_document(result, path):
    """`path`, and its plots in a folder beside it that is named as it is."""
    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    links = {}
    for title, svg in plots_of(result).items():
        name = title.lower().replace(" ", "_") + ".svg"
        (folder / name).write_text(svg, encoding="utf-8")
        links[title] = f"![{title}]({folder.name}/{name})"
    introduction = (HERE / "introduction.md").read_text(encoding="utf-8")
    path.write_text(introduction + "\n" + markdown(result, links), encoding="utf-8")
