"""Results made up for the tests of reports, and a reader of the pages they make."""

from __future__ import annotations

import functools
import json
import math
import re
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import patch
from xml.etree import ElementTree

from bench.metrics.base import MetricValue
from bench.record.measurement import Measurement, Timing, measurement_key
from bench.verdict.comparison import Comparison, compare
from codecs.base import Point
from datasets.registry import describe
from reports import Provenance, write_report
from tests.helpers import collected

METRICS = ("psnr", "ms-ssim", "lpips-alex")
IMAGES = ("a.png", "b.png", "c.png")
PROVENANCE = Provenance(title="Image codecs on three pictures", dataset="three pictures")


def made_up(
    codec: str,
    image: str,
    order: int,
    *,
    efficiency: float = 1.0,
    label: str | None = None,
    digest: str | None = None,
    metrics: dict[str, float | None] | None = None,
    **changes: object,
) -> Measurement:
    """A plausible measurement: `efficiency` 2 needs twice the bits for the same quality."""
    rate = 0.1 * 2**order
    offset = 0.37 * (sum(map(ord, image)) % 7)
    decibels = 8 + 3.1 * order + offset / 3
    values: dict[str, float | None] = {
        "psnr": 27.0 + 2.9 * order + offset,
        "ms-ssim": 1 - 10 ** (-decibels / 10),
        "lpips-alex": 0.5 * 0.7**order + offset / 50,
    }
    values |= metrics or {}
    facts: dict[str, object] = {
        "status": "ok",
        "codec": codec,
        "label": codec.upper() if label is None else label,
        "version": "lib 1.2; weights 0f3a",
        "settings": {"chroma": "4:2:0"},
        "parameter": "qp",
        "value": 50 - 5 * order,
        "dataset": "test",
        "image": image,
        "image_digest": digest or f"digest of {image}",
        "width": 100,
        "height": 80,
        "bytes": round(efficiency * rate * 1000 * (1 + offset / 10)),
        "metrics": {
            name: MetricValue(value, "1", "" if value is not None else "weights are missing")
            for name, value in values.items()
        },
        "encode": Timing(0.5 + order, 0.25),
        "decode": Timing(0.125, 0.0625),
    }
    facts |= changes
    point = Point(str(facts["parameter"]), facts["value"])  # type: ignore[arg-type]
    identity = (facts["codec"], facts["version"], facts["settings"], point, facts["image_digest"])
    return Measurement(key=measurement_key(*identity), **facts)  # type: ignore[arg-type]


def failed(codec: str, image: str, order: int, reason: str) -> Measurement:
    return made_up(
        codec, image, order, status="failed", reason=reason, bytes=None, encode=None, decode=None
    )


def ladder(
    codec: str,
    efficiency: float = 1.0,
    *,
    images: Sequence[str] = IMAGES,
    points: int = 5,
    **changes: object,
) -> list[Measurement]:
    return [
        made_up(codec, image, order, efficiency=efficiency, **changes)  # type: ignore[arg-type]
        for image in images
        for order in range(points)
    ]


def comparison(
    rows: Sequence[Measurement],
    anchor: str = "vvenc",
    metrics: Sequence[str] = METRICS,
    dataset: str = "three pictures",
    unavailable: dict[str, str] | None = None,
) -> Comparison:
    results = collected(rows, metrics=metrics, dataset=dataset, unavailable=unavailable)
    return compare(results, anchor)


@functools.cache
def plain() -> Comparison:
    """Three codecs without any trouble; `jpeg` needs twice and `worse` 1.5 times the bits."""
    return comparison([*ladder("jpeg", 2.0), *ladder("worse", 1.5), *ladder("vvenc")])


class Page(HTMLParser):
    """The elements of a page and the text of its tables' cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[tuple[dict[str, str | None], list[list[str]]]] = []
        self.captions = 0
        self.words: list[str] = []
        self._cell: list[str] | None = None
        self._hidden = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden:  # in a template: not shown before somebody asks for it
            return
        self.tags.append((tag, dict(attrs)))
        if tag in {"td", "th", "tr", "tbody"}:
            self._end_cell()  # its end tag may be left out
        if tag == "table":
            self.tables.append((dict(attrs), []))
        elif tag == "tr":
            self.tables[-1][1].append([])
        elif tag in {"td", "th"}:
            self._cell = []
        elif tag == "caption":
            self.captions += 1
        elif tag in {"style", "script", "template"}:
            self._hidden += 1

    def handle_endtag(self, tag: str) -> None:
        if tag in {"style", "script", "template"}:
            self._hidden -= 1
        elif self._hidden:
            return
        elif tag in {"td", "th", "table"}:
            self._end_cell()

    def _end_cell(self) -> None:
        if self._cell is not None:
            self.tables[-1][1][-1].append(" ".join("".join(self._cell).split()))
            self._cell = None

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)
        if self._cell is not None:
            self._cell.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def table(self, **attributes: str) -> list[list[str]]:
        """The body rows of the one table with these attributes (`class_` for class)."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        found = [rows for facts, rows in self.tables if wanted.items() <= facts.items()]
        assert len(found) == 1, f"{len(found)} tables {wanted}"
        return found[0][1:]

    def measurements(self, codec: str) -> list[list[str]]:
        """The rows of a codec's measurements, each with its image, which stands once a group."""
        rows, image = [], ""
        for row in self.table(data_codec=codec):
            if re.fullmatch(r"\S+ \S+", row[0]) is None:
                image, row = row[0], row[1:]
            rows.append([image, *row])
        return rows

    def all_tables(self, class_: str) -> list[list[list[str]]]:
        return [rows[1:] for facts, rows in self.tables if facts.get("class") == class_]


def figure(text: str) -> float:
    """The first number of a cell, whatever its minus sign."""
    match = re.search(r"[-+]?\d+(?:\.\d+)?", text.replace("\N{MINUS SIGN}", "-"))
    assert match, text
    return float(match.group())


def close(text: str, value: float, digits: int) -> bool:
    """Whether a cell shows a value rounded to so many digits."""
    return math.isclose(figure(text), value, abs_tol=0.5001 * 10**-digits)


EMPTY = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


def written(
    directory: Path,
    *comparisons: Comparison,
    provenance: Provenance = PROVENANCE,
    drawn: bool = False,
) -> tuple[str, Page]:
    """A report's text and its elements; figures, which take most of the time, are left empty
    unless they are to be `drawn`."""
    empty = nullcontext() if drawn else patch("reports.figures._write", return_value=EMPTY)
    with empty:
        text = write_report(directory, comparisons, provenance).read_text(encoding="utf-8")
    return text, Page(text)


@functools.cache
def plainly_written() -> tuple[str, Page]:
    """The page of `plain`, written once; shared, so not to be changed."""
    with tempfile.TemporaryDirectory() as folder:
        return written(Path(folder), plain(), drawn=True)


def data_of(text: str) -> dict[str, Any]:
    """What the page's script works with."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found.group(1))
    return data


def drawings(text: str) -> list[ElementTree.Element]:
    text = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    return [ElementTree.fromstring(one) for one in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def kodak(codecs: dict[str, float], *, mirrored: bool = False) -> list[Measurement]:
    """24 pictures with the digests of the Kodak set, or with these written backwards."""
    step = -1 if mirrored else 1
    return [
        made_up(
            codec,
            file.name,
            order,
            efficiency=efficiency,
            digest=(file.digest or "")[::step],
            dataset="kodak",
        )
        for codec, efficiency in codecs.items()
        for file in describe("kodak").files
        for order in range(6)
    ]
