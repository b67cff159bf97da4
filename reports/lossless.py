"""The table of lossless codecs as text: the same columns and words in every format."""

from __future__ import annotations

from dataclasses import dataclass

from bench.verdict.common import listed
from bench.verdict.comparison import Comparison
from bench.verdict.lossless import RAW_BPP, LosslessPoint, compare_lossless
from bench.verdict.results import Results
from reports import wording
from reports.costs import company, significant, speed
from reports.provenance import Caution
from reports.wording import clean


@dataclass(frozen=True)
class LosslessText:
    """A table to be written down."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """As many cells each as `headings`, the codec's name first."""
    labels: tuple[str, ...]
    """Of the rows' codecs."""
    note: str
    """How the speeds were taken, and what was left out."""

    @property
    def labelled_rows(self) -> list[tuple[str, tuple[str, ...]]]:
        return list(zip(self.labels, self.rows, strict=True))


def lossless_text(results: Results) -> LosslessText | None:
    """None where no point is without loss."""
    table = compare_lossless(results)
    if table is None:
        return None
    smallest = table.smallest
    with_points = any(len(point.codec.points) > 1 for point in table.points)
    reference = smallest.codec.name
    if len({point.codec.name for point in table.points}) < len(table.points):
        reference += f" {smallest.point}"

    def row(point: LosslessPoint) -> tuple[str, ...]:
        larger = "smallest"
        if point is not smallest:
            interval = wording.limits(point.low, point.high)
            larger = f"{wording.percent(point.percent_larger)} % {interval}".rstrip()
        return (
            clean(point.codec.name),
            *([clean(point.point)] if with_points else []),
            wording.number(point.bpp, 3),
            f"{point.percent_of_raw:.1f} %",
            larger,
            *(significant(speed(point.measurements, what)) for what in ("encode", "decode")),
        )

    count = len(table.images)
    timed = company([m for point in table.points for m in point.measurements])
    note = (
        "MP/s: megapixels a second by the clock, the median over the pictures, on the machine that "
        f"measured; timed {timed}."
    )
    if table.left_out:
        note += f" Left out, for lack of a stream of each codec: {listed(table.left_out)}."
    return LosslessText(
        title=f"Lossless codecs on {clean(results.dataset)}: each picture came back to the last "
        f"bit; mean size over {count} image{'s' if count != 1 else ''}, less is better",
        headings=(
            "codec",
            *(["point"] if with_points else []),
            "bpp",
            f"of raw {RAW_BPP:g} bpp",
            f"against {clean(reference)} [95 %]",
            "encode, MP/s",
            "decode, MP/s",
        ),
        rows=tuple(map(row, table.points)),
        labels=tuple(clean(point.codec.label) for point in table.points),
        note=clean(note),
    )


def lossless_caution(comparison: Comparison) -> Caution | None:
    """Where to look for the codecs that no table of verdicts has, as they lose nothing."""
    codecs = comparison.results.codecs
    names = [codec.name for codec in codecs if codec.is_lossless]
    if not names:
        return None
    one = len(names) == 1
    message = f"{clean(', '.join(names))} {'codes' if one else 'code'} without loss"
    if comparison.anchor in names and len(names) < len(codecs):
        return Caution(
            f"{message}: {clean(comparison.anchor)} has no quality at which others could be held "
            "against it.",
            "Name an anchor that loses something: --anchor.",
        )
    return Caution(
        f"{message}, so that {'it has' if one else 'they have'} no BD-rate.",
        f"Compare {'it' if one else 'them'} by size: see the table of lossless codecs.",
    )
