"""What a report says of streams that were encoded elsewhere."""

from __future__ import annotations

from bench.verdict.results import Results
from reports.wording import clean


def pack_notes(results: Results) -> list[str]:
    """One sentence for each pack that measurements of these results come from."""
    notes = []
    for digest, text in results.packs.items():
        codecs = [
            clean(codec.label)
            for codec in results.codecs
            if any(m.pack == digest for m in codec.measurements.values())
        ]
        if codecs:
            notes.append(
                f"{', '.join(codecs)}: streams from the pack {clean(text)}. Decoded and scored "
                "here; the encoding times are those of the machine that made it."
            )
    return notes
