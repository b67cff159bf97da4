"""Points chosen by name, and points that meet a rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codecs import registry, target
from codecs.base import CodecError, CodecUnavailable, EncodeError, Image, Point
from codecs.ladder import filled, ladder
from codecs.learned import bitstream, weights
from codecs.learned.codec import LearnedCodec
from codecs.learned.transform import TransformModel
from codecs.naming import UnknownCodec
from codecs.rdonet.codec import RDONetModel
from codecs.selection import Selection, split
from tests.learned_contract import each_whole_codec, sized
from tests.learned_toys import TOYS, toy_network
from tests.rdonet_toys import crop


def bpp(data: bytes, image: Image) -> float:
    return 8 * len(data) / (image.shape[0] * image.shape[1])


@pytest.mark.parametrize(
    ("name", "base", "selection"),
    [
        ("jpeg", "jpeg", None),
        ("vvenc@42,32,37", "vvenc", Selection((42, 32, 37))),
        ("jpeg:444@50:95:15", "jpeg:444", Selection((50, 65, 80, 95))),
        ("jxl@0.5:1:0.25", "jxl", Selection((0.5, 0.75, 1))),
        ("x@a,b", "x", Selection(("a", "b"))),
        ("rdonet:full@0.3,0.15bpp", "rdonet:full", Selection((0.15, 0.3), True)),
        ("./a/m.py:fast@.5bpp:corpus", "./a/m.py:fast", Selection((0.5,), True, True)),
        ("./me@home/mine.toml", "./me@home/mine.toml", None),
        ("./me@home.toml", "./me@home.toml", None),
        ("./me@home.py:fast@1,2", "./me@home.py:fast", Selection((1, 2))),
    ],
)
def test_what_follows_a_name(name: str, base: str, selection: Selection | None) -> None:
    assert split(name) == (base, selection)


@pytest.mark.parametrize(
    "name",
    [
        *("jpeg@", "jpeg@1,,2", "jpeg@1,1.0", "jpeg@1:5:0", "jpeg@5:1:1", "jpeg@1:5", "jpeg@x:1"),
        *("jpeg@bpp", "jpeg@0bpp", "jpeg@-1bpp", "jpeg@nanbpp", "jpeg@infbpp", "jpeg@abpp"),
        *(
            "jpeg@1:1e9:1e-9",
            "jpeg@1:2:1e-999999",
            "jpeg@sNaN",
            "jpeg@5:corpus",
            "jpeg@1bpp:all",
            "jpeg@" + "1," * 999 + "2",
        ),
        "jpeg@" + ",".join(f"0.{i}123456bpp" for i in range(9)),
        *("jpeg@1e308bpp", "jpeg@5e-324bpp"),
    ],
)
def test_what_may_not_follow_a_name(name: str) -> None:
    with pytest.raises(UnknownCodec, match="what may follow a name: @27,32,37,42"):
        registry.check_name(name)


def test_variants_stand_before_what_follows_a_name() -> None:
    for name in ("minnen@0.1bpp:latents", "minnen@0.1bpp:corpus:latents"):
        with pytest.raises(UnknownCodec, match="variants of a codec stand before the @"):
            registry.check_name(name)


def test_rates_are_named_to_the_last_digit() -> None:
    """Reports read them from the name, and two that differ are two."""
    _, selection = split("jpeg@0.3,0.30000000001bpp")
    assert selection is not None
    assert split(f"jpeg{selection.suffix}") == ("jpeg", selection)


def test_names_with_points_and_rates(tmp_path: Path) -> None:
    assert registry.unaliased("bpg:bt601@30,40") == "hevc"
    assert registry.unaliased("bpg@0.30bpp") == "hevc@0.3bpp"
    file = tmp_path / "mine.py"
    assert registry.file_of(f"{file}:fast@0.3bpp") == file
    assert registry.absolute(f"{file}:fast@0.3bpp") == f"{file}:fast@0.3bpp"
    assert registry.is_foreign_code(f"{file}@5")
    assert not registry.is_foreign_code("jpeg@0.3bpp")
    with pytest.raises(UnknownCodec, match="did you mean 'jpeg'"):
        registry.check_name("jpge@0.3bpp")


def test_points_by_name_are_those_of_the_ladder_in_its_order(photo: Image) -> None:
    """With another type, or the typist's order, they would be measured twice."""
    whole, chosen = registry.create("jxl"), registry.create("jxl@0.9,7,8")
    assert chosen.points == ladder("distance", (8.0, 7.0, 0.9))
    assert [type(point.value) for point in chosen.points] == [float] * 3
    assert (chosen.name, chosen.version, chosen.settings) == (
        *(whole.name, whole.version),
        whole.settings,
    )
    jpeg = registry.create("jpeg@80,40")
    assert jpeg.points == ladder("quality", (40, 80))
    assert jpeg.encode(photo, jpeg.points[1]) == registry.create("jpeg").encode(
        photo, Point("quality", 80)
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("jpeg@best", "expected quality as an integer from 1 to 100"),
        ("vvenc@best", "expected qp as an integer from 0 to 63"),
        ("jxl@best", "expected distance as a number from 0.05 to 15"),
        ("mine.toml@best", "expected q 1, q 2, or another number"),
        ("mine.toml:named@9", "expected q low, q high"),
    ],
)
def test_a_wrong_point_is_told_what_may_stand_there(name, said, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands = 'encode = "cp {value} {input} {output}"\ndecode = "cp {input} {output}"\n'
    Path("mine.toml").write_text(
        f'name = "mine"\nversion = "1"\n{commands}parameter = "q"\npoints = [1, 2]\n'
        '[variants.named]\npoints = ["low", "high"]\n'
    )
    with pytest.raises(CodecError, match=said):
        registry.create(name)


@pytest.mark.parametrize(
    ("parameter", "values", "found"),
    [
        ("q", (9, 6, 5), (9, 8, 7, 6, 5)),
        ("q", (3,), (3,)),
    ],
)
def test_what_lies_between_points(
    parameter: str, values: Sequence[int], found: Sequence[int]
) -> None:
    assert filled(ladder(parameter, values)) == ladder(parameter, found)


def test_between_fractions_and_far_integers_lie_fewer() -> None:
    fractions = [float(point.value) for point in filled(ladder("d", (9.5, 7.0, 0.5)))]
    assert len(fractions) == 513
    assert fractions == sorted(fractions, reverse=True)
    rates = [point.value for point in filled(ladder("kbit", (100, 100_000)))]
    assert len(set(rates)) == len(rates) == 257
    assert all(isinstance(rate, int) for rate in rates)


@pytest.mark.parametrize(
    "points",
    [ladder("q", (1, 3, 2)), ladder("q", ("a", "b")), (Point("q", 1), Point("qp", 2))],
)
def test_points_that_are_no_scale_cannot_be_searched(points: tuple[Point, ...]) -> None:
    codec = registry.create("jpeg")
    for named, choices in ((points, ()), (codec.points, points)):
        codec.points, codec.choices = named, choices
        with pytest.raises(CodecError, match="jpeg cannot be coded to a rate: its points"):
            target.select(codec, Selection((0.5,), True))


def sizes(curve: Callable[[float], float], calls: list[int]) -> Callable[[Point], float]:
    def size(point: Point) -> float:
        calls.append(int(point.value))
        return curve(float(point.value))

    return size


@pytest.mark.parametrize(
    "curve",
    [
        lambda v: 100 * math.exp(v / 300),
        lambda v: 100 + v**2 / 50,
        lambda v: 100 * math.exp(v / 300) * (1.004 if v % 2 else 0.996),
    ],
)
@pytest.mark.parametrize("rate", [120.0, 977.0, 20_000.0])
def test_a_search_ends_near_the_rate_in_few_trials(
    curve: Callable[[float], float], rate: float
) -> None:
    choices = ladder("q", range(1793))
    calls: list[int] = []
    size = sizes(curve, calls)
    found = target.search(size, size, choices, choices[::256], rate, 8, 0.01)
    assert found.bits == pytest.approx(rate, rel=0.01)
    assert len(set(calls)) <= 10


@pytest.mark.parametrize(
    "curve",
    [
        lambda v: 100 * math.exp(12 * (v / 1792) ** 12),
        lambda v: 100.0 if v < 1001 else 1e6,
    ],
)
def test_curved_and_broken_sizes_take_few_trials_more(curve: Callable[[float], float]) -> None:
    """Where only the ends of the range are known; plain interpolation would take hundreds."""
    choices = ladder("q", range(1793))
    calls: list[int] = []
    size = sizes(curve, calls)
    target.search(size, size, choices, choices[:1], 101.5, 8, 0.01)
    assert len(set(calls)) <= 30


def test_the_nearest_of_few_points_is_found() -> None:
    choices = ladder("q", range(50, -1, -1))
    calls: list[int] = []
    size = sizes(lambda v: 1000 * 0.85**v, calls)
    found = target.search(size, size, choices, choices[2::8], 137.0, 8, 0.01)
    sized = {point: 1000 * 0.85 ** float(point.value) for point in choices}
    assert found.point == min(choices, key=lambda p: abs(math.log(sized[p] / 137)))
    assert len(set(calls)) <= 8


def test_files_that_differ_from_their_estimates_correct_the_search() -> None:
    choices, coded = ladder("q", range(1793)), []

    def estimate(point: Point) -> float:
        return 100 * math.exp(float(point.value) / 300)

    def code(point: Point) -> float:
        coded.append(point)
        return 0.9 * estimate(point) ** 0.99

    found = target.search(estimate, code, choices, choices[::256], 900, 8, 0.01)
    assert found.bits == pytest.approx(900, rel=0.01)
    assert 2 <= len(coded) <= 3


@pytest.mark.parametrize("name", ["jpeg", "webp", "jpeg2000", "jxl", "vvenc:faster"])
def test_codecs_meet_a_rate_by_their_own_parameter(name: str, photo: Image) -> None:
    codec = registry.create(f"{name}@0.4,0.9bpp")
    plain = registry.create(name)
    assert codec.name == f"{name}@0.4,0.9bpp"
    for point, rate in zip(codec.points, (0.4, 0.9), strict=True):
        data = codec.encode(photo, point)
        told: dict[str, Any] = dict(codec.diagnostics(photo, data)["target"])
        own = Point(plain.points[0].parameter, told.pop(plain.points[0].parameter))
        assert plain.encode(photo, own) == data
        assert told["asked_bpp"] == rate
        assert told["reached_bpp"] == bpp(data, photo)
        assert told["deviation_percent"] == pytest.approx(100 * abs(bpp(data, photo) / rate - 1))
        assert told["trials"] <= 14
        assert np.array_equal(codec.decode(data), plain.decode(data))
        place = list(plain.choices).index(own)
        for other in plain.choices[max(place - 1, 0) : place + 2]:
            off = abs(math.log(bpp(plain.encode(photo, other), photo) / rate))
            assert abs(math.log(told["reached_bpp"] / rate)) <= max(off, 0.01)


def test_a_rate_out_of_reach_names_what_is_in_reach(photo: Image) -> None:
    codec = registry.create("jpeg@99bpp")
    with pytest.raises(EncodeError, match=r"99 bpp .* \d+\.\d+ bpp \(quality 100\) is the most"):
        codec.encode(photo, codec.points[0])
    codec = registry.create("jpeg@0.001bpp")
    with pytest.raises(
        EncodeError, match=r"out of reach here: 0\.\d+ bpp \(quality 1\) is the least"
    ):
        codec.encode(photo, codec.points[0])


@pytest.mark.parametrize(
    ("name", "beyond"),
    [("jpeg", 101), ("webp", 101), ("avif", 100), ("jpeg2000", 0.99), ("jxl", 0.04), ("hevc", -1)],
)
def test_the_search_ends_where_the_codec_does(name: str, beyond: float) -> None:
    codec = registry.create(name)
    last = codec.choices[-1]
    assert codec.encode(crop(16, 16), last)
    assert abs(float(last.value) - beyond) <= 1
    with pytest.raises(EncodeError, match=f"expected {last.parameter} as .* {last.value:g}"):
        codec.encode(crop(16, 16), Point(last.parameter, beyond))


def test_what_is_out_of_reach_is_not_looked_for_at_the_other_end() -> None:
    """With all pictures at a high rate that might take hours."""
    choices = ladder("q", range(101))
    calls: list[int] = []
    size = sizes(lambda v: 100 * 1.1**v, calls)
    with pytest.raises(EncodeError, match="is the least"):
        target.search(size, size, choices, choices[::20], 1, 8, 0.01)
    assert 100 not in calls


@pytest.mark.parametrize("estimated", [False, True])
def test_choices_that_cannot_be_coded_are_searched_around(estimated: bool) -> None:
    """Encoders fail on files that are too large for them."""
    choices = ladder("q", range(101))
    right = sizes(lambda v: 100 * 1.05**v, [])

    def failing(point: Point) -> float:
        if float(point.value) > 70:
            raise EncodeError("the buffer is full")
        return right(point)

    estimate = right if estimated else failing
    for q in (3, 60, 69):
        wanted = 8 * 100 * 1.05**q
        found = target.search(estimate, failing, choices, choices[::20], wanted, 1, 0.01)
        assert found.point.value == q
    with pytest.raises(EncodeError, match=r"\(q 70\) is the most"):
        target.search(estimate, failing, choices, choices[::20], 8 * 100 * 1.05**75, 1, 0.01)
    with pytest.raises(EncodeError, match="the buffer is full"):
        target.search(
            estimate, lambda p: failing(Point("q", 99)), choices, choices[::20], 8e3, 1, 0.01
        )


@pytest.mark.parametrize("size", [math.nan, math.inf, -1.0])
def test_sizes_that_are_none_are_refused(size: float) -> None:
    choices = ladder("q", range(9))
    with pytest.raises(EncodeError, match=r"the size at q \d is no number of bytes"):
        target.search(lambda point: size, lambda point: 9.0, choices, choices, 8, 8, 0.01)


def test_choices_of_somebodys_codec_are_checked(tmp_path: Path, photo: Image) -> None:
    """They are what a rate is looked for in."""
    text = """
from codecs.base import Point
from codecs.pillow import webp

def codec(variant=None):
    made = webp()
    made.name, made.choices = "mine", CHOICES
    return made
"""
    mine = tmp_path / "mine.py"
    mine.write_text(text.replace("CHOICES", "[Point('quality', q) for q in (10, 90)]"))
    codec = registry.create(f"{mine}@0.5bpp")
    data = codec.encode(photo, codec.points[0])
    assert codec.diagnostics(photo, data)["target"]["quality"] in (10, 90)
    for wrong in ("[3]", "[Point('quality', float('nan'))]"):
        mine.write_text(text.replace("CHOICES", wrong))
        with pytest.raises(CodecUnavailable, match="point"):
            registry.create(str(mine))


@pytest.fixture
def gained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_weights: None
) -> Callable[[str], LearnedCodec]:
    """A codec of toy weights with gains for four qualities in one file."""

    def made(name: str, variant: str = "") -> LearnedCodec:
        config = {**toy_network(name).config, "qualities": 4, "lambdas": (500.0, 8000.0)}
        network = registry.network(name).from_config(config).eval()
        network.begin_with(toy_network(name).state_dict())
        points = [{"parameter": "quality", "value": value} for value in range(4)]
        weights.export(network, tmp_path / name / "all.safetensors", {"points": points})
        monkeypatch.setattr("codecs.learned.codec.WEIGHTS", tmp_path)
        codec = registry.create(":".join(filter(None, (name, variant))))
        assert isinstance(codec, LearnedCodec)
        return codec

    return made


class Counted:
    """How often a method was called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.calls = 0
        original = getattr(owner, name)

        def counting(*arguments: Any) -> Any:
            self.calls += 1
            return original(*arguments)

        monkeypatch.setattr(owner, name, counting)


@each_whole_codec
def test_learned_codecs_meet_a_rate_with_one_analysis(
    name: str, gained: Callable[[str], LearnedCodec], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = gained(name)
    model = type(plain.place(plain.points[0])[0])
    image = sized(name, 256, 320, 3)
    low, high = (bpp(plain.encode(image, point), image) for point in plain.points[::3])
    rate = math.sqrt(low * high)
    codec = registry.create(f"{name}@{rate:.3f}bpp")
    analyses, coded = (Counted(monkeypatch, model, method) for method in ("analyse", "code"))
    data = codec.encode(image, codec.points[0])
    told = codec.diagnostics(image, data)["target"]
    # The finest step of gc2019 is a channel more or less, and its toy has twelve.
    deviation, trials = (100 / 12, 16) if name == "gc2019" else (1, 15)
    assert told["deviation_percent"] <= deviation
    assert told["reached_bpp"] == bpp(data, image)
    assert analyses.calls == 1
    assert coded.calls <= 3
    assert told["trials"] <= trials
    quality = told["quality"]
    assert quality * bitstream.QUALITY_UNITS == int(quality * bitstream.QUALITY_UNITS)
    assert data == plain.encode(image, Point("quality", quality))


@each_whole_codec
def test_estimated_sizes_are_near_those_of_files(
    name: str, gained: Callable[[str], LearnedCodec]
) -> None:
    codec, image = gained(name), sized(name, 256, 256, 1)
    trials = codec.trials(image)
    for point in codec.points:
        # Escapes, which gains that were not trained meet often, cost less than is estimated.
        estimate, size = trials.size(point), len(codec.encode(image, point))
        assert 0.9 * estimate - 8 <= size <= 1.01 * estimate + 8


def test_rdonet_searches_a_partition_only_for_files(
    gained: Callable[..., LearnedCodec], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = gained("rdonet", "one-pass")
    image = crop(192, 192, 2)
    rate = bpp(plain.encode(image, Point("quality", 1.5)), image)
    searched = Counted(monkeypatch, RDONetModel, "code_searched")
    codec = registry.create(f"rdonet:one-pass@{rate:.3f}bpp")
    data = codec.encode(image, codec.points[0])
    told = codec.diagnostics(image, data)
    assert searched.calls <= 1 + target.CORRECTIONS
    assert told["target"]["trials"] > searched.calls
    assert told["coding_runs"] > 1


def test_nothing_lies_between_weights_of_one_point_each(tmp_path: Path, toy_weights: None) -> None:
    loaded = weights.load(TOYS / "factorised" / "toy.safetensors")
    for value in (1, 2):
        card = {**loaded.card, "point": {"parameter": "lambda", "value": value}}
        weights.save(tmp_path / f"{value}.safetensors", loaded.parameters, loaded.tables, card)
    codec = LearnedCodec(
        "factorised", "", registry.network("factorised"), TransformModel, None, tmp_path
    )
    assert codec.choices == codec.points == ladder("lambda", (1, 2))
