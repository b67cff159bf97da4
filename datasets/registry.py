"""From what users type after `--dataset` to a data set."""

from __future__ import annotations

import difflib
import importlib
import os
from dataclasses import replace
from pathlib import Path

from datasets.base import Dataset, DatasetError

_KNOWN = {
    "samples": "6 cuts of photographs that come with scikit-image; no download",
    "kodak": "24 photographs of 768 x 512; 15 MB, verified by digest",
    "clic22": "the 30 validation images of CLIC 2022; pinned at the first download",
}


def available() -> list[tuple[str, str]]:
    """Name and description of each data set that is known by name."""
    return list(_KNOWN.items())


def open_dataset(spec: str, *, limit: int | None = None) -> Dataset:
    """Open a data set by name, or a folder of pictures, or one picture.

    `limit` keeps the first pictures only.  Raises `DatasetError`: unknown name, no network,
    wrong digest, no usable picture.
    """
    if limit is not None and limit < 1:
        raise DatasetError(f"at least one picture is needed, not {limit}")
    if spec in _KNOWN:
        known: Dataset = importlib.import_module(f"datasets.{spec}").open_dataset(limit)
        if not Path(spec).is_dir():
            return known
        note = f"this is the set known as {spec}; the folder of that name here is ./{spec}"
        return replace(known, notes=(*known.notes, note))

    from datasets.folder import open_file, open_folder  # loads Pillow and NumPy

    path = Path(spec).expanduser()
    if path.is_dir():
        return _own(open_folder(path, limit))
    if path.exists():
        return _own(open_file(path))
    if os.sep in spec:
        raise DatasetError(f"there is no folder {spec}, nor a picture of that name")
    near = difflib.get_close_matches(spec.lower(), _KNOWN, n=1, cutoff=0.5)
    guess = f" Did you mean {near[0]}?" if near else ""
    raise DatasetError(
        f"no data set and no folder is called {spec!r}.{guess} "
        f"Known: {', '.join(_KNOWN)}, or the path of a folder."
    )


def _own(dataset: Dataset) -> Dataset:
    """A user's folder, under a name that no set is known by."""
    if dataset.name.lower() not in _KNOWN:
        return dataset
    name = f"{dataset.name} (a folder)"
    return replace(dataset, name=name, label=name)
