"""`python -m reports.tutorial`: the tutorial's teaching figures, of real streams, and their page.

Writes `docs/tutorial.md` and the pictures that it shows into `docs/tutorial/`.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from codecs import registry
from codecs.base import Codec, CodecError, CodecUnavailable, Image
from datasets.base import DatasetError
from datasets.cache import write_atomically
from reports import tutorial_toy as toy
from reports.figures import NOTHING, STYLE
from reports.text_tables import markdown_table

CODED = ("factorised", "hyperprior", "minnen")
"""Codecs whose files are held against their entropy."""
LEARNED_CENTRES = "mentzer2018"
Plane = NDArray[np.float64]


@dataclass(frozen=True)
class Dependency:
    """The channel of a latent where scales take out most, and what they are, [h, w]."""

    latent: Plane
    scales: Plane
    correlation: float
    """Of magnitudes of neighbours, over all channels, each counted by its bits."""
    normalised_correlation: float
    """The same once values are divided by their scales."""

    @property
    def normalised(self) -> Plane:
        return self.latent / self.scales


@dataclass(frozen=True)
class Coded:
    """One real file."""

    codec: str
    point: str
    entropy: float
    """Bytes: the sum of -log2 P over its symbols."""
    payload: int
    """Bytes that the arithmetic coder wrote."""
    file: int

    @property
    def overhead(self) -> float:
        """Percent of the arithmetic coder alone."""
        return 100 * (self.payload / self.entropy - 1)


def dependency(image: Image) -> Dependency:
    """What `hyperprior` sends of a picture, at its best point, and the scales sent along."""
    import torch

    from codecs.hyperprior import ScaleHyperprior
    from codecs.learned.codec import LearnedCodec
    from codecs.learned.coders.likelihood import SCALE_FLOOR
    from codecs.learned.transform import TransformModel

    codec = cast("LearnedCodec", registry.create("hyperprior"))
    model, quality = codec.place(codec.points[-1])
    assert isinstance(model, TransformModel)
    assert isinstance(model.network, ScaleHyperprior)
    data = codec.encode(image, codec.points[-1])
    _, symbols = model.decode_symbols(data)
    with torch.inference_mode():
        y = model.coder.latent(symbols)
        latents = model.network.latent_model()
        own = model.network.scale(model.analyse(image).y, _tensor(quality))
        side = latents.prior.round(latents.hyper_latent(own))
        scales = model.network.h_s(side).clamp_min(SCALE_FLOOR)
        bits = -torch.log2(latents.density.likelihood(y, scales)).sum((0, 2, 3))
    values, spread = (t[0].double().numpy() for t in (y, scales))
    weights = bits.double().numpy() / float(bits.sum())
    before, after = (weights * neighbours(np.abs(v)) for v in (values, values / spread))
    most = int((before - after).argmax())
    return Dependency(values[most], spread[most], float(before.sum()), float(after.sum()))


def _tensor(quality: float | None) -> Any:
    import torch

    return None if quality is None else torch.tensor([quality])


def neighbours(values: Plane) -> Plane:
    """Correlation [M] of values [M, h, w] with those to the right and below; 0 where a channel is
    constant."""
    pairs = ((values[:, :, 1:], values[:, :, :-1]), (values[:, 1:], values[:, :-1]))
    return np.mean([[_correlation(a, b) for a, b in zip(*pair, strict=True)] for pair in pairs], 0)


def _correlation(a: Plane, b: Plane) -> float:
    flat = a.std() * b.std() == 0
    return 0.0 if flat else float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def coded(images: Sequence[Image]) -> list[Coded]:
    """Files of `CODED` at all their points, each the sum over the pictures."""
    rows = []
    for name in CODED:
        codec = registry.create(name)
        for point in codec.points:
            entropy, payload, size = 0.0, 0, 0
            for image in images:
                data = codec.encode(image, point)
                told = codec.diagnostics(image, data)
                entropy += told["entropy_bytes"]
                payload += sum(told["bytes"].values())
                size += len(data)
            rows.append(Coded(name, point.label, entropy, payload, size))
    return rows


def drinks(weeks: int = 4096, seed: int = 0) -> dict[str, float]:
    """Bits of three drinks that a range coder takes under each model of `reports.tutorial_toy`,
    over so many draws of the two things that can happen at all."""
    from codecs.learned.coders.rangecoding import SymbolEncoder
    from codecs.learned.coders.tables import TOTAL

    happen = toy.MODELS[-1].possible
    drawn = np.random.default_rng(seed).integers(len(happen), size=weeks)
    bits = {}
    for model in toy.MODELS:
        places = np.array([model.possible.index(week) for week in happen], dtype=np.int32)
        table = np.full(len(model.possible) + 1, TOTAL // len(model.possible), dtype=np.int32)
        table[0] = 0  # nothing escapes
        encoder = SymbolEncoder()
        encoder.encode_static(places[drawn], table, 0)
        bits[model.name] = 8 * len(encoder.get_bytes()) / weeks
    return bits


def importance_map(codec: Codec, image: Image) -> NDArray[np.float64] | None:
    """The map [rows, columns] by which `mentzer2018` spends channels, from the facts of a stream;
    None of codecs that tell of none."""
    data = codec.encode(image, codec.points[-1])
    maps = codec.diagnostics(image, data).get("maps", ())
    for one in maps:
        if "importance" in one["name"]:
            return np.array([[float(v) for v in row] for row in one["rows"]])
    return None


def centres(files: Sequence[Path]) -> NDArray[np.float64]:
    """The learned centres [files, L], sorted, of checkpoints and weights in the order of training.

    Raises `KeyError` for a file of a network without centres.
    """
    import safetensors.torch

    rows = []
    for file in files:
        tensors = safetensors.torch.load_file(file)
        names = ("ema.centres.values", "centres.values")
        name = next((n for n in names if n in tensors), None)
        if name is None:
            raise KeyError(f"{file} has no centres: give checkpoints of {LEARNED_CENTRES}")
        rows.append(np.sort(tensors[name].double().numpy()))
    return np.array(rows)


def draw_dependency(image: Image, found: Dependency) -> bytes:
    """PNG: the picture, the latent, its scales, and the latent divided by them."""
    return _png(
        [
            ("picture", image, False),
            ("latent", found.latent, True),
            ("its scale", found.scales, False),
            ("normalised", found.normalised, True),
        ]
    )


def draw_drinks(coded_bits: Mapping[str, float]) -> bytes:
    """SVG: expected bits of each model of the toy."""
    figure, axes = _figure(3.4, 1.5)
    names = [model.name for model in toy.MODELS]
    axes.barh(names, [model.bits for model in toy.MODELS], color="#4878a8", height=0.6)
    for place, model in enumerate(toy.MODELS):
        axes.text(model.bits + 0.1, place, f"{coded_bits[model.name]:.2f} coded", va="center")
    axes.invert_yaxis()
    axes.set_xlim(0, 7.8)
    axes.set_xlabel("bits for three drinks")
    return _svg(figure)


def draw_coded(rows: Sequence[Coded]) -> bytes:
    """SVG: bytes of files over bytes of entropy."""
    figure, axes = _figure(3.4, 2.6)
    low, high = (f(row.entropy for row in rows) for f in (min, max))
    axes.plot([low, high], [low, high], color="#999999", linewidth=0.8)
    for name, marker in zip(CODED, "os^", strict=True):
        own = [row for row in rows if row.codec == name]
        axes.plot(
            [r.entropy for r in own], [r.file for r in own], marker, label=name, fillstyle="none"
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("-Σ log2 P, bytes")
    axes.set_ylabel("files, bytes")
    axes.legend()
    return _svg(figure)


def draw_importance(image: Image, importance: NDArray[np.float64]) -> bytes:
    """PNG: the picture, and where its channels are spent."""
    return _png([("picture", image, False), ("importance map", importance, False)])


def draw_centres(values: NDArray[np.float64]) -> bytes:
    """SVG: centres [files, L] as training goes on."""
    figure, axes = _figure(3.4, 2.2)
    axes.plot(range(1, len(values) + 1), values, marker="o", color="#4878a8")
    axes.set_xticks(range(1, len(values) + 1))
    axes.set_xlabel("checkpoint")
    axes.set_ylabel("centres")
    return _svg(figure)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update(STYLE)
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Any) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata=NOTHING)
    return out.getvalue()


def _png(panels: Sequence[tuple[str, NDArray[Any], bool]]) -> bytes:
    """Pictures and planes side by side; signed ones grey at 0."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.1 * len(panels), 1.9), layout="constrained")
        for axes, (title, values, signed) in zip(
            figure.subplots(1, len(panels)), panels, strict=True
        ):
            peak = float(np.abs(values).max()) if signed else None
            low = -peak if peak is not None else None
            axes.imshow(values, cmap="gray", vmin=low, vmax=peak, interpolation="nearest")
            axes.set_title(title, fontsize=8)
            axes.set_axis_off()
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    return out.getvalue()


def write(
    out: Path, page: Path, picture: Image, pictures: Sequence[Image], trained: Sequence[Path] = ()
) -> None:
    """Write all figures into the folder `out` and the `page` that shows them; `trained` are files
    for `centres`.

    Raises `CodecError` where a codec of the figures has no weights, and what `centres` raises.
    """
    out.mkdir(parents=True, exist_ok=True)
    blocks = ["# Figures of the tutorial, of real streams", _INTRODUCTION]
    for stem, suffix, drawing, text in _figures(picture, pictures, trained):
        file = out / f"{stem}.{suffix}"
        write_atomically(file, drawing)
        shown = f"![{stem}]({file.relative_to(page.parent).as_posix()})"
        heading, _, rest = text.partition("\n\n")
        blocks += [f"## {heading}", shown, rest]
    write_atomically(page, ("\n\n".join(blocks) + "\n").encode())


def _figures(
    picture: Image, pictures: Sequence[Image], trained: Sequence[Path]
) -> Iterator[tuple[str, str, bytes, str]]:
    """Name, suffix, drawing, and heading and text of each figure."""
    found = dependency(picture)
    yield (
        *("dependency", "png", draw_dependency(picture, found)),
        _DEPENDENCY.format(before=found.correlation, after=found.normalised_correlation),
    )
    bits = drinks()
    rows = [(m.name, m.knows, f"{m.bits:g}", f"{bits[m.name]:.3f}") for m in toy.MODELS]
    table = markdown_table(["model", "knows", "expected bits", "coded bits"], rows)
    yield "drinks", "svg", draw_drinks(bits), f"{_DRINKS}\n\n{table}"
    files = coded(pictures)
    yield "coding", "svg", draw_coded(files), f"{_CODING}\n\n{_coded_table(files)}"
    yield from _importance(picture)
    if trained:
        yield "centres", "svg", draw_centres(centres(trained)), _CENTRES


def _importance(picture: Image) -> Iterator[tuple[str, str, bytes, str]]:
    """The importance map, where the codec that has one is there with weights."""
    try:
        codec = registry.create(LEARNED_CENTRES)
    except (registry.UnknownCodec, CodecUnavailable) as error:
        print(f"without an importance map: {error}", file=sys.stderr)
        return
    found = importance_map(codec, picture)
    if found is not None:
        yield "importance", "png", draw_importance(picture, found), _IMPORTANCE


def _coded_table(rows: Sequence[Coded]) -> str:
    return markdown_table(
        ["codec", "point", "-Σ log2 P", "coded", "more", "whole files"],
        [
            (
                r.codec,
                r.point,
                f"{r.entropy:.1f}",
                str(r.payload),
                f"{r.overhead:+.2f} %",
                str(r.file),
            )
            for r in rows
        ],
    )


_INTRODUCTION = """What the slides of "Learned Image and Video Compression with Deep Neural
Networks" (Yang and Timofte) draw by hand, here of streams of the codecs that ship. All of this page
is written by

    .venv/bin/python -m reports.tutorial

The picture is scikit-image's astronaut (NASA, public domain)."""

_DEPENDENCY = """Latent, scale, and what is left

A channel of `hyperprior` as sent, the one where side information does most; the scale that it says;
and one divided by the other: much of the structure goes into the scales. Over all channels, counted
by their bits, the correlation of the magnitudes of neighbours falls from {before:.2f} to
{after:.2f}. What is left sits in channels of low frequencies, whose values resemble their
neighbours: means and contexts see to those."""

_DRINKS = """Three drinks: 6, 3 and 1 bits

Hot or cold, coffee or tea, on three days of 10, 15 and 30 degrees. Drinks are hot below 20 degrees,
else cold; never the same of coffee and tea on two days running. A model that knows nothing takes
two bits a drink; one with the weather for side information one; one that knows the day before as
well only needs the first choice. Coded is by the range coder of the learned codecs, 4096 times."""

_CODING = """Arithmetic coding against entropy

Bytes that the range coder writes against the sum of -log2 P over the symbols, by the entropy model
in floats, over the six pictures of `samples`; and whole files, which have a header of some 20 bytes
each for size, weights and check sum. These are small pictures: in a larger one headers vanish."""

_IMPORTANCE = """Importance map

`mentzer2018` gives each position of its latent a number of channels: bright ones many."""

_CENTRES = """Centres move while a codec is trained

The learned centres of `mentzer2018`, to which values of its latent are quantised, from one
checkpoint to the next."""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m reports.tutorial",
        description="Draw the tutorial's figures from real streams, and write their page.",
    )
    p.add_argument(
        "--out",
        type=Path,
        default=Path("docs/tutorial"),
        help="folder of the figures; the page is beside it, with .md at its end",
    )
    p.add_argument(
        "--centres",
        type=Path,
        nargs="+",
        default=(),
        metavar="FILE",
        help="checkpoints of mentzer2018, in the order of training: draws how its centres move",
    )
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """0: written; 2: a codec or its weights, the samples, or checkpoints are missing."""
    options = parser().parse_args(arguments)
    out: Path = options.out
    try:
        write(out, out.with_suffix(".md"), astronaut(), samples(), options.centres)
    except (CodecError, DatasetError, OSError, KeyError, SafetensorError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def samples() -> list[Image]:
    """The data set that needs no download."""
    from datasets.loading import load_image
    from datasets.registry import SAMPLES, open_dataset

    return [load_image(ref.path) for ref in open_dataset(SAMPLES).images]


def astronaut() -> Image:
    """The photograph uint8[512, 512, 3] in scikit-image."""
    from skimage import data

    return np.asarray(data.astronaut(), np.uint8)


if __name__ == "__main__":
    sys.exit(main())
