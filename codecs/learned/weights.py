"""Weights files: safetensors with a card, never pickles.

A file holds the network's parameters (float32, float16 to halve it, or kernels as integers, see
`compact`) and the integer tables of its entropy model under `tables.*`.  The card, JSON in the
file's metadata, says what the network is and how it was trained:

    {"architecture": "minnen", "config": {"N": 192, "M": 192},
     "point": {"parameter": "rate", "value": 0.3}, "training": {...}}

The SHA-256 of the file names the model: streams carry its first bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from codecs.base import CodecUnavailable, Point
from codecs.learned import bitstream, compact
from codecs.learned.network import CodecNetwork

TABLES = "tables."
_MAX_FILE = 1 << 30
_FEATURES = "features of EfficientNet-Lite0"
"""Of a second critic: no metric of the harness."""


@dataclass(frozen=True)
class Weights:
    """A loaded file: `tensors` (floats as float32), `card`, SHA-256 `digest` of the file."""

    path: Path
    tensors: Mapping[str, Tensor]
    card: Mapping[str, Any]
    digest: bytes

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The network's state dict."""
        return {k: v for k, v in self.tensors.items() if not k.startswith(TABLES)}

    @property
    def tables(self) -> dict[str, Any]:
        """The integer tables as numpy arrays; raises `ValueError` where one is not of integers."""
        tables = {
            k.removeprefix(TABLES): v for k, v in self.tensors.items() if k.startswith(TABLES)
        }
        if any(table.is_floating_point() for table in tables.values()):
            raise ValueError("a table is not of integers")
        return {name: table.numpy() for name, table in tables.items()}


def save(
    path: Path,
    parameters: Mapping[str, Tensor],
    tables: Mapping[str, Any],
    card: Mapping[str, Any],
    half: bool = False,
) -> bytes:
    """Write a weights file and return its digest.

    `tables` are integer numpy arrays; `half` stores floats in 16 bits (values are then what the
    codec uses: convert before measuring or making tables).
    """
    tensors = {}
    for name, value in parameters.items():
        value = value.detach().cpu()
        if value.is_floating_point():
            short = half or name.startswith(compact.STEPS)
            value = value.to(torch.float16 if short else torch.float32)
            if not bool(torch.isfinite(value).all()):
                raise ValueError(f"{name} has values that are not finite" + " in 16 bits" * half)
        tensors[name] = value.contiguous()
    tensors |= {TABLES + name: torch.from_numpy(array.copy()) for name, array in tables.items()}
    metadata = {"card": json.dumps(card, sort_keys=True, allow_nan=False)}
    data = safetensors.torch.save(tensors, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.replace(path)
    return hashlib.sha256(data).digest()


def export(
    network: CodecNetwork,
    path: Path,
    card: Mapping[str, Any],
    half: bool = False,
    small: bool = False,
) -> bytes:
    """Write the weights file that a codec loads; returns its SHA-256.

    `card` holds `point` = {"parameter": ..., "value": ...}, or `points`, a list of such, and
    whatever describes the training.  With `half`, the network's parameters are rounded to 16 bits
    first; with `small`, its kernels to integers and the rest to 16 (`compact`).
    """
    stored = rounded(network, half, small)
    card = {**card, "architecture": network.architecture, "config": network.config}
    return save(path, stored, network.tables(), card, half or small)


def points(loaded: Weights) -> list[tuple[Point, float | None]]:
    """The operating points that the card names, each with the quality that a stream's header
    carries, or `None` where there is only one; raises `CodecUnavailable`."""
    try:
        many = "points" in loaded.card
        named = loaded.card["points"] if many else [loaded.card["point"]]
        found: list[tuple[Point, float | None]] = []
        for entry in named:
            value = entry["value"]
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError("not a number")
            point = Point(str(entry.get("parameter", "lambda")), value)
            found.append((point, bitstream.fixed_point(value) if many else None))
        qualities = {quality for _, quality in found}
        if not found or len(qualities) < len(found):
            raise ValueError("none, or two that a stream cannot tell apart")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CodecUnavailable(
            f"{loaded.path}: the card names no operating point ({error})"
        ) from error
    return found


def remarks(loaded: Sequence[Weights]) -> tuple[str, dict[str, str]]:
    """What a reader must know of the weights by their cards' notes: an addition to the codec's
    label, and to its settings."""
    notes = dict.fromkeys(note for w in loaded if (note := str(w.card.get("note", ""))))
    preliminary = any(note.lower().startswith("preliminary") for note in notes)
    settings = {"weights": " | ".join(notes)} if notes else {}
    return " (preliminary weights)" if preliminary else "", settings


def setting(values: Mapping[Point, str]) -> str:
    """A setting of several models as text; where they differ, each value with its points."""
    points: dict[str, list[str]] = {}
    for point, value in values.items():
        points.setdefault(value, []).append(point.label)
    if len(points) == 1:
        return next(iter(points))
    return "; ".join(f"{value} ({', '.join(labels)})" for value, labels in points.items())


def tuned_for(cards: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The metrics that the last phase of training of any model weighed, by the harness's names;
    cards that do not say add none."""
    found: dict[str, None] = {}
    for card in cards:
        try:
            last = last_phase(card["training"])
            lpips = f"lpips-{card['training']['lpips_backbone']}"
            terms = {"mse": "psnr", "ms_ssim": "ms-ssim", "lpips": lpips, "features": _FEATURES}
            found |= dict.fromkeys([name for term, name in terms.items() if last[term] > 0])
        except (KeyError, IndexError, TypeError):
            continue
    return tuple(found)


def last_phase(training: Mapping[str, Any]) -> Mapping[str, Any]:
    """The last phase by the `training` of a card.

    Raises `KeyError`, `IndexError` or `TypeError` where it names none.
    """
    # Cards of before there was a second critic do not name it.
    return {"features": 0.0, **training["phases"][-1]}


def training_hours(card: Mapping[str, Any]) -> float | None:
    """CPU core hours in which the weights of a card were trained, those that they began with
    included; `None` where it does not tell, or a GPU trained them."""
    try:
        training = card["training"]
        before = training["started_from"] or {"cpu_seconds": 0}
        if training["threads"] < 1 or training["device"].startswith("NVIDIA"):
            return None
        hours = (training["cpu_seconds_of_run"] + before["cpu_seconds"]) / 3600
        return round(float(hours), 2)
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def half_precision(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters as they will be after `save(..., half=True)` and `load`."""
    return {
        name: value.to(torch.float16).to(torch.float32) if value.is_floating_point() else value
        for name, value in parameters.items()
    }


def rounded(network: CodecNetwork, half: bool = False, small: bool = False) -> dict[str, Tensor]:
    """Give the network the values that a file of fewer bits keeps; returns what to `save`.

    `half` rounds all to 16 bits, `small` kernels to less and the rest to 16 (`compact`).
    """
    if not (half or small):
        return dict(network.state_dict())
    if small:
        network.clear_unused()
    stored = half_precision(network.state_dict())
    if small:
        transforms = {id(p) for p in network.transform_parameters()}
        fine = [name for name, p in network.named_parameters() if id(p) in transforms]
        stored = compact.encode(stored, fine)
    network.load_state_dict(compact.expand(stored))
    return stored


def load(path: Path, architecture: str | None = None) -> Weights:
    """Read a weights file, of any architecture if `None`.

    Raises `CodecUnavailable` that names what is wrong with it.
    """
    try:
        if path.stat().st_size > _MAX_FILE:
            raise CodecUnavailable(f"{path}: larger than {_MAX_FILE} bytes")
        data = path.read_bytes()
        tensors = safetensors.torch.load(data)
        with safetensors.safe_open(path, "pt") as file:
            card = json.loads((file.metadata() or {})["card"])
        found = card["architecture"]
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CodecUnavailable(f"{path}: not a weights file of this project ({error})") from error
    if architecture not in (None, found):
        raise CodecUnavailable(f"{path}: weights of {found!r}, not of {architecture!r}")
    floats = {k: v.to(torch.float32) if v.is_floating_point() else v for k, v in tensors.items()}
    try:
        floats = compact.expand(floats)
    except ValueError as error:
        raise CodecUnavailable(f"{path}: kernels and steps do not fit ({error})") from error
    return Weights(path, floats, card, hashlib.sha256(data).digest())
