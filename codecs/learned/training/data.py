"""Training crops from folders of pictures, each batch a pure function of (seed, step).

Pictures are decoded once into a flat cache file that is memory-mapped: training starts at once on
the next run, and several trainings on one machine share the pages.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor

from codecs.base import Image
from codecs.learned.training.errors import TrainingError
from datasets.base import SUFFIXES, ImageRefused
from datasets.loading import load_image

STREAM_CROPS, STREAM_MASKS, STREAM_NOISE, STREAM_CALIBRATION, STREAM_INITIAL = range(5)
STREAM_QUALITY = 5
"""Independent random streams of one step; see `generator`."""


def generator(seed: int, step: int, stream: int) -> np.random.Generator:
    """Random numbers that depend on nothing but these three."""
    return np.random.default_rng([seed, step, stream])


def torch_seed(seed: int, step: int, stream: int) -> int:
    """The same for PyTorch's generators: an integer below 2^63."""
    return int(generator(seed, step, stream).integers(1 << 63))


@dataclass(frozen=True)
class Pictures:
    """Decoded pictures in one flat, memory-mapped buffer."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]
    """(height, width) of each."""
    offsets: tuple[int, ...]
    buffer: NDArray[np.uint8]
    digest: str
    """SHA-256 of the lines "<SHA-256 of the file>  <name>", in the order of `names`."""
    sources: tuple[str, ...] = ("",)
    """The folders, where there are several: names begin with them."""
    refused: tuple[str, ...] = ()
    """Files that are not used, with the reason."""

    def __len__(self) -> int:
        return len(self.names)

    @functools.cached_property
    def of_source(self) -> Mapping[str, Sequence[int]]:
        """Numbers of the pictures of each source that has any."""
        all_of = {s: [i for i, n in enumerate(self.names) if n.startswith(s)] for s in self.sources}
        return {source: numbers for source, numbers in all_of.items() if numbers}

    def __getitem__(self, index: int) -> Image:
        """uint8[H, W, 3], a view of the buffer."""
        height, width = self.shapes[index]
        start = self.offsets[index]
        return self.buffer[start : start + height * width * 3].reshape(height, width, 3)

    def at_least(self, side: int) -> Pictures:
        """Those whose height and width are at least `side` pixels; raises `TrainingError`."""
        keep = [i for i, shape in enumerate(self.shapes) if min(shape) >= side]
        if not keep:
            raise TrainingError(
                f"none of the {len(self)} pictures is {side} x {side} pixels or larger; "
                "choose a smaller --crop or other --data"
            )
        small = tuple(
            f"{name}: smaller than {side} x {side}"
            for name, shape in zip(self.names, self.shapes, strict=True)
            if min(shape) < side
        )
        return Pictures(
            tuple(self.names[i] for i in keep),
            tuple(self.shapes[i] for i in keep),
            tuple(self.offsets[i] for i in keep),
            self.buffer,
            self.digest,
            self.sources,
            self.refused + small,
        )


def list_files(folder: Path) -> list[Path]:
    """Picture files below `folder`, by name; `folder[:-24]` leaves out the last 24, `folder[-24:]`
    has only these.  Raises `TrainingError`."""
    part = re.fullmatch(r"(.+)\[(-?\d+)?:(-?\d+)?\]", str(folder))
    if part and not folder.exists():
        low, high = (int(n) if n else None for n in part.groups()[1:])
        files = list_files(Path(part[1]))[low:high]
        if not files:
            raise TrainingError(f"{folder} leaves no picture: give other numbers")
        return files
    if not folder.is_dir():
        raise TrainingError(f"there is no folder {folder}: give a folder of pictures")
    files = [p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()]
    if not files:
        raise TrainingError(f"{folder} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    return sorted(files, key=lambda p: p.relative_to(folder).as_posix())


def load_pictures(folders: Sequence[Path], cache: Path) -> Pictures:
    """All pictures below `folders`, in turns, decoded through the cache folder `cache`.

    Each of `folders` is as for `list_files`; or there is one packed file (`pack`) instead.  Raises
    `TrainingError` when there are none, or when the cache does not fit on the disk.
    """
    if len(folders) == 1 and folders[0].suffix == ".npy":
        return _packed(folders[0])
    sources = [""] if len(folders) == 1 else [f"{folder.name}/" for folder in folders]
    if len(set(sources)) < len(sources):
        raise TrainingError("two folders of pictures have the same name: rename one")
    if any(folder.suffix == ".npy" for folder in folders):
        raise TrainingError("a packed file cannot be joined with others: pack all folders into one")
    each = [_named(folder, source) for folder, source in zip(folders, sources, strict=True)]
    turns = [pair for pair in chain.from_iterable(zip_longest(*each)) if pair is not None]
    names, files = [name for name, _ in turns], [path for _, path in turns]
    lines = []
    for path, name in zip(files, names, strict=True):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    index_path = cache / f"{digest[:32]}.json"
    data_path = cache / f"{digest[:32]}.u8"
    if not (index_path.is_file() and data_path.is_file()):
        _decode(files, names, index_path, data_path)
    index = json.loads(index_path.read_text())
    buffer = np.memmap(data_path, np.uint8, "r")
    shapes = tuple((int(h), int(w)) for h, w in index["shapes"])
    offsets = np.cumsum([0, *(h * w * 3 for h, w in shapes)])
    if len(buffer) != offsets[-1]:
        raise TrainingError(f"{data_path} is damaged: delete it and start again")
    return Pictures(
        tuple(index["names"]),
        shapes,
        tuple(int(o) for o in offsets[:-1]),
        buffer,
        digest,
        tuple(sources),
        tuple(index["refused"]),
    )


def pack(pictures: Pictures, path: Path, count: int, side: int, seed: int = 0) -> None:
    """`count` crops of `side` pixels, turned and mirrored as in training, as one array
    uint8[count, side, side, 3]: for machines to which whole folders are too large to carry."""
    batch = crops(pictures, generator(seed, 0, STREAM_CROPS), count, side)
    np.save(path, batch.permute(0, 2, 3, 1).numpy())


def _packed(path: Path) -> Pictures:
    """Pictures of one array; raises `TrainingError`."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError, EOFError) as error:
        raise TrainingError(f"{path} cannot be read ({error}): pack it again") from error
    if not isinstance(array, np.ndarray):  # of an archive
        raise TrainingError(f"{path} holds several arrays: pack it again")
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3 or 0 in array.shape:
        found = f"{array.dtype}{list(array.shape)}"
        raise TrainingError(f"{path} holds {found}, not uint8[N, H, W, 3]: pack it again")
    count, height, width, _ = array.shape
    return Pictures(
        tuple(map(str, range(count))),
        ((height, width),) * count,
        tuple(range(0, array.size, height * width * 3)),
        array.reshape(-1),
        digest,
    )


def _named(folder: Path, source: str) -> list[tuple[str, Path]]:
    """Names and files of one source."""
    files = list_files(folder)
    root = folder if folder.is_dir() else Path(str(folder).rpartition("[")[0])
    return [(source + path.relative_to(root).as_posix(), path) for path in files]


def _decode(files: Sequence[Path], names: Sequence[str], index_path: Path, data_path: Path) -> None:
    """Write the cache; a run that is killed leaves no file of the final name."""
    index_path.parent.mkdir(parents=True, exist_ok=True)
    temporary = data_path.with_suffix(f".{os.getpid()}.tmp")
    used: list[str] = []
    shapes: list[tuple[int, ...]] = []
    refused: list[str] = []
    try:
        with temporary.open("wb") as out:
            for path, name in zip(files, names, strict=True):
                try:
                    picture = load_image(path)
                except ImageRefused as error:
                    refused.append(str(error))
                    continue
                if shutil.disk_usage(index_path.parent).free < picture.nbytes + (1 << 28):
                    raise TrainingError(
                        f"{index_path.parent} is full after {len(used)} decoded pictures; "
                        "choose another --cache folder or fewer pictures"
                    )
                out.write(picture.tobytes())
                used.append(name)
                shapes.append(picture.shape[:2])
        if not used:
            raise TrainingError(f"no picture can be used; the first: {refused[0]}")
        os.replace(temporary, data_path)
    finally:
        temporary.unlink(missing_ok=True)
    index = {"names": used, "shapes": shapes, "refused": refused}
    temporary.write_text(json.dumps(index))
    os.replace(temporary, index_path)


def crops(
    pictures: Pictures,
    rng: np.random.Generator,
    count: int,
    size: int,
    grain: float = 0.0,
    shrink: float = 1.0,
) -> Tensor:
    """`count` random crops, each turned or mirrored in one of eight ways: uint8 [count, 3, s, s].

    Sources, and then pictures of a source, are drawn with equal probability; pictures must be at
    least `size` pixels on each side.

    Pictures that were compressed have lost grain and the finest detail.  With `grain` half of the
    crops get noise, mostly of luma, of a standard deviation uniform in 0...grain (of 255).  With
    `shrink` half are cut up to so many times larger, uniform in the logarithm, as far as the
    picture goes, and scaled down.
    """
    batch = np.empty((count, size, size, 3), np.uint8)
    sources = list(pictures.of_source.values())
    for out in batch:
        # One source alone costs no random number.
        numbers = sources[int(rng.integers(len(sources))) if len(sources) > 1 else 0]
        picture = pictures[numbers[int(rng.integers(len(numbers)))]]
        height, width, _ = picture.shape
        factor = shrink ** rng.random() if shrink > 1 and rng.integers(2) else 1.0
        side = min(round(factor * size), height, width)
        y = int(rng.integers(height - side + 1))
        x = int(rng.integers(width - side + 1))
        crop = picture[y : y + side, x : x + side]
        if side != size:
            scaled = PIL.Image.fromarray(np.ascontiguousarray(crop))
            crop = np.asarray(scaled.resize((size, size), PIL.Image.Resampling.LANCZOS))
        crop = np.rot90(crop, int(rng.integers(4)))
        out[:] = crop[:, ::-1] if rng.integers(2) else crop
        if grain and rng.integers(2):
            out[:] = _with_grain(out, rng, rng.uniform(0, grain))
    return torch.from_numpy(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))


def _with_grain(picture: Image, rng: np.random.Generator, deviation: float) -> Image:
    """White noise, of each colour a third of what all have in common, as photographs have it."""
    height, width, _ = picture.shape
    luma = rng.normal(0, deviation, (height, width, 1))
    colours = rng.normal(0, deviation / 3, (height, width, 3))
    return np.rint(picture + luma + colours).clip(0, 255).astype(np.uint8)


class Prefetcher:
    """Makes the next batch in a thread while the current one is trained on."""

    def __init__(self, make: Callable[[int], Tensor]) -> None:
        self._make = make
        self._pool = ThreadPoolExecutor(1)
        self._next: tuple[int, Future[Tensor]] | None = None

    def __call__(self, step: int) -> Tensor:
        """The batch of `step`; that of `step + 1` is begun."""
        if self._next is not None and self._next[0] == step:
            batch = self._next[1].result()
        else:
            batch = self._make(step)
        self._next = (step + 1, self._pool.submit(self._make, step + 1))
        return batch

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def to_float(batch: Tensor, device: torch.device) -> Tensor:
    """uint8 pictures to float32 in 0...1 on `device`."""
    return batch.to(device, non_blocking=True).to(torch.float32) / 255.0
