"""Ratios as SVG: a row for each workload, a mark for each way, on a logarithmic axis from left (costs
nothing) to right. Pixels; white behind, so that it can be read on any page."""
import html
import math

LABELS, PLOT, VALUES = 190, 560, 80  # widths: names, marks, the recorded ratio in figures
ROW, LEGEND_ROW, AXIS = 22, 20, 40
LEGEND_COLUMNS = 4
STYLE = ("text{font:12px sans-serif;fill:#222}.small{font-size:11px;fill:#555}.title{font-size:14px;"
         "font-weight:bold}.grid{stroke:#ddd}.one{stroke:#888}.goal{stroke:#2a9d3a;stroke-width:2}"
         ".shade{fill:#f5f5f5}")
RECORDED = ["#c1121f", "#e76f51", "#f4a261", "#8d0801"]
PEERS = ["#264653", "#1d70a2", "#6a4c93", "#2a9d8f", "#7f7f7f", "#b08900", "#00798c", "#444444"]


def circle(x, y, colour):
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>'


def polygon(points):
    def draw(x, y, colour):
        corners = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in points)
        return f'<polygon points="{corners}" fill="{colour}"/>'
    return draw


PEER_SHAPES = [polygon([(-4, -4), (4, -4), (4, 4), (-4, 4)]), polygon([(0, -5), (5, 4), (-5, 4)]),
               polygon([(0, -5), (5, 0), (0, 5), (-5, 0)]), polygon([(0, 5), (5, -4), (-5, -4)])]


def marks(ways):
    """How each way is drawn: those of shmrec as warm circles, peers as other shapes."""
    own = [way for way in ways if way.startswith("recorded")]
    peers = [way for way in ways if way not in own]
    drawn = {way: (circle, RECORDED[i % len(RECORDED)]) for i, way in enumerate(own)}
    drawn.update({way: (PEER_SHAPES[i % len(PEER_SHAPES)], PEERS[i % len(PEERS)])
                  for i, way in enumerate(peers)})
    return {way: drawn[way] for way in ways}


def text(x, y, words, kind="", anchor="start"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">'
            f"{html.escape(words)}</text>")


def line(x, y, x2, y2, kind):
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


class Axis:
    def __init__(self, values):
        self.low = min(-0.1, math.log10(min(values)) - 0.05)
        self.high = max(1.0, math.log10(max(values)) + 0.1)

    def x(self, value):
        return LABELS + PLOT * (math.log10(value) - self.low) / (self.high - self.low)

    def ticks(self):
        """The decades, and what lies between them if there are few."""
        between = (1, 2, 5) if self.high - self.low < 3 else (1,)
        values = (step * 10 ** decade for decade in range(-1, 8) for step in between)
        return [value for value in values if self.low <= math.log10(value) <= self.high]


def drawn_axis(axis, top, bottom):
    for value in axis.ticks():
        x = axis.x(value)
        yield line(x, top, x, bottom, "one" if value == 1 else "grid")
        yield text(x, bottom + 16, f"{value:,.10g}", "small", "middle")
    yield text(LABELS + PLOT / 2, bottom + 33, "processor time, as a multiple of alone", "small",
               "middle")


def drawn_legend(drawn, top):
    width = (LABELS + PLOT + VALUES) / LEGEND_COLUMNS
    for i, (way, (shape, colour)) in enumerate(drawn.items()):
        x = 12 + i % LEGEND_COLUMNS * width
        y = top + i // LEGEND_COLUMNS * LEGEND_ROW
        yield shape(x, y, colour)
        yield text(x + 10, y + 4, way)


def drawn_row(row, axis, drawn, y):
    """Of all ways, those of shmrec last: on top."""
    name, ratios, goal, figures = row
    yield text(LABELS - 10, y + 4, name, anchor="end")
    if goal:
        yield line(axis.x(goal), y - 9, axis.x(goal), y + 9, "goal")
    for way in sorted(ratios, key=lambda way: way.startswith("recorded")):
        shape, colour = drawn[way]
        yield shape(axis.x(ratios[way]), y, colour)
    yield text(LABELS + PLOT + VALUES - 8, y + 4, figures, "small", "end")


def ratios_svg(title, ways, rows):
    """rows: (name, ratio by way, goal or None, the figures that are written at its end)."""
    drawn = marks(ways)
    axis = Axis([ratio for row in rows for ratio in row[1].values()] + [1])
    legend_rows = math.ceil(len(drawn) / LEGEND_COLUMNS)
    top = 54 + legend_rows * LEGEND_ROW
    bottom = top + len(rows) * ROW
    width, height = LABELS + PLOT + VALUES, bottom + AXIS
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
             f'viewBox="0 0 {width} {height}">', f"<style>{STYLE}</style>",
             f'<rect width="{width}" height="{height}" fill="#fff"/>', text(10, 22, title, "title"),
             *drawn_legend(drawn, 44),
             text(LABELS + PLOT + VALUES - 8, top - 6, "recorded", "small", "end")]
    for i in range(0, len(rows), 2):
        parts.append(f'<rect x="0" y="{top + i * ROW}" width="{width}" height="{ROW}" class="shade"/>')
    parts += drawn_axis(axis, top, bottom)
    for i, row in enumerate(rows):
        parts += drawn_row(row, axis, drawn, top + (i + 0.5) * ROW)
    return "\n".join([*parts, "</svg>"]) + "\n"


def times_svg(title, rows):
    """Bars from zero. rows: (name, milliseconds by the clock, of processor time)."""
    room = PLOT - 40  # for bars; the figures follow them
    top, bar, longest = 60, 9, max(max(row[1:]) for row in rows)
    width, height = LABELS + PLOT + VALUES, top + len(rows) * 30 + 10
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
             f'viewBox="0 0 {width} {height}">', f"<style>{STYLE}</style>",
             f'<rect width="{width}" height="{height}" fill="#fff"/>', text(10, 22, title, "title"),
             f'<rect x="12" y="36" width="10" height="10" fill="{PEERS[1]}"/>',
             text(28, 45, "by the clock"),
             f'<rect x="122" y="36" width="10" height="10" fill="{RECORDED[2]}"/>',
             text(138, 45, "processor time")]
    for i, (name, *times) in enumerate(rows):
        y = top + i * 30
        parts.append(text(LABELS - 10, y + 13, name, anchor="end"))
        for k, (value, colour) in enumerate(zip(times, (PEERS[1], RECORDED[2]))):
            parts.append(f'<rect x="{LABELS}" y="{y + k * bar}" width="{room * value / longest:.1f}" '
                         f'height="{bar}" fill="{colour}"/>')
        parts.append(text(LABELS + room * max(times) / longest + 6, y + 13,
                          " / ".join(f"{value:.1f}" for value in times) + " ms", "small"))
    return "\n".join([*parts, "</svg>"]) + "\n"
