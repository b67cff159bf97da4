"""The adapter of all learned codecs: a folder of weights files becomes a codec of the harness.

A weights file is one operating point, or, where its card lists `points`, several: the quality then
goes into the header of the stream.
"""

from __future__ import annotations

import hashlib
import inspect
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from codecs import ladder
from codecs.base import (
    Codec,
    CodecError,
    CodecUnavailable,
    EncodeError,
    Image,
    Point,
    Trials,
    check_image,
)
from codecs.device import chosen
from codecs.learned import bitstream, refine, weights
from codecs.learned.bitstream import Header, Stream
from codecs.learned.network import CodecNetwork, kmac_per_pixel
from codecs.naming import choice_of

WEIGHTS = Path(__file__).parents[1] / "weights"
"""Of the codecs that ship: a folder for each, of its name."""
RECIPES = Path(__file__).parents[2] / "docs" / "recipes"
"""How these are trained, where this is a checkout: a file for each, see `codecs.recipe`."""


Variant = Mapping[str, str]
"""The word chosen for each setting in `Model.variants`."""
REFINED = {"refined": ("", "latents")}
"""The setting of models whose latents can be refined, see `codecs.learned.refine`."""
_REMEMBERED = 16

M = TypeVar("M", bound="Model")
Places = Sequence[tuple[Point, float | None]]
"""Operating points of a weights file, each with the quality that a stream's header carries."""


class Model(ABC):
    """One weights file, ready to code."""

    variants: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Ways to run it, by setting: the words that exclude each other, that of the codec without a
    variant first; it is empty where there is nothing to say of it."""

    def __init__(
        self,
        network: CodecNetwork,
        loaded: weights.Weights,
        device: torch.device,
        variant: Variant,
    ) -> None:
        """Raises `KeyError`, `ValueError` and the like for weights that do not fit."""
        self.network = network
        self.name = loaded.path.name
        self.digest = loaded.digest
        self.bytes = loaded.path.stat().st_size
        self.training_hours = weights.training_hours(loaded.card)
        self.device, self.variant = device, variant
        self.refines = variant.get("refined") == "latents"
        if self.refines:
            network.objective()
        self._told: OrderedDict[bytes, Mapping[str, Any]] = OrderedDict()
        many = "points" in loaded.card
        if (many and not network.points) or (network.qualities and not many):
            raise ValueError("the card lists `points` if the network serves many, and else not")
        listed = weights.points(loaded) if many else []
        if not all(network.serves(quality) for _, quality in listed):
            raise ValueError("the card lists a point that the network does not serve")

    def encode(self, image: Image, quality: float | None = None) -> bytes:
        """The complete file.  `quality` is `None` where the weights are of one operating point."""
        return self.code(self.analyse(image), quality)

    @abstractmethod
    def analyse(self, image: Image) -> Any:
        """What of a picture no quality changes, for `size` and `code`."""

    @abstractmethod
    def size(self, analysis: Any, quality: float | None) -> float:
        """Bytes of the file by the entropy model, about, without any entropy coding."""

    @abstractmethod
    def code(self, analysis: Any, quality: float | None) -> bytes:
        """See `encode`."""

    @abstractmethod
    def decode(self, data: bytes) -> Image:
        """The picture, from the bytes alone.  Raises `BitstreamError`."""

    @abstractmethod
    def diagnostics(self, image: Image, data: bytes) -> Mapping[str, Any]:
        """See `Codec.diagnostics`."""

    @classmethod
    @abstractmethod
    def labelled(cls, label: str, variant: Variant) -> str:
        """The codec's label with its variant."""

    @classmethod
    @abstractmethod
    def seconds(cls, pixels: int, variant: Variant) -> float:
        """See `Codec.seconds`."""

    @classmethod
    def places(cls, listed: Places, variant: Variant) -> Places:
        """The operating points of the codec, of those that the card of a file has `listed`."""
        return listed

    @classmethod
    def named(cls, variant: Variant) -> list[str]:
        """The words that a name needs: those that are not so anyway."""
        return [word for setting, word in variant.items() if word != cls.variants[setting][0]]

    def best(
        self, image: Image, quality: Tensor | None, files: Iterable[bytes]
    ) -> tuple[bytes, dict[str, float]]:
        """The file of least J by what decoders make of it, and facts of how it was made; the first
        file is that without refining, and the others are made when they are asked for."""
        start = time.process_time()
        objective = self.network.objective(quality)
        costs = {
            data: objective.cost(image, self.decode(data), len(data))["J"]
            for data in dict.fromkeys(files)
        }
        best = min(costs, key=costs.__getitem__)
        return best, {
            "J_before": next(iter(costs.values())),
            "J_after": costs[best],
            "steps": refine.steps_for(image.shape[0] * image.shape[1]),
            "cpu_seconds": time.process_time() - start,
        }

    def remember(self, data: bytes, facts: Mapping[str, Any]) -> None:
        """Facts of how a stream was made, which it does not tell itself."""
        self._told[hashlib.sha256(data).digest()] = facts
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)

    def remembered(self, data: bytes) -> Mapping[str, Any]:
        """What `remember` was given; nothing for other streams."""
        return self._told.get(hashlib.sha256(data).digest(), {})

    def header(self, image: Image, quality: float | None, flags: int = 0) -> Header:
        """Of a stream of `image`."""
        network, height, width = self.network, image.shape[0], image.shape[1]
        model = self.digest[: bitstream.MODEL_BYTES]
        return Header(network.magic, network.version, model, flags, height, width, quality)

    def unpack(self, data: bytes, sections: int) -> Stream:
        """A stream of these weights.  Raises `BitstreamError`."""
        stream = bitstream.unpack(data, self.network.magic, self.network.version, sections)
        bitstream.check_model(stream.header, self.digest, self.name)
        bitstream.check_quality(stream.header, self.network.qualities)
        return stream


def load_model(
    path: Path,
    network: type[CodecNetwork],
    model: type[M],
    variant: str = "",
    device: torch.device | str = "cpu",
) -> M:
    """The weights of a file, ready to code; `variant` as in a codec's name.

    Raises `CodecUnavailable` that names what is wrong with them.
    """
    loaded = weights.load(path, network.architecture)
    choice = choice_of(path.name, variant or None, model.variants)
    return _ready(loaded, network, model, choice, device)


def _ready(
    loaded: weights.Weights,
    network: type[CodecNetwork],
    model: type[M],
    variant: Variant,
    device: torch.device | str,
) -> M:
    device = torch.device(device)
    try:
        made = network.from_config(loaded.card["config"])
        made.load_state_dict(loaded.parameters)
        made = made.eval().requires_grad_(False).to(device)
        return model(made, loaded, device, variant)
    except CodecUnavailable:
        raise
    except (CodecError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CodecUnavailable(f"{loaded.path}: the weights do not fit ({error})") from error


class LearnedCodec(Codec):
    """See the module."""

    estimates = True

    def __init__(
        self,
        name: str,
        label: str,
        network: type[CodecNetwork],
        model: type[Model],
        variant: str | None = None,
        folder: Path | None = None,
        device: str | None = None,
    ) -> None:
        """`folder` holds the weights files, by default that of `name` in `WEIGHTS`; `device` is
        by default that which the user has chosen, see `codecs.device`.

        Raises `UnknownCodec`, and `CodecUnavailable` where weights are missing or do not fit.
        """
        choice = choice_of(name, variant, model.variants)
        folder = folder or WEIGHTS / name
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            ours = network.__module__.startswith("codecs.")
            what = network.architecture if ours else inspect.getfile(network)
            alone = f"`python -m codecs.train {what} --data DIR --valid DIR --out DIR --minutes 60`"
            recipe = f"`make weights SET={name}` (docs/training.md)"
            has_recipe = folder == WEIGHTS / name and (RECIPES / f"{name}.toml").is_file()
            how = recipe if has_recipe else f"{alone} and copy what it exports there"
            raise CodecUnavailable(f"{name} has no weights in {folder}; train some with {how}")
        self.device = device or chosen()
        loaded = [weights.load(file, network.architecture) for file in files]
        models = [_ready(w, network, model, choice, self.device) for w in loaded]
        places = [
            (point, m, quality)
            for w, m in zip(loaded, models, strict=True)
            for point, quality in model.places(weights.points(w), choice)
        ]
        places.sort(key=lambda place: place[0].value)
        self._places = {point: (m, quality) for point, m, quality in places}
        if len(self._places) < len(places):
            raise CodecUnavailable(f"{folder}: two weights files claim the same operating point")
        ordered = list(dict.fromkeys(m for _, m, _ in places))
        self._by_digest = {m.digest[: bitstream.MODEL_BYTES]: m for m in ordered}
        self._model, self._network = model, network
        self._variant = choice
        self.base = name
        self.name = ":".join([name, *model.named(choice)])
        by_digest = {w.digest: w for w in loaded}
        remark, noted = weights.remarks([by_digest[m.digest] for m in ordered])
        self.label = model.labelled(label, choice) + remark
        digests = " ".join(m.digest[:4].hex() for m in ordered)
        self.version = f"stream {network.version}, weights {digests}, torch {torch.__version__}"
        self.points = tuple(self._places)
        self.choices = tuple(self._choices())
        facts = {point: m.network.facts() for point, m, _ in places}
        self.settings = {
            **{
                fact: weights.setting({point: facts[point][fact] for point in facts})
                for fact in facts[self.points[0]]
            },
            **{setting: word for setting, word in choice.items() if word},
            "entropy path": "exact integers",
            **noted,
        }
        self.tuned_for = weights.tuned_for(by_digest[m.digest].card for m in ordered)

    def encode(self, image: Image, point: Point) -> bytes:
        check_image(image)
        model, quality = self.place(point)
        return model.encode(image, quality)

    def place(self, point: Point) -> tuple[Model, float | None]:
        """The model of a point and its quality; raises `EncodeError`.

        Where one file serves a range of qualities, so does it all between the points.
        """
        if point in self._places:
            return self._places[point]
        if isinstance(point.value, int | float):
            for (a, low), (b, high) in pairwise(self._places.items()):
                same = a.parameter == b.parameter == point.parameter
                between = float(a.value) < point.value < float(b.value)
                if same and between and _range(low[0], high[0]):
                    return low[0], bitstream.fixed_point(point.value)
        known = ladder.expected(self.points, self.choices)
        raise EncodeError(f"{self.base} has no weights for {point.label}: {known}")

    def _choices(self) -> Iterator[Point]:
        """The points, and all between those of a file that serves a range."""
        for (a, low), (b, high) in pairwise(self._places.items()):
            yield a
            if a.parameter == b.parameter and _range(low[0], high[0]):
                first, last = (round(float(p.value) * bitstream.QUALITY_UNITS) for p in (a, b))
                for unit in range(first + 1, last):
                    yield Point(a.parameter, unit / bitstream.QUALITY_UNITS)
        yield self.points[-1]

    def trials(self, image: Image) -> Trials:
        check_image(image)
        return LearnedTrials(self, image)

    def decode(self, data: bytes) -> Image:
        return self._made_with(data).decode(data)

    def seconds(self, pixels: int, point: Point) -> float:
        """Raises `EncodeError` where there are no weights for the point."""
        self.place(point)
        return self._model.seconds(pixels, self._variant)

    def diagnostics(self, image: Image, data: bytes) -> Mapping[str, Any]:
        """The model's, with its operations, size and training."""
        model = self._made_with(data)
        facts = {
            "kmac_per_pixel": kmac_per_pixel(model.network),
            "bytes": model.bytes,
            "training_hours": model.training_hours,
        }
        told = {name: fact for name, fact in facts.items() if fact is not None}
        return {**model.diagnostics(image, data), "model": told}

    def _made_with(self, data: bytes) -> Model:
        network = self._network
        return bitstream.model_of(data, network.magic, network.version, self._by_digest)


def _range(low: Model, high: Model) -> bool:
    """Whether two points are ends of a range: of one file, and of a network with anchors."""
    return low is high and low.network.qualities > 0


class LearnedTrials(Trials):
    """A picture is analysed once; sizes are those that the entropy model estimates."""

    def __init__(self, codec: LearnedCodec, image: Image) -> None:
        super().__init__(codec, image)
        self._place = codec.place
        self._analyses: dict[Model, Any] = {}

    def size(self, point: Point) -> float:
        model, quality = self._place(point)
        return model.size(self._analysis(model), quality)

    def code(self, point: Point) -> bytes:
        model, quality = self._place(point)
        return model.code(self._analysis(model), quality)

    def _analysis(self, model: Model) -> Any:
        if model not in self._analyses:
            self._analyses[model] = model.analyse(self.image)
        return self._analyses[model]
