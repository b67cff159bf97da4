"""Whether a report shows pictures, and getting them out of a run's kept streams."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from bench.record.manifest import Manifest
from bench.record.store import Store, StoreError, Streams
from bench.run.decoding import decoders
from bench.verdict.results import Results
from datasets.base import DatasetError, ImageRef
from datasets.registry import open_dataset
from reports.pictures import Gallery, decoding_seconds, make_gallery, make_plan
from reports.provenance import Caution

MOST_IMAGES = 30
PATIENCE = 120.0
"""Seconds of decoding that nobody has to ask for."""
FOLDER = "report_files"
CACHE, PAIR_CACHE = "pictures", "before-after-pictures"


def show_pictures(
    directory: Path,
    manifest: Manifest,
    results: Results,
    asked: str | None,
    jobs: int,
    say: Callable[[str], object] = lambda text: None,
    streams: Streams | None = None,
) -> tuple[Gallery | None, tuple[Caution, ...]]:
    """The pictures of a run's report, and what to say where there are none.

    `asked` is `crops`, `full` or None: crops where they cost little.  `say` is told of longer work.
    `streams`: where they are not all the run's own.
    """
    if asked is None and (why := _too_much(results, jobs)):
        return None, (Caution(f"No pictures are shown: {why}.", "Ask for --pictures crops."),)
    store = Store(directory)
    kept = directory / (CACHE if streams is None else PAIR_CACHE)
    plan = make_plan(results, whole=asked == "full")
    if not kept.exists() and (seconds := decoding_seconds(results, plan) / jobs) > 5:
        say(f"decoding pictures for the report, about {seconds:.0f} s (--no-pictures: none)")
    names = {own: typed for typed, own in manifest.names.items()}
    try:
        with store.locked(), decoders(store, names, jobs, streams) as pool:
            folder = directory / FOLDER if asked == "full" else None
            gallery = make_gallery(
                results, plan, cache(lambda: originals(manifest)), pool, kept, folder
            )
    except StoreError as error:
        return None, (Caution(f"No pictures are shown: {error}.", "Write the report again then."),)
    return gallery, ()


def _too_much(results: Results, jobs: int) -> str:
    """Why pictures are not shown unasked; empty where they are."""
    if len(results.images) > MOST_IMAGES:
        return f"there are more than {MOST_IMAGES}"
    seconds = decoding_seconds(results, make_plan(results, whole=False)) / jobs
    return f"decoding them takes about {seconds / 60:.0f} minutes" if seconds > PATIENCE else ""


def originals(manifest: Manifest) -> dict[str, ImageRef]:
    """By digest; empty where the data set is no longer to be had (crops made earlier remain)."""
    limit = len(manifest.pictures) + len(manifest.skipped)
    try:
        dataset = open_dataset(manifest.dataset_argument, limit=limit)
    except DatasetError:
        return {}
    return {image.digest: image for image in dataset.images}
