"""From what users type after `--dataset` to a data set."""

from __future__ import annotations

import difflib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.base import Dataset, DatasetError

if TYPE_CHECKING:
    from datasets.description import Description

SAMPLES = "samples"
_DESCRIBED = ["kodak", "clic22", "clic2020-valid", "clic2020-test", "tecnick", "div2k", "jpeg-ai"]
NAMES = (SAMPLES, *_DESCRIBED)
"""Of the data sets that are known by name."""
_SETS = Path(__file__).parent / "sets"


def available() -> list[tuple[str, str]]:
    """Name and description of each data set that is known by name."""
    samples = "6 cuts of photographs that come with scikit-image; no download"
    return [(SAMPLES, samples), *((name, describe(name).about) for name in _DESCRIBED)]


def describe(name: str) -> Description:
    """The description of a set that is known by name and comes from the network."""
    from datasets import description

    return description.read(_SETS / f"{name}.toml")


def open_dataset(spec: str, *, limit: int | None = None) -> Dataset:
    """Open a data set by name, a folder of pictures, one picture, or a TOML that describes a set.

    `limit` keeps the first pictures only.  Raises `DatasetError`: unknown name, no network,
    wrong digest, no usable picture.
    """
    if limit is not None and limit < 1:
        raise DatasetError(f"at least one picture is needed, not {limit}")
    if spec in NAMES:
        known = _open_known(spec, limit)
        if not Path(spec).is_dir():
            return known
        note = f"this is the set known as {spec}; the folder of that name here is ./{spec}"
        return replace(known, notes=(*known.notes, note))

    from datasets.folder import open_file, open_folder  # loads Pillow and NumPy

    path = Path(spec).expanduser()
    if path.is_dir():
        return _own(open_folder(path, limit))
    if path.suffix.lower() == ".toml" and path.exists():
        from datasets import description
        from datasets.described import open_described

        return _own(open_described(description.read(path), limit, own=path.absolute()))
    if path.exists():
        return _own(open_file(path))
    if os.sep in spec:
        raise DatasetError(f"there is no folder {spec}, nor a picture of that name")
    near = difflib.get_close_matches(spec.lower(), NAMES, n=1, cutoff=0.5)
    guess = f" Did you mean {near[0]}?" if near else ""
    raise DatasetError(
        f"no data set and no folder is called {spec!r}.{guess} "
        f"Known: {', '.join(NAMES)}, or the path of a folder."
    )


def _open_known(name: str, limit: int | None) -> Dataset:
    if name == SAMPLES:
        from datasets import samples

        return samples.open_dataset(limit)
    from datasets.described import open_described

    return open_described(describe(name), limit)


def _own(dataset: Dataset) -> Dataset:
    """A user's set, under a name that no set is known by."""
    if dataset.name.lower() not in NAMES:
        return dataset
    name = f"{dataset.name} (own)"
    return replace(dataset, name=name, label=name)
