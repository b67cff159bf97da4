"""What a reader should bear in mind, found in the results themselves."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

from bench.run.replay import TOLERANCE
from bench.verdict.bd import Status
from bench.verdict.comparison import Comparison
from bench.verdict.plausible import unlikely_rates
from reports.charts import Chart
from reports.lossless import lossless_caution
from reports.packs import pack_notes
from reports.pictures import Gallery
from reports.provenance import Caution, Provenance
from reports.wording import clean, metric_text, unlikely_rate

T = TypeVar("T", bound=Hashable)

FEW_IMAGES = 12
"""Below this a bootstrap over images says little about other images."""


def find_cautions(
    comparison: Comparison, charts: Sequence[Chart], provenance: Provenance, gallery: Gallery
) -> tuple[Caution, ...]:
    """The given warnings, then those that follow from the results."""
    found = _found(comparison, charts, provenance)
    return (*provenance.cautions, *found, *_of_pictures(gallery))


def _of_pictures(gallery: Gallery) -> Iterator[Caution]:
    if near := sum(len(picture.near) for picture in gallery.pictures):
        were = "was" if near == 1 else "were"
        yield Caution(
            f"{near} of the reconstructions that are shown {were} decoded here to slightly other "
            f"pictures than where they were measured; PSNR within {TOLERANCE} dB.",
            "Nothing need be done: processors round differently, and the figures are the "
            "measured ones.",
        )
    if gallery.problems:
        shown = "; ".join(clean(problem) for problem in gallery.problems[:3])
        more = f" and {len(gallery.problems) - 3} more" if len(gallery.problems) > 3 else ""
        yield Caution(
            f"Not shown: {shown}{more}.",
            "Measure again what has changed, and see that the pictures are where they were.",
        )


def _found(
    comparison: Comparison, charts: Sequence[Chart], provenance: Provenance
) -> Iterator[Caution]:
    results = comparison.results
    count = len(results.images)
    if provenance.quick:
        yield Caution(
            "This is a quick run: few images and a faster VVC preset.",
            "Run without --quick for figures to quote.",
        )
    if lossless := lossless_caution(comparison):
        yield lossless
    for unlikely in unlikely_rates(results):
        yield Caution(
            unlikely_rate(unlikely),
            "Check it alone, with the stream and nothing else: python -m bench check CODEC.",
        )
    for note in pack_notes(results):
        yield Caution(note, "Run with --no-pack to encode all of it here.")
    if count < FEW_IMAGES:
        yield Caution(
            f"Only {_images(count)}: the intervals say little about other pictures.",
            "Use a whole set: --dataset kodak (24 images) or clic22 (30).",
        )
    unavailable = {
        metric: cell.verdict.message
        for row in comparison.rows
        for metric, cell in row.cells.items()
        if cell.verdict.status is Status.UNAVAILABLE and not cell.verdict.published
    }
    for metric, why in unavailable.items():
        yield Caution(
            f"{metric_text(metric).label} is unavailable: {clean(why)}",
            "Run the same command again then: the kept streams are scored anew, not coded.",
        )
    if skipped := len(provenance.skipped):
        yield Caution(
            f"{_images(skipped)} of the data set {'was' if skipped == 1 else 'were'} left out; "
            "the reasons are under Provenance.",
            "Convert or remove them, so that the set is what its name says.",
        )
    failed = any(codec.failures for codec in results.codecs)
    remedy = (
        "Remove the cause given under Failures, then run again with --retry."
        if failed
        else "Run the same command again: it goes on where it stopped."
    )
    for images, labels in _by(charts, lambda chart: [chart.left_out]):
        if images:
            yield Caution(
                f"The curves of {', '.join(labels)} leave out {_images(len(images))} without a "
                f"value from every codec: {', '.join(map(clean, images[:6]))}"
                f"{' ...' if len(images) > 6 else ''}.",
                remedy,
            )
    for name, labels in _by(charts, lambda chart: chart.points_left_out):
        yield Caution(
            f"The curves of {', '.join(labels)} leave out {name}: no finite value on some images.",
            remedy if failed else "Nothing is wrong where these points code without loss.",
        )
    for label, labels in _by(charts, lambda chart: chart.absent):
        yield Caution(
            f"{label} has no curve of {', '.join(labels)}: it has no finite value, or on too few "
            "images.",
            remedy,
        )
    for codec in results.codecs:
        if codec.tuned_for:
            names = ", ".join(metric_text(name).label for name in codec.tuned_for)
            yield Caution(
                f"{clean(codec.label)} was trained for {names}: its figures there are on home "
                "ground.",
                "Judge it by the other metrics as well.",
            )
    for codec in results.codecs:
        converted = {note for m in codec.measurements.values() for note in m.notes}
        if converted:
            yield Caution(
                f"What the decoder of {clean(codec.label)} writes is converted before it is "
                f"compared: {clean('; '.join(sorted(converted)))}.",
                "Have it write 8-bit RGB. FFmpeg needs -pix_fmt rgb24 for that: white is 65280 of "
                "65535 in the 16 bits that it makes of YCbCr, up to one step of 255 too dark.",
            )
    rescored: dict[str, int] = {}
    for m in (m for codec in results.codecs for m in codec.measurements.values()):
        for metric in m.rescored:
            rescored[metric] = rescored.get(metric, 0) + 1
    if rescored:
        which = ", ".join(f"{metric_text(n).label} ({k})" for n, k in rescored.items())
        yield Caution(
            "Some values were computed later, on slightly other reconstructions than the measured "
            f"ones (PSNR within {TOLERANCE} dB): {which}.",
            "Nothing need be done: the streams are the same, processors round differently.",
        )
    for codec in results.codecs:
        others = sorted({m.device for m in codec.measurements.values()} - {"cpu"})
        if others:
            yield Caution(
                f"{clean(codec.label)} ran on {clean(', '.join(others))}.",
                "Its streams are the same on any device; decoded pictures may differ from those of "
                "a CPU by one level in a few samples, and so may their digests.",
            )
    jobs = max((m.jobs for c in results.codecs for m in c.measurements.values()), default=1)
    if jobs > 1:
        yield Caution(
            f"Seconds were taken with up to {jobs} measurements side by side.",
            "Run the same command with --jobs 1 --retime for times to quote.",
        )


def _images(count: int) -> str:
    return f"{count} image{'s' if count != 1 else ''}"


def _by(
    charts: Sequence[Chart], lacking: Callable[[Chart], Iterable[T]]
) -> Iterable[tuple[T, list[str]]]:
    """What charts lack, each once, with the labels of the metrics that it is about."""
    found: dict[T, list[str]] = {}
    for chart in charts:
        for each in lacking(chart):
            found.setdefault(each, []).append(chart.metric.label)
    return found.items()
