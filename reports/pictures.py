"""Pictures for looking at: which streams are shown, and what was decoded of them.

For each picture and each of a few rates every codec is shown at the operating point whose file of
that picture is nearest in rate.  Crops stand in the report itself; whole pictures lie beside it
when they are asked for.  What was decoded once is kept in the run's folder `pictures`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from bench.record.measurement import Measurement
from bench.run.decoding import Decoders
from bench.verdict.results import CodecResult, Results
from codecs.selection import to_rate
from datasets.base import DatasetError, ImageRef
from datasets.cache import write_atomically
from reports.charts import CLIC_BUDGETS
from reports.crops import Crops, lossless, make_crops

BUDGET = 7_200_000
"""Bytes of all crops and previews in the report, in base64."""
TYPICAL_BPP = 7.5
"""Bits per pixel of a lossless crop of a busy place."""
LARGEST = 448
"""Width of a crop."""
WORTH = 144 * 108
"""Pixels below which a crop shows too little: then fewer rates are shown."""
MOST_PIXELS = 12_000_000
"""Of a picture that is shown: all its reconstructions are in memory at once."""
CACHE_VERSION = 5
_URI = re.compile(r"data:image/webp;base64,[A-Za-z0-9+/]+=*")


@dataclass(frozen=True)
class Shown:
    """One picture of the report."""

    image: int
    """Place in `Results.images`."""
    crops: Crops
    """By key of measurement."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Key of a measurement, or `original` -> file of the whole picture, relative to the report."""
    near: tuple[str, ...] = ()
    """Keys of those that differ a little from what was measured: see `bench.run.replay`."""


@dataclass(frozen=True)
class Gallery:
    """All pictures of a report."""

    rates: tuple[float, ...] = ()
    chosen: Mapping[tuple[int, int, int], tuple[int, int]] = field(default_factory=dict)
    """(image, rate, codec) -> (codec, operating point): see `nearest_points`."""
    pictures: tuple[Shown, ...] = ()
    problems: tuple[str, ...] = ()
    """Why something is not shown."""


@dataclass(frozen=True)
class PicturePlan:
    """What a gallery will show."""

    rates: tuple[float, ...]
    in_page: tuple[float, ...]
    """The rates whose crops stand in the report itself."""
    size: tuple[int, int]
    share: int
    """Bytes of the report that one picture may take."""
    chosen: Mapping[tuple[int, int, int], tuple[int, int]]


def make_plan(results: Results, *, whole: bool) -> PicturePlan:
    """Rates, crop size and operating points; with `whole`, all rates are shown.

    Higher rates are kept first where not all fit: most codecs reach them.
    """
    images, codecs = max(1, len(results.images)), len(results.codecs)
    for count in (3, 2, 1):
        pixels = 0.75 * BUDGET / images * 8 / TYPICAL_BPP / (count * codecs + 1)
        if pixels >= WORTH:
            break
    width = min(LARGEST, max(64, int(math.sqrt(pixels * 4 / 3)) // 8 * 8))
    in_page = CLIC_BUDGETS[-count:]
    rates = CLIC_BUDGETS if whole else in_page
    size = (width, width * 3 // 4 // 8 * 8)
    return PicturePlan(rates, in_page, size, BUDGET // images, nearest_points(results, rates))


def nearest_points(
    results: Results, rates: Sequence[float]
) -> dict[tuple[int, int, int], tuple[int, int]]:
    """(image, rate, codec) -> (codec, operating point), nearest in log rate; none where all failed.

    What was coded to a rate stands for its codec: `vvenc@0.15bpp` for `vvenc` where it is nearer.
    """
    with np.errstate(divide="ignore"):
        log_rates = [np.log(codec.bpp) for codec in results.codecs]
    members = [
        [k for k, other in enumerate(results.codecs) if k == place or stands_for(other, codec)]
        for place, codec in enumerate(results.codecs)
    ]
    chosen = {}
    for place, image in itertools.product(range(len(members)), range(len(results.images))):
        for index, rate in enumerate(rates):
            distances = [
                (float(abs(log_rate - math.log(rate))), k, point)
                for k in members[place]
                for point, log_rate in enumerate(log_rates[k][:, image])
                if math.isfinite(log_rate)
            ]
            if distances:
                chosen[image, index, place] = min(distances)[1:]
    return chosen


def stands_for(coded: CodecResult, codec: CodecResult) -> bool:
    """Whether `coded` is the same codec, coding each picture to a rate."""
    base, to = to_rate(coded.name)
    return to == "picture" and base == codec.name


def decoding_seconds(results: Results, plan: PicturePlan) -> float:
    """How long decoding took when it was measured: what showing pictures will cost."""
    shown = {(codec, point, image) for (image, *_), (codec, point) in plan.chosen.items()}
    rows = [results.codecs[codec].measurements[point, image] for codec, point, image in shown]
    return sum(m.decode.wall for m in rows if m.decode)


def make_gallery(
    results: Results,
    plan: PicturePlan,
    originals: Callable[[], Mapping[str, ImageRef]],
    decoders: Decoders,
    cache: Path,
    folder: Path | None,
) -> Gallery:
    """Decode, choose crops, write files.

    `originals` by image digest, asked for when something must be decoded; whole pictures go to
    `folder` (None: nowhere).
    """
    shown, problems = [], []
    for index in range(len(results.images)):
        try:
            maker = _Maker(results, plan, index, originals, decoders, cache, folder)
            picture, failed = maker.make()
        except (OSError, DatasetError) as error:
            problems.append(f"{results.images[index]}: {error}")
        else:
            shown.append(picture)
            problems += failed
    return Gallery(plan.rates, plan.chosen, tuple(shown), tuple(problems))


@dataclass(frozen=True)
class _Maker:
    """What it takes to show one picture."""

    results: Results
    plan: PicturePlan
    index: int
    originals: Callable[[], Mapping[str, ImageRef]]
    decoders: Decoders
    cache: Path
    folder: Path | None

    def make(self) -> tuple[Shown, list[str]]:
        """The picture, and what could not be shown.  Raises `OSError`, `DatasetError`."""
        digest = self.results.digests[self.index]
        wanted = dict(self._wanted())
        in_page = {key for key, (_, shown) in wanted.items() if shown}
        names = {key: _file_name(m.reconstruction_digest, key) for key, (m, _) in wanted.items()}
        names["original"] = _file_name(digest, "original")
        sources = sorted((key, name) for key, name in names.items() if key in in_page)
        facts = [digest, sources, self.plan.size, self.plan.share]
        spec = hashlib.sha256(json.dumps([CACHE_VERSION, *facts]).encode()).hexdigest()
        kept = self.cache / f"{names['original']}.json"
        crops, near = _read(kept, spec) or (None, [])
        missing = [k for k, n in names.items() if self.folder and not (self.folder / n).is_file()]
        failed: list[str] = []
        if crops is None or missing:
            originals = self.originals()
            if digest not in originals:
                raise DatasetError("the original is not here")
            if math.prod(self.results.sizes[self.index]) > MOST_PIXELS:
                raise DatasetError(f"it has more than {MOST_PIXELS // 1_000_000} million pixels")
            from datasets.loading import load_ref

            picture = load_ref(originals[digest])
            decoded = self.decoders.decode([m for m, _ in wanted.values()], originals)
            near = [d.measurement.key for d in decoded if not d.exact]
            images = {d.measurement.key: d.image for d in decoded if d.image is not None}
            failed = [
                f"{d.measurement.codec}, {d.measurement.image}, {d.measurement.point.label}: "
                f"{d.reason}"
                for d in decoded
                if d.image is None
            ]
            shown = {key: image for key, image in images.items() if key in in_page}
            crops = make_crops(picture, shown, self.plan.size, self.plan.share)
            if not failed:
                self.cache.mkdir(parents=True, exist_ok=True)
                text = json.dumps({"spec": spec, "near": near, **asdict(crops)})
                write_atomically(kept, text.encode())
            if self.folder:
                self.folder.mkdir(parents=True, exist_ok=True)
                for key, image in {"original": picture, **images}.items():
                    if key in missing:
                        write_atomically(self.folder / names[key], lossless(image, method=1))
        files = {
            key: f"{self.folder.name}/{name}"
            for key, name in names.items()
            if self.folder and (self.folder / name).is_file()
        }
        shown_near = tuple(key for key in near if key in crops.crops or key in files)
        return Shown(self.index, crops, files, shown_near), failed

    def _wanted(self) -> Iterator[tuple[str, tuple[Measurement, bool]]]:
        """(key, (measurement, whether its crop stands in the page)); high rates last."""
        for (image, rate, _), (codec, point) in sorted(self.plan.chosen.items()):
            if image == self.index:
                m = self.results.codecs[codec].measurements[point, image]
                yield m.key, (m, self.plan.rates[rate] in self.plan.in_page)


def _file_name(digest: str | None, otherwise: str) -> str:
    """Named by content; what a damaged store holds must not become a path."""
    stem = "".join(c for c in digest or otherwise if c.isascii() and c.isalnum())
    return f"{stem[:24] or 'picture'}.webp"


def _read(path: Path, spec: str) -> tuple[Crops, list[str]] | None:
    """Crops made earlier of the same reconstructions, and the keys of those that differ a little
    from what was measured; None where there are none."""
    try:
        raw = json.loads(path.read_text(encoding="ascii"))
        if raw.pop("spec") != spec:
            return None
        near = [str(key) for key in raw.pop("near")]
        crops = Crops(**{**raw, "box": tuple(int(side) for side in raw["box"])})
        uris = (crops.original, crops.preview, crops.thumbnail, *crops.crops.values())
        return (crops, near) if all(map(_URI.fullmatch, uris)) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
