"""What a report says of streams that were encoded elsewhere."""

from __future__ import annotations

from bench.verdict.results import Results
from reports.wording import clean


def pack_notes(results: Results) -> list[str]:
    """One sentence for each pack that measurements of these results come from."""
    notes = []
    for digest, text in results.packs.items():
        found = {
            clean(codec.label): [m for m in codec.measurements.values() if m.pack == digest]
            for codec in results.codecs
        }
        if codecs := [label for label, measurements in found.items() if measurements]:
            timed = any(m.encode for measurements in found.values() for m in measurements)
            times = "; the encoding times are those of the machine that made it" if timed else ""
            notes.append(
                f"{', '.join(codecs)}: streams from the pack {clean(text)}. Decoded and scored "
                f"here{times}."
            )
    return notes
