"""All that a report says, as values: the page, its script and its copies read nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench import literature
from bench.literature import Published
from bench.study.outcome import Outcome
from bench.verdict.comparison import Comparison
from bench.verdict.results import CodecResult
from reports import (
    claims,
    costs,
    diagnostics,
    measurements,
    settings,
    wins,
    wording,
)
from reports.cautions import find_cautions
from reports.charts import Chart, make_charts, styles
from reports.claims import ClaimRow
from reports.costs import Cost
from reports.data_tables import csv_verdicts
from reports.diagnostics import Told
from reports.entropy import EntropyTable, entropy_table
from reports.latex import latex_verdicts
from reports.learned import LearnedTable, learned_table
from reports.lossless import LosslessText, lossless_text
from reports.measurements import Failure, Measured
from reports.palette import marker, style_class
from reports.pictures import Gallery
from reports.preference import Preferred, preferred
from reports.provenance import Caution, Provenance
from reports.ranking import Ranking, make_ranking
from reports.rates import PoolingRow, RateTable, pooling_rows, rate_tables
from reports.settings import CodecFacts
from reports.targets import TargetRow, target_rows
from reports.text_tables import markdown_verdicts
from reports.verdicts import Verdicts, Written, verdicts
from reports.wins import Pairs, WinTable
from reports.wording import MetricText, clean, metric_text


@dataclass(frozen=True)
class ShownCodec:
    """How a codec is called and drawn."""

    result: CodecResult
    name: str
    label: str
    short: str
    """The label as far as it tells the codec from the others."""
    style: int
    """Place in the palette; -1 for the anchor of the tables."""

    @property
    def look(self) -> str:
        return style_class(self.style)

    @property
    def marker(self) -> str:
        return marker(self.style)


@dataclass(frozen=True)
class Anchor:
    """What there is to say against one anchor."""

    name: str
    verdicts: Verdicts
    ranking: Ranking
    copies: Mapping[str, Written]
    """The table of verdicts by format, for other programs."""


@dataclass(frozen=True)
class PublishedCurve:
    """A published curve on all metrics."""

    facts: Published
    points: Mapping[str, tuple[tuple[float, float], ...]]
    """By metric: (bits per pixel, value) within the rates of the charts."""


@dataclass(frozen=True)
class Report:
    """A report on one comparison."""

    provenance: Provenance
    main: Comparison
    metrics: tuple[MetricText, ...]
    codecs: tuple[ShownCodec, ...]
    anchors: tuple[Anchor, ...]
    """Each that a reader can choose, the first that of the tables."""
    others: tuple[Verdicts, ...]
    """Against further anchors, in one compact table."""
    charts: tuple[Chart, ...]
    published: tuple[PublishedCurve, ...]
    other_set: tuple[Published, ...]
    """Of the CLIC 2022 test set, to mention beside results on its validation set."""
    lossless: LosslessText | None
    rate_tables: tuple[RateTable, ...]
    pooling: tuple[PoolingRow, ...]
    targets: tuple[TargetRow, ...]
    pairs: Pairs
    wins: WinTable | None
    gallery: Gallery
    preferred: tuple[Preferred, ...]
    """What people said in studies of the run."""
    told: tuple[Told, ...]
    costs: tuple[Cost, ...]
    learned: LearnedTable | None
    entropy: EntropyTable | None
    """Where the run has learned codecs side by side."""
    claims: tuple[ClaimRow, ...]
    cautions: tuple[Caution, ...]
    measured: tuple[Measured, ...]
    failures: tuple[Failure, ...]
    settings: tuple[CodecFacts, ...]
    circumstances: tuple[tuple[str, str], ...]
    """When, where and in what company the measurements were made."""
    metric_versions: tuple[tuple[str, str], ...]

    def place(self, codec: str) -> int | None:
        """Of a codec in the results; None for one whose points are published."""
        names = [one.name for one in self.main.results.codecs]
        return names.index(codec) if codec in names else None


def make_report(
    comparisons: Sequence[Comparison],
    provenance: Provenance,
    gallery: Gallery | None = None,
    anchors: Sequence[Comparison] = (),
    outcomes: Sequence[Outcome] = (),
) -> Report:
    """`comparisons[0]` is what the report is about; `anchors` has a comparison for each anchor that
    a reader can choose, the first that of the tables (default: `comparisons`), `outcomes` what came
    out of studies."""
    main, gallery = comparisons[0], gallery or Gallery()
    results, look = main.results, styles(main)
    charts = make_charts(main, quick=provenance.quick)
    short = wording.short_labels(results)
    drawn = {chart.metric.name for chart in charts}
    first = next((i for i, name in enumerate(results.metrics) if name in drawn), 0)
    pairs = wins.all_pairs(main)
    found_costs = costs.costs(results)
    learned = learned_table(anchors or comparisons, found_costs)
    return Report(
        provenance=provenance,
        main=main,
        metrics=tuple(metric_text(name) for name in results.metrics),
        codecs=tuple(
            ShownCodec(c, clean(c.name), clean(c.label), short[c.name], look[c.name])
            for c in results.codecs
        ),
        anchors=tuple(_anchor(one, first, look) for one in anchors or comparisons),
        others=tuple(verdicts(one) for one in comparisons[1:]),
        charts=charts,
        published=_published(charts),
        other_set=_other_image_set(main),
        lossless=lossless_text(results),
        rate_tables=tuple(rate_tables(main)),
        pooling=tuple(pooling_rows(main)),
        targets=target_rows(results),
        pairs=pairs,
        wins=wins.win_table(main, pairs, gallery),
        gallery=gallery,
        preferred=tuple(preferred(one, look) for one in outcomes),
        told=tuple(diagnostics.tell(results)),
        costs=tuple(found_costs),
        learned=learned,
        entropy=entropy_table() if learned else None,
        claims=tuple(claims.claim_rows(anchors or comparisons)),
        cautions=find_cautions(main, charts, provenance, gallery),
        measured=tuple(measurements.measured(results)),
        failures=tuple(measurements.failures(main)),
        settings=tuple(settings.codec_facts(main)),
        circumstances=tuple(settings.measured_facts(main)),
        metric_versions=tuple(settings.metric_versions(main)),
    )


def _anchor(comparison: Comparison, first: int, look: Mapping[str, int]) -> Anchor:
    found = verdicts(comparison)
    copies = {
        "markdown": markdown_verdicts(found),
        "csv": csv_verdicts(comparison),
        "latex": latex_verdicts(found),
    }
    ranking = make_ranking(found, comparison.results, first, look)
    return Anchor(clean(comparison.anchor), found, ranking, copies)


def _published(charts: Sequence[Chart]) -> tuple[PublishedCurve, ...]:
    found: dict[str, tuple[Published, dict[str, tuple[tuple[float, float], ...]]]] = {}
    for chart in charts:
        highest = max(point.bpp for series in chart.series for point in series.points)
        for one in chart.published:
            near = tuple((r, v) for r, v in one.points if r <= highest * 1.03)
            found.setdefault(one.facts.id, (one.facts, {}))[1][chart.metric.name] = near
    return tuple(PublishedCurve(facts, points) for facts, points in found.values())


def _other_image_set(comparison: Comparison) -> tuple[Published, ...]:
    sets = {m.dataset for c in comparison.results.codecs for m in c.measurements.values()}
    if sets != {"clic22"}:
        return ()
    found = (literature.curves(literature.CLIC22_TEST, name) for name in ("psnr", "ms-ssim"))
    return tuple(curve for curves in found for curve in curves)
