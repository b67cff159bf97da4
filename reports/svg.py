"""A rate-distortion chart as inline SVG.

Colours come from the page's style sheet (classes `s0` ... `s7`, `anchor`, `published`), so that
the drawing follows its light or dark scheme.  All text is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from reports.charts import CLIC_BUDGETS, Chart, PublishedSeries, Series
from reports.palette import MARKERS, colour_index, marker_index
from reports.scales import Scale, label, padded, spread
from reports.wording import MetricText, clean, shorten

WIDTH, HEIGHT = 860, 470
LEFT, RIGHT, TOP, BOTTOM = 62, 216, 26, 52
LABEL_CHARACTERS = 26
_R = 4.2  # radius of a marker


def render(chart: Chart, uid: str) -> str:
    """The chart; `uid` is unique in the page."""
    x, y = _scales(chart)
    title = f"{chart.metric.label} over bits per pixel"
    description = f"{len(chart.series)} curves; all figures are in the table below"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' class="rd" aria-labelledby="{uid}-t {uid}-d">',
        f'<title id="{uid}-t">{_text(title)}</title>',
        f'<desc id="{uid}-d">{_text(description)}</desc>',
        f'<clipPath id="{uid}-c"><rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}"'
        f' height="{HEIGHT - TOP - BOTTOM}"/></clipPath>',
        *_axes(chart.metric, x, y),
        *_budgets(x),
        f'<g clip-path="url(#{uid}-c)">',
        *(_published_curve(one, x, y) for one in chart.published if one.facts.shown),
        *(_curve(one, x, y) for one in chart.series),
        "</g>",
        *_markers(chart, x, y),
        *_labels(chart, x, y),
        "</svg>",
    ]
    return "".join(parts)


def _scales(chart: Chart) -> tuple[Scale, Scale]:
    rates = [point.bpp for one in chart.series for point in one.points]
    values = [point.value for one in chart.series for point in one.points]
    low, high = padded(values, 0.05)
    y = Scale(low, high, HEIGHT - BOTTOM, TOP)
    return Scale(0, max(rates) * 1.03, LEFT, WIDTH - RIGHT), y


def _axes(metric: MetricText, x: Scale, y: Scale) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = ['<g class="grid">']
    rates, values = x.ticks(7), y.ticks(8)
    parts += [f'<path d="M{x(t):.1f} {TOP}V{bottom}"/>' for t in rates]
    parts += [f'<path d="M{LEFT} {y(t):.1f}H{right}"/>' for t in values]
    parts.append(f'</g><path class="axis" d="M{LEFT} {bottom}H{right}"/><g class="ticks">')
    for tick in rates:
        text = label(tick, rates)
        parts.append(f'<text x="{x(tick):.1f}" y="{bottom + 18}" class="mid">{text}</text>')
    for tick in values:
        parts.append(
            f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" class="end">{label(tick, values)}</text>'
        )
    parts.append("</g>")
    if metric.name == "ms-ssim":
        parts += [
            f'<text x="{LEFT + 6}" y="{y(tick) - 4:.1f}" class="plain">'
            f"{_plain_ms_ssim(tick)}</text>"
            for tick in values
        ]
    better = "higher" if metric.higher_is_better else "lower"
    parts.append(
        f'<text x="{LEFT - 44}" y="{TOP - 10}" class="name">{_text(metric.heading)}'
        f'<tspan class="hint" dx="8">{better} is better</tspan></text>'
        f'<text x="{right}" y="{HEIGHT - 12}" class="name end">bits per pixel</text>'
    )
    return parts


def _plain_ms_ssim(decibels: float) -> str:
    value = 1 - 10 ** (-decibels / 10)
    return f"{value:.3f}" if value < 0.999 else f"{value:.4f}"


def _budgets(x: Scale) -> list[str]:
    inside = [rate for rate in CLIC_BUDGETS if x.low < rate < x.high]
    parts = [
        f'<path class="budget" d="M{x(r):.1f} {TOP}V{HEIGHT - BOTTOM}"><title>CLIC 2022 budget: '
        f"{r} bits per pixel</title></path>"
        for r in inside
    ]
    if inside:
        last = x(inside[-1]) + 5
        names = ", ".join(str(rate) for rate in inside)
        parts.append(
            f'<text x="{last:.1f}" y="{HEIGHT - BOTTOM - 7}" class="plain">CLIC {names}</text>'
        )
    return parts


def _path(points: Sequence[tuple[float, float]], x: Scale, y: Scale) -> str:
    reachable = [p for p in points if p[0] > 0 and math.isfinite(p[1])]
    return "M" + "L".join(f"{x(rate):.1f} {y(value):.1f}" for rate, value in reachable)


def _curve(series: Series, x: Scale, y: Scale) -> str:
    path = _path([(p.bpp, p.value) for p in series.points], x, y)
    return f'<path class="curve {style_class(series.style)}" d="{path}"/>'


def _published_curve(one: PublishedSeries, x: Scale, y: Scale) -> str:
    # Points far outside the axes would only lengthen the file: one on either side is enough.
    inside = [i for i, (rate, _) in enumerate(one.points) if x.low <= rate <= x.high]
    near = one.points[max(0, inside[0] - 1) : inside[-1] + 2] if inside else ()
    if not near:
        return ""
    words = f"{one.facts.label}, published, not measured here"
    return (
        f'<g class="published"><path d="{_path(near, x, y)}">'
        f"<title>{_text(words)}</title></path></g>"
    )


def style_class(style: int) -> str:
    """The class that gives a curve its colour, and from the ninth on its dashes."""
    if style < 0:
        return "anchor"
    again = " again" if style >= len(MARKERS) else ""
    return f"s{colour_index(style)}{again}"


def marker(style: int) -> str:
    """Path of a marker centred on the origin."""
    r = _R
    shape = "circle" if style < 0 else MARKERS[marker_index(style)]
    return {
        "circle": f"M-{r} 0a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 -{2 * r} 0z",
        "square": "M-3.7 -3.7h7.4v7.4h-7.4z",
        "triangle": "M0 -4.9L4.7 3.5H-4.7z",
        "wedge": "M0 4.9L4.7 -3.5H-4.7z",
        "diamond": "M0 -5.2L5.2 0L0 5.2L-5.2 0z",
        "plus": "M-1.6 -4.8h3.2v3.2h3.2v3.2h-3.2v3.2h-3.2v-3.2h-3.2v-3.2h3.2z",
        "cross": "M-4.6 -2.6L-2.6 -4.6L0 -2L2.6 -4.6L4.6 -2.6L2 0L4.6 2.6L2.6 4.6L0 2L-2.6 4.6"
        "L-4.6 2.6L-2 0z",
        "pentagon": "M0 -4.9L4.7 -1.5L2.9 4H-2.9L-4.7 -1.5z",
        "bar": "M-5 -1.8h10v3.6h-10z",
    }[shape]


def _markers(chart: Chart, x: Scale, y: Scale) -> list[str]:
    parts = []
    for series in chart.series:
        shape = marker(series.style)
        parts.append(f'<g class="mark {style_class(series.style)}">')
        parts += [
            f'<path transform="translate({x(p.bpp):.1f} {y(p.value):.1f})" d="{shape}"/>'
            for p in series.points
        ]
        parts.append("</g>")
    return parts


def _labels(chart: Chart, x: Scale, y: Scale) -> list[str]:
    """The name of each curve in the right margin, tied to the curve's end."""
    ends = [(x(one.points[-1].bpp), y(one.points[-1].value)) for one in chart.series]
    drawn = [one for one in chart.published if one.facts.shown]
    crossing = [(one, end) for one in drawn if (end := _last_visible(one, x, y)) is not None]
    ends += [end for _, end in crossing]
    heights = spread([end[1] for end in ends], 17, TOP + 8, HEIGHT - BOTTOM - 4)
    column = WIDTH - RIGHT + 14
    parts = []
    for series, (cx, cy), height in zip(chart.series, ends, heights, strict=False):
        parts.append(
            f'<g class="label {style_class(series.style)}"><title>{_text(series.label)}</title>'
            f'<path class="tie" d="{_tie(cx, cy, column, height)}"/>'
            f'<path class="swatch" transform="translate({column + 8} {height:.1f})"'
            f' d="{marker(series.style)}"/><text x="{column + 19}" y="{height + 4:.1f}">'
            f"{_text(shorten(series.label, LABEL_CHARACTERS))}</text></g>"
        )
    for (one, (cx, cy)), height in zip(crossing, heights[len(chart.series) :], strict=True):
        parts.append(
            f'<g class="label published">'
            f'<path class="tie" d="{_tie(cx, cy, column, height)}"/>'
            f'<text x="{column + 19}" y="{height + 4:.1f}">'
            f"{_text(shorten(one.facts.label, LABEL_CHARACTERS))}</text></g>"
        )
    return parts


def _tie(cx: float, cy: float, column: float, height: float) -> str:
    return f"M{cx:.1f} {cy:.1f}L{column - 8:.1f} {height:.1f}H{column:.1f}"


def _last_visible(one: PublishedSeries, x: Scale, y: Scale) -> tuple[float, float] | None:
    """Where a published curve leaves the axes, by linear interpolation."""
    end = None
    for (r0, v0), (r1, v1) in zip(one.points, one.points[1:], strict=False):
        if r0 >= x.high or not y.low <= v0 <= y.high:
            continue
        share = min(1.0, (x.high - r0) / (r1 - r0)) if r1 > r0 else 0.0
        limit = y.high if v1 > v0 else y.low
        if v1 != v0:
            share = min(share, max(0.0, (limit - v0) / (v1 - v0)))
        end = x(r0 + share * (r1 - r0)) if r0 > 0 else LEFT, y(v0 + share * (v1 - v0))
    return end


def _text(text: str) -> str:
    return escape(clean(text), quote=True)


def log_ratio(percent: float) -> float:
    """Logarithm of the ratio of rates behind a BD-rate: +100 % and -50 % lie equally far out."""
    return math.log(1 + percent / 100) if percent > -100 else -math.inf


def whisker(value: float, low: float, high: float, limit: float) -> str:
    """A BD-rate with its interval; the scale is the log ratio of rates, from -limit to +limit."""
    x = Scale(-limit, limit, 4, 116)

    def at(percent: float) -> float:
        return x(min(max(log_ratio(percent), -limit), limit))

    line = ""
    if math.isfinite(low) and math.isfinite(high):
        line = f'<path class="span" d="M{at(low):.1f} 7H{max(at(high), at(low) + 1):.1f}"/>'
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" class="whisker" viewBox="0 0 120 14"'
        f' aria-hidden="true"><path class="zero" d="M60 1V13"/>{line}'
        f'<circle cx="{at(value):.1f}" cy="7" r="2.6"/></svg>'
    )
