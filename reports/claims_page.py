"""The claims as Markdown, with all that is needed to repeat the measurement: `docs/claims.md`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.verdict.comparison import Comparison, compare
from datasets.cache import write_atomically
from reports.claims import CLAIMS, LEARNED_REFERENCE, claim_rows
from reports.costs import costs
from reports.learned import learned_table
from reports.provenance import Provenance
from reports.text_tables import markdown_escape, markdown_table

BEGIN, END = "<!-- claims: begin -->", "<!-- claims: end -->"
"""What stands between these lines of a page is written by `write_claims`, the rest by hand."""


class NoClaims(Exception):
    """The page cannot be written; the message says why and what to do."""


def write_claims(path: Path, comparison: Comparison, provenance: Provenance) -> None:
    """Put the claims as the run of `comparison` shows them into the Markdown page at `path`.

    A page that is there keeps what stands outside of `BEGIN` and `END`.  Raises `NoClaims` where it
    lacks these lines, or where no codec was measured that a claim is about.
    """
    page = path.read_text(encoding="utf-8") if path.exists() else f"# Claims\n\n{BEGIN}\n{END}\n"
    before, begin, rest = page.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise NoClaims(f"{path} has no lines {BEGIN} and {END}: add them, or name a new file")
    text = "\n\n".join(_blocks(comparison, provenance))
    write_atomically(path, f"{before}{BEGIN}\n{text}\n{END}{after}".encode())


def _blocks(comparison: Comparison, provenance: Provenance) -> Iterator[str]:
    results = comparison.results
    names = [codec.name for codec in results.codecs]
    asked = [*(name for claim in CLAIMS for name in claim.codecs[-1:]), LEARNED_REFERENCE]
    anchors = dict.fromkeys(name for name in asked if name in names)
    comparisons = [comparison, *(compare(results, name) for name in anchors)]
    rows = claim_rows(comparisons)
    if not rows:
        about = dict.fromkeys(name for claim in CLAIMS for name in claim.codecs[:1])
        raise NoClaims(f"the run has none of the codecs that claims are about: {', '.join(about)}")
    facts = {
        "Data set": results.dataset,
        "Images": str(len(results.images)),
        "Measured": provenance.finished or provenance.started,
        "Last command of the run": provenance.command,
        "Metrics": ", ".join(f"{name} {version}" for name, version in provenance.metrics.items()),
    }
    yield "\n".join(f"- {name}: {markdown_escape(fact)}" for name, fact in facts.items() if fact)
    yield markdown_table(
        ["claim", "source", "measured", "verdict", "command that measures it"],
        [[row.text, row.source, row.figure, row.verdict, row.command] for row in rows],
    )
    if table := learned_table(comparisons, costs(results)):
        yield "Learned codecs: change in bits at equal quality, and what it costs."
        yield markdown_table(table.heading, table.texts())
        if table.legend:
            yield f"{table.legend}."
    yield markdown_table(
        ["codec", "version", "device"],
        [[codec.name, codec.version, codec.device] for codec in results.codecs],
    )
