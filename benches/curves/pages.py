"""Tables and plots, on the terminal or in docs/performance.md, between the markers of each curve."""

import re
import statistics

from curves import draw


class Measure:
    """What is measured along a curve: a panel of its plot, and a table."""

    def __init__(self, title, unit, of, digits=2):
        self.title, self.unit, self.digits = title, unit, digits
        # Takes it from a run; none where a run has no such figure.
        self.of = of


class Curve:
    """Runs at each x of each series, and what is told of them."""

    def __init__(self, name, title, x_label, measures, x_name, tables=None, level=lambda x, cost: cost):
        self.name, self.title, self.x_label, self.x_name = name, title, x_label, x_name
        # Those that are plotted, and those that have a table.
        self.measures, self.tables = measures, tables or measures
        # Of the first measure, what should not grow with x.
        self.level = level
        self.notes = ""
        # Series → x → the runs of all rounds.
        self.runs = {}

    def add(self, series, x, run):
        self.runs.setdefault(series, {}).setdefault(x, []).append(run)

    def values(self, measure, series, x):
        found = (measure.of(run) for run in self.runs[series].get(x, []))
        return [value for value in found if value is not None]

    def points(self, measure):
        """Series → [(x, median)], without the series that have none."""
        points = {
            series: [
                (x, statistics.median(values)) for x in sorted(runs) if (values := self.values(measure, series, x))
            ]
            for series, runs in self.runs.items()
        }
        return {series: line for series, line in points.items() if line}

    def svg(self):
        panels = [
            draw.Panel(measure.title, self.x_label, measure.unit, self.points(measure), self.x_name)
            for measure in self.measures
        ]
        return draw.plot(f"{self.title}: {self.x_label}", panels, list(self.runs))

    def markdown(self):
        return "\n\n".join(part for part in [*(self.table(measure) for measure in self.tables), self.notes] if part)

    def table(self, measure):
        points = self.points(measure)
        xs = sorted({x for line in points.values() for x, _ in line})
        head = f"| {measure.title}, {measure.unit} | " + " | ".join(self.x_name(x) for x in xs) + " |"
        lines = [head, "|---|" + "---:|" * len(xs)]
        for series in points:
            cells = [self.cell(measure, self.values(measure, series, x)) for x in xs]
            lines.append(f"| {series} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def cell(self, measure, values):
        if not values:
            return ""
        shown = [f"{value:,.{measure.digits}f}" for value in (statistics.median(values), min(values), max(values))]
        return shown[0] if len(values) == 1 else f"{shown[0]} [{shown[1]}–{shown[2]}]"


def section(curve, conditions, plot):
    """What stands between the markers of a curve."""
    return f"![{curve.title}]({plot})\n\n{curve.markdown()}\n\n{conditions}"


def replace(page, name, text):
    """The page with `text` between the markers of `name`."""
    markers = re.compile(rf"(<!-- curve:{name} -->\n).*?(<!-- /curve:{name} -->)", re.DOTALL)
    page, count = markers.subn(lambda found: f"{found.group(1)}{text}\n{found.group(2)}", page)
    if count != 1:
        raise SystemExit(f"the page has the markers of curve:{name} {count} times")
    return page
