"""Small charts as inline SVG: no library in the page, no network; colours come from the page's style sheet."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from markupsafe import Markup

WIDTH, HEIGHT = 400, 230  # user units; a phone shows them nearly one to one, so that text stays readable
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 10, 36  # on the right, half of the last tick's label
LARGEST, LEAST = 1e30, 1e-9  # of a number that is drawn; and the least one on a logarithmic axis
Point = tuple[float, float]


def points(rows: Iterable[Mapping[str, str]], x: str, y: str) -> list[Point]:
    """The points of a table's rows; a row without two numbers to draw is left out, as a line that was cut."""
    found = []
    for row in rows:
        try:
            point = float(row[x]), float(row[y])
        except (KeyError, TypeError, ValueError):
            continue
        found += [point] if all(abs(value) < LARGEST for value in point) else []
    return found


def finite(drawn: Iterable[Point]) -> list[Point]:
    """The points that can be drawn."""
    return [point for point in drawn if all(abs(value) < LARGEST for value in point)]


def standalone(chart: Markup) -> str:
    """A chart as a file of its own, with the few styles that it needs."""
    style = (
        "text{font:11px sans-serif;fill:#5c6169}.rule{stroke:#e4e2de}polyline{fill:none;stroke-width:2}"
        ".line{stroke:#245a8f}.behind{stroke:#b9c7d6;stroke-width:1}.reference{stroke:#8a5a12;stroke-dasharray:4}"
        ".mark,.bar{fill:#245a8f}"
    )
    opening = '<svg xmlns="http://www.w3.org/2000/svg" '
    drawn = str(chart).replace("<svg ", opening, 1).replace(">", f"><style>{style}</style>", 1)
    return f"{drawn}\n"


def histogram(points: Sequence[tuple[str, float]], x_label: str, y_label: str) -> Markup:
    """A bar for each (label, value); values from 0."""
    top = _nice_top(max((value for _, value in points), default=1))
    slot = (WIDTH - LEFT - RIGHT) / max(len(points), 1)
    parts = [_y_axis([top * step / 4 for step in range(5)], 0, top, y_label), _x_label(x_label)]
    every = math.ceil(len(points) / 16)
    for place, (label, value) in enumerate(points):
        x, height = LEFT + place * slot, (HEIGHT - TOP - BOTTOM) * value / top
        parts.append(
            Markup(
                '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}: {}</title></rect>'
            ).format(x + slot * 0.1, HEIGHT - BOTTOM - height, slot * 0.8, height, label, number(value))
        )
        if place % every == 0:
            parts.append(_text(x + slot / 2, HEIGHT - BOTTOM + 14, label, "middle"))
    return _svg(parts, f"{y_label} by {x_label}")


def line(
    points: Sequence[Point],
    x_label: str,
    y_label: str,
    *,
    log_x: bool,
    log_y: bool,
    marks: bool = False,
    behind: Sequence[Point] = (),
    reference: tuple[str, float] | None = None,
) -> Markup:
    """A line through points; a logarithmic axis has a tick at each power of ten, or of two where it is short.

    With `marks` the points are few: each is drawn, and has the tick below it. `behind` is a fainter line, and
    `reference` the name and the height of a dashed one.
    """
    places, heights = [x for x, _ in points], [y for _, y in [*points, *behind]]
    heights += [reference[1]] if reference else []
    few = places if len(places) <= 8 else places[:: -(-len(places) // 8)]
    x_ticks = few if marks and few else _ends(places, log_x)
    y_ticks = _log_ticks(heights) if log_y else _ticks(heights)
    across, up = _scale(x_ticks, log_x, LEFT, WIDTH - RIGHT), _scale(y_ticks, log_y, HEIGHT - BOTTOM, TOP)
    parts = [_y_axis(y_ticks, y_ticks[0], y_ticks[-1], y_label, log=log_y), _x_label(x_label)]
    parts += [_text(across(tick), HEIGHT - BOTTOM + 14, number(tick), "middle") for tick in x_ticks]
    for kind, drawn in (("behind", behind), ("line", points)):
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in drawn)
        parts.append(Markup('<polyline class="{}" points="{}"/>').format(kind, path) if drawn else Markup(""))
    if reference:
        rule = Markup('<line class="reference" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
        parts.append(rule.format(LEFT, WIDTH - RIGHT, up(reference[1]), up(reference[1])))
        parts.append(_text(WIDTH - RIGHT, up(reference[1]) - 5, reference[0], "end"))
    if marks:
        mark = Markup('<circle class="mark" cx="{:.1f}" cy="{:.1f}" r="3.5"><title>{}: {}</title></circle>')
        parts += [mark.format(across(x), up(y), number(x), number(y)) for x, y in points]
    return _svg(parts, f"{y_label} by {x_label}")


def _ends(places: Sequence[float], log: bool) -> list[float]:
    """The ticks of a horizontal axis, which end where the values do unless it is logarithmic."""
    if log:
        return _log_ticks(places)
    ticks = _ticks(places)
    return [*ticks[:-1], max(places)] if places and ticks[-1] > max(places) > ticks[-2] else ticks


def number(value: float) -> str:
    """A number short enough for a tick: `64k`, `1.5M`, `0.25`."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _scale(ticks: Sequence[float], log: bool, start: float, end: float) -> Callable[[float], float]:
    low, high = (math.log(max(tick, LEAST)) if log else tick for tick in (ticks[0], ticks[-1]))
    span = (high - low) or 1
    return lambda value: start + ((math.log(max(value, LEAST)) if log else value) - low) / span * (end - start)


def _log_ticks(values: Sequence[float]) -> list[float]:
    low, high = (max(value, LEAST) for value in (min(values, default=1), max(values, default=10)))
    base = 10 if high / low > 100 else 2
    first, last = math.floor(math.log(low, base) + 1e-9), math.ceil(math.log(high, base) - 1e-9)
    return [float(base**power) for power in range(first, max(last, first + 1) + 1)]


def _ticks(values: Sequence[float]) -> list[float]:
    low, high = min(values, default=0), max(values, default=1)
    step = _nice_top((high - low) / 4 or 1)
    first = math.floor(low / step)
    return [step * place for place in range(first, max(math.ceil(high / step), first + 1) + 1)]


def _nice_top(value: float) -> float:
    """The least of 1, 2, 2.5, 4, 5, 8, 10 times a power of ten that is not below `value`."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(power * step for step in (1, 2, 2.5, 4, 5, 8, 10) if power * step >= value * (1 - 1e-9))


def _y_axis(ticks: Sequence[float], low: float, high: float, label: str, *, log: bool = False) -> Markup:
    up = _scale([low, high], log, HEIGHT - BOTTOM, TOP)
    parts = [_text(12, (HEIGHT - BOTTOM + TOP) / 2, label, "middle", turned=True)]
    for tick in ticks:
        rule = Markup('<line class="rule" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
        parts.append(rule.format(LEFT, WIDTH - RIGHT, up(tick), up(tick)))
        parts.append(_text(LEFT - 5, up(tick) + 3.5, number(tick), "end"))
    return Markup("").join(parts)


def _x_label(label: str) -> Markup:
    return _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, label, "middle")


def _text(x: float, y: float, text: str, anchor: str, *, turned: bool = False) -> Markup:
    turn = Markup(' transform="rotate(-90 {:.1f} {:.1f})"').format(x, y) if turned else ""
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}"{}>{}</text>').format(x, y, anchor, turn, text)


def _svg(parts: Sequence[Markup], label: str) -> Markup:
    opening = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, label)
    return opening + Markup("").join(parts) + Markup("</svg>")
