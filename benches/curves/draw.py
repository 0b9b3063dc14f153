"""Plots as SVG, readable on a light and on a dark page: lines over two logarithmic axes, panels side by side."""

import html
import math

PANEL_WIDTH, PANEL_HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 30, 34, 46
LEGEND_ROW = 20

# A colour and a shape for each series, so that they differ in grey too; on a light and on a dark page.
LOOKS = [("#1f6feb", "#58a6ff", "circle"), ("#1a7f37", "#3fb950", "square"), ("#9a6700", "#d29922", "triangle")]
LOOKS += [("#8250df", "#bc8cff", "diamond"), ("#cf222e", "#ff7b72", "cross"), ("#57606a", "#8b949e", "ring")]


class Panel:
    """One pair of axes: `series` is name → [(x, y)]; a name has the look of its place in the plot's `names`."""

    def __init__(self, title, x_label, y_label, series, x_name=str):
        self.title, self.x_label, self.y_label, self.x_name = title, x_label, y_label, x_name
        self.series = {name: [point for point in points if point[1] > 0] for name, points in series.items()}


def plot(title, panels, names):
    """The text of an SVG file."""
    width = PANEL_WIDTH * len(panels)
    shown, rows = legend(names, width)
    height, body = PANEL_HEIGHT + LEGEND_ROW * rows + 10, [shown]
    for place, panel in enumerate(panels):
        corner = f"{place * PANEL_WIDTH},{LEGEND_ROW * rows + 10}"
        body.append(f'<g transform="translate({corner})">{drawn(panel, names)}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{html.escape(title)}">\n<title>{html.escape(title)}</title>\n'
        f"<style>{style()}</style>\n"
        f'<rect class="page" width="{width}" height="{height}"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def style():
    """Every colour in full, and all of them once more for a dark page: not every viewer knows variables."""

    def colours(page, ink, dim, grid, place):
        lines = [f".page{{fill:{page}}}text{{fill:{dim}}}.title,.name{{fill:{ink}}}.grid{{stroke:{grid}}}"]
        lines.append(f".axis{{stroke:{dim}}}.mark{{stroke:{page}}}.open{{fill:{page}}}")
        for number, look in enumerate(LOOKS):
            lines.append(f".s{number} .line,.s{number} .open{{stroke:{look[place]}}}")
            lines.append(f".s{number} .mark{{fill:{look[place]}}}")
        return "".join(lines)

    shapes = "text{font:12px system-ui,-apple-system,'Segoe UI',sans-serif}.title{font-weight:600}"
    shapes += ".grid,.axis,.line{fill:none;stroke-width:1}.line,.open{stroke-width:2;stroke-linejoin:round}"
    light = colours("#ffffff", "#1f2328", "#59636e", "#e4e8ec", 0)
    dark = colours("#0d1117", "#e6edf3", "#9198a1", "#262c36", 1)
    return f"{shapes}{light}@media (prefers-color-scheme:dark){{{dark}}}"


def legend(names, width):
    """The names with their looks, in as many rows as it takes; and how many those are."""
    parts, at, row = [], LEFT, 0
    for number, name in enumerate(names):
        # A letter is some 6.6 wide.
        takes = 28 + 6.6 * len(name)
        if at + takes > width and at > LEFT:
            at, row = LEFT, row + 1
        middle = 17 + row * LEGEND_ROW
        parts.append(
            f'<g class="s{number}"><path class="line" d="M{at:.0f},{middle}h22"/>{mark(number, at + 11, middle)}'
            f'<text class="name" x="{at + 28:.0f}" y="{middle + 4}">{html.escape(name)}</text></g>'
        )
        at += takes + 22
    return "".join(parts), row + 1


def drawn(panel, names):
    points = [point for line in panel.series.values() for point in line]
    if not points:
        return ""
    xs = sorted({x for x, _ in points})
    x_low, x_high = math.log10(xs[0]), math.log10(xs[-1])
    if x_low == x_high:
        x_low, x_high = x_low - 0.5, x_high + 0.5
    y_low, y_high, y_ticks = y_range([y for _, y in points])
    right, bottom = PANEL_WIDTH - RIGHT, PANEL_HEIGHT - BOTTOM

    def across(x):
        return LEFT + 8 + (math.log10(x) - x_low) / (x_high - x_low) * (right - LEFT - 16)

    def down(y):
        return bottom - (math.log10(y) - y_low) / (y_high - y_low) * (bottom - TOP)

    parts = [f'<text class="title" x="{LEFT}" y="20">{html.escape(panel.title)}</text>']
    for y in y_ticks:
        parts.append(f'<path class="grid" d="M{LEFT},{down(y):.1f}H{right}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{down(y) + 4:.1f}" text-anchor="end">{number(y)}</text>')
    for x in xs:
        parts.append(f'<path class="axis" d="M{across(x):.1f},{bottom}v5"/>')
        parts.append(f'<text x="{across(x):.1f}" y="{bottom + 19}" text-anchor="middle">{panel.x_name(x)}</text>')
    parts.append(f'<path class="axis" d="M{LEFT},{TOP}V{bottom}H{right}"/>')
    middle = (LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{bottom + 38}" text-anchor="middle">{html.escape(panel.x_label)}</text>')
    parts.append(
        f'<text transform="translate(14,{(TOP + bottom) / 2}) rotate(-90)" text-anchor="middle">'
        f"{html.escape(panel.y_label)}</text>"
    )
    for name, line in panel.series.items():
        number_of_series = names.index(name)
        path = "L".join(f"{across(x):.1f},{down(y):.1f}" for x, y in line)
        marks = "".join(mark(number_of_series, across(x), down(y)) for x, y in line)
        parts.append(f'<g class="s{number_of_series}"><path class="line" d="M{path}"/>{marks}</g>')
    return "".join(parts)


def y_range(values):
    """The logarithms of the lowest and the highest of the axis, and what stands beside it: 1, 2, 5, 10 and so on."""
    low, high = min(values), max(values)
    # A level line must look level: never less than a decade.
    if high / low < 10:
        low, high = low / (10 / (high / low)) ** 0.5, high * (10 / (high / low)) ** 0.5
    steps = [base * 10.0**power for power in range(-6, 10) for base in (1, 2, 5)]
    first = max(step for step in steps if step <= low)
    last = min(step for step in steps if step >= high)
    ticks = [step for step in steps if first <= step <= last]
    if len(ticks) > 8:
        ticks = [step for step in ticks if f"{step:e}".startswith("1.")]
    return math.log10(first), math.log10(last), ticks


def number(value):
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def mark(series, x, y):
    shape = LOOKS[series][2]
    if shape == "circle":
        return f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'
    if shape == "ring":
        return f'<circle class="open" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    if shape == "square":
        return f'<rect class="mark" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'
    if shape == "cross":
        return f'<path class="line" d="M{x - 4:.1f},{y - 4:.1f}l8,8m0,-8l-8,8"/>'
    corners = {"triangle": "l5.5,9h-11z", "diamond": "l5.5,5.5l-5.5,5.5l-5.5,-5.5z"}[shape]
    return f'<path class="mark" d="M{x:.1f},{y - 5.5:.1f}{corners}"/>'
