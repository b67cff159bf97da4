"""What a run directory holds: images, codecs and their rate ladders, as last planned.

The measurements of a directory only grow; the manifest says which of them count.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import codecs.registry as registry
from bench import metrics
from bench.metrics.base import MetricInfo
from bench.record.measurement import measurement_key
from bench.record.store import StoreError
from bench.terminal import program
from codecs.base import Codec, CodecError, Point
from codecs.naming import check_spelling
from datasets.base import ImageRef
from datasets.cache import write_atomically


@dataclass(frozen=True)
class RunImage:
    """An image of a run; the digest is its identity, the name only its label."""

    name: str
    digest: str
    width: int
    height: int

    @classmethod
    def of(cls, image: ImageRef) -> RunImage:
        return cls(image.name, image.digest, image.width, image.height)


@dataclass(frozen=True)
class Ladder:
    """A codec as it was run: with the images, this determines which measurements count."""

    codec: str
    version: str
    settings: Mapping[str, str]
    points: tuple[Point, ...]
    """Low rate to high."""

    @classmethod
    def of(cls, codec: Codec) -> Ladder:
        return cls(codec.name, codec.version, dict(codec.settings), tuple(codec.points))

    def keys(self, image: RunImage) -> Iterator[str]:
        """The keys of the measurements of one image, low rate to high."""
        for point in self.points:
            yield measurement_key(self.codec, self.version, self.settings, point, image.digest)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Ladder:
        points = tuple(Point(**point) for point in raw["points"])
        return cls(raw["codec"], raw["version"], raw["settings"], points)


@dataclass(frozen=True)
class Manifest:
    """Written beside the measurements at every run."""

    dataset: str
    label: str
    source: str
    pictures: tuple[RunImage, ...]
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    """What was converted on loading, and what the data set wants known."""
    quick: bool
    names: Mapping[str, str]
    """What the user typed -> the codec's own name: the last command's first, then what only
    earlier ones had."""
    ladders: Mapping[str, Ladder]
    """Codec's own name -> how it was last run here, in this command or an earlier one."""
    unavailable: Mapping[str, str]
    metrics: Mapping[str, str]
    """Metric -> its version as last asked for here, in this command or an earlier one."""
    command: str
    """The last command; earlier ones may have made some of the measurements."""
    host: Mapping[str, str]
    packages: Mapping[str, str]
    started: str
    finished: str = ""
    argument: str = ""
    """What opens the data set again, in any working directory."""
    own_metrics: Mapping[str, MetricInfo] = field(default_factory=dict)
    """Those of `metrics` that came from outside."""
    packs: Mapping[str, str] = field(default_factory=dict)
    """Digest of a pack that measurements come from -> what is known of it."""

    def write(self, directory: Path) -> None:
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        # Names of files may hold bytes that are no UTF-8: JSON has escapes for them.
        try:
            write_atomically(directory / "run.json", text.encode(errors="backslashreplace"))
        except OSError as error:
            raise StoreError(
                f"{directory / 'run.json'} cannot be written ({error.strerror}): free some space, "
                "then run the same command again"
            ) from error

    @property
    def whole(self) -> bool:
        """Whether all pictures of the data set are asked for."""
        return not self.quick and not self.label.rpartition(" (")[2].startswith("first ")

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """Raises `StoreError` when the directory holds no run."""
        path = directory / "run.json"
        try:
            raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            raw["pictures"] = tuple(RunImage(**image) for image in raw["pictures"])
            raw["notes"] = tuple(raw["notes"])
            raw["skipped"] = tuple((name, why) for name, why in raw["skipped"])
            raw["ladders"] = {k: Ladder.from_json(v) for k, v in raw["ladders"].items()}
            raw["own_metrics"] = {
                check_spelling(name): MetricInfo.checked(**known)
                for name, known in raw.get("own_metrics", {}).items()
                if name not in metrics.names()
            }
            read = cls(**raw)
        except FileNotFoundError as error:
            raise StoreError(
                f"{directory} holds no run; make one: {program()} run --dataset NAME --run "
                f"{directory}"
            ) from error
        except (
            *(ValueError, TypeError, KeyError, AttributeError, OSError),
            CodecError,
        ) as error:
            raise StoreError(
                f"{path} is damaged or of an older version ({error!r}); run the same command "
                "again to write it anew: what was measured is kept"
            ) from error
        for name, known in read.own_metrics.items():
            metrics.declare(name, known)
        return read

    @classmethod
    def earlier(cls, directory: Path) -> Manifest | None:
        """The manifest that is about to be replaced; None where there is none that can be read."""
        try:
            return cls.read(directory)
        except StoreError:
            return None

    def after(self, earlier: Manifest) -> Manifest:
        """This manifest with the codecs and metrics of an `earlier` one of the same directory.

        Raises `StoreError` where that was made on another data set.  A folder stays the same set
        when images come or go; one that lies elsewhere is the same set only where it holds the
        same images, for what was measured on others would vanish from the report.
        """
        held, new = ({p.digest for p in m.pictures} for m in (earlier, self))
        if held != new and earlier.dataset_argument != self.dataset_argument:
            raise StoreError(
                f"this run directory holds {earlier.label} from {earlier.source}, not "
                f"{self.label} from {self.source}: give another with --run DIR"
            )
        return self.joined_by(earlier)

    def joined_by(self, earlier: Manifest) -> Manifest:
        """This manifest with what the other one has besides of codecs and metrics."""
        return replace(
            self,
            names={**self.names, **{k: v for k, v in earlier.names.items() if k not in self.names}},
            ladders={**earlier.ladders, **self.ladders},
            metrics={**earlier.metrics, **self.metrics},
            own_metrics={**earlier.own_metrics, **self.own_metrics},
            packs={**earlier.packs, **self.packs},
        )

    @property
    def codecs(self) -> tuple[str, ...]:
        """The names of all codecs that were run here, those of the last command first."""
        known = (name for name in self.names.values() if name in self.ladders)
        return tuple(dict.fromkeys((*known, *self.ladders)))

    @property
    def dataset_argument(self) -> str:
        """What opens the data set again: its name, or the folder that it was."""
        if self.argument:
            return self.argument
        # Runs of older versions do not say.
        from datasets.registry import NAMES

        return self.dataset if self.dataset in NAMES else self.source

    @property
    def known_metrics(self) -> tuple[str, ...]:
        """The metrics of the run in table order, without `unknown_metrics`."""
        return tuple(name for name in (*metrics.names(), *self.own_metrics) if name in self.metrics)

    @property
    def unknown_metrics(self) -> tuple[str, ...]:
        """Metrics that another version of the harness computed and this one does not know."""
        return tuple(name for name in self.metrics if name not in self.known_metrics)

    def codec_named(self, typed: str) -> str:
        """The codec's own name for what a user types."""
        return self.names.get(typed, registry.unaliased(typed))
