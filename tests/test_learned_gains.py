"""One network for a range of rates: gain units, the quality in a stream, training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from codecs import train
from codecs.base import Image, Point
from codecs.learned import bitstream, weights
from codecs.learned.codec import LearnedCodec, load_model
from codecs.learned.gains import Gains, exact_unscale, lambda_of
from codecs.learned.training import logs
from codecs.learned.training.monitor import WORTH_COLUMNS
from codecs.minnen import Minnen
from codecs.rdonet.calibration import calibrate_thresholds, line
from codecs.rdonet.codec import RDONetModel
from codecs.rdonet.masks import block_variances
from codecs.rdonet.network import RDONet
from tests.learned_toys import smooth_noise


def test_lambda_is_geometric_between_its_ends() -> None:
    found = lambda_of(torch.tensor([0.0, 1.0, 1.5, 2.0]), 3, (10.0, 1000.0))
    assert found.tolist() == pytest.approx([10, 100, 10**2.5, 1000], rel=1e-5)


def test_gains_are_interpolated_geometrically_and_begin_as_quantiser_steps_do() -> None:
    gains = Gains(4, 3, (10.0, 1000.0))
    y = torch.ones(3, 4, 2, 2)
    quality = torch.tensor([0.0, 0.5, 2.0])
    scaled = gains.scale(y, quality)
    # Step ~ Λ^-1/2, with gain 1 in the middle of the range.
    assert scaled[:, 0, 0, 0].tolist() == pytest.approx([10**-0.5, 10**-0.25, 10**0.5])
    assert torch.allclose(gains.unscale(scaled, quality), y)
    with torch.no_grad():
        gains.log_gain[1, 2] = 3.0
    low, middle, high = (
        gains.scale(y[:1], torch.tensor([q]))[0, 2, 0, 0].item() for q in (1.0, 1.25, 2.0)
    )
    assert middle == pytest.approx(low**0.75 * high**0.25)


@pytest.mark.parametrize(("anchors", "lambdas"), [(1, (1, 2)), (8, (2, 2)), (8, (0, 2))])
def test_ranges_that_are_none_are_refused(anchors: int, lambdas: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="no such range of rates"):
        Gains(4, anchors, lambdas)


def test_a_network_of_one_point_takes_no_quality_and_one_of_many_needs_it() -> None:
    x = torch.rand(1, 3, 64, 64)
    for network, quality in (
        (Minnen(4, 6), torch.zeros(1)),
        (Minnen(4, 6, qualities=3), None),
    ):
        with pytest.raises(ValueError, match="a quality is for networks of many"):
            network(x, quality=quality)


def test_training_for_all_rates_makes_a_ladder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(3):
        x = (smooth_noise(1, 128)[0] * 255).byte().permute(1, 2, 0).contiguous().numpy()
        PillowImage.fromarray(x).save(pictures / f"{i}.png")
    (tmp_path / "schedule.toml").write_text(
        "[[phase]]\nshare = 1.0\nlr = 3e-3\nper_rate = true\nreset = true\n"
    )
    out = tmp_path / "run"
    options = [
        *("minnen", "--preset", str(tmp_path / "schedule.toml"), "--width", "8", "--steps", "24"),
        *("--data", str(pictures), "--valid", str(pictures), "--out", str(out), "--batch", "3"),
        *("--crop", "64", "--threads", "1", "--cache", str(tmp_path / "cache"), "--device", "cpu"),
        *("--all-rates", "50,5000", "--valid-every", "12"),
    ]
    assert train.main(options) == 0
    rows = logs.read(out / "valid.csv")
    assert [row["quality"] for row in rows] == ["0", "2", "4", "6"] * 3
    rates = [float(row["bpp"]) for row in rows[-4:]]
    assert rates == sorted(rates)
    assert float(rows[0]["lambda_eff"]) == pytest.approx(50, rel=1e-4)
    card = json.loads((out / "minnen-all.json").read_text())
    assert [point["value"] for point in card["points"]] == list(range(8))
    assert len(weights.points(weights.load(out / "minnen-all.safetensors"))) == 8
    # The same command again trains nothing; another range is another run.
    assert train.main(options) == 0
    options[options.index("50,5000")] = "50,6000"
    assert train.main(options) == 2
    assert "holds another run (lambdas was" in capsys.readouterr().err
    assert train.main([*options, "--rates", "0.1,0.2"]) == 2


def rdonet(**changes: Any) -> RDONet:
    torch.manual_seed(3)
    return RDONet.preset("compact-gdn", width=8, latents=(8, 6, 4), **changes).eval()


def test_unscaling_in_integers_is_that_in_floats() -> None:
    torch.manual_seed(0)
    gains = Gains(5, 4, (10.0, 130.0))  # an anchor from the next as far apart as trained ones are
    with torch.no_grad():
        gains.log_inverse.add_(0.1 * torch.randn(4, 5))
    latents = np.random.default_rng(0).integers(-40, 41, (6, 7, 5)).astype(np.int32)
    y = torch.from_numpy(latents).permute(2, 0, 1)[None].float()
    for quality in (0.0, 0.25, 1.0, 257 / 256, 1.90625, 2.99609375, 3.0):
        exact = exact_unscale(latents, gains.table(), quality) / 4096
        floats = gains.unscale(y, torch.tensor([quality]))[0].permute(1, 2, 0).detach().numpy()
        assert exact == pytest.approx(floats, rel=1e-3, abs=1e-3)
    extreme = np.full((1, 1, 5), 4096, np.int32)
    assert exact_unscale(extreme, gains.table(), 0.0).max() <= 1 << 24


@pytest.mark.parametrize("mode", ["zero-pass", "one-pass"])
def test_rdonet_serves_many_qualities_from_one_file(
    tmp_path: Path, photo: Image, mode: str
) -> None:
    network = rdonet(qualities=4, lambdas=(20.0, 2000.0))
    points = [{"parameter": "quality", "value": q} for q in range(4)]
    weights.export(network, tmp_path / "all.safetensors", {"points": points})
    codec = LearnedCodec("rdonet", "RDONet", RDONet, RDONetModel, mode, tmp_path)
    streams = [codec.encode(photo, Point("quality", q)) for q in (0, 1.6, 3)]
    assert len(set(streams)) == 3
    if mode == "zero-pass":  # a search finds nothing worth sending in untrained latents
        assert len(streams[0]) < len(streams[1]) < len(streams[2])
    for data in streams:
        assert codec.decode(data).shape == photo.shape
        assert codec.diagnostics(photo, data)["cost"]["lambda"] > 0
    header, _ = bitstream.read_header(streams[1], b"RD", 1)
    assert header.quality == round(1.6 * 256) / 256


def test_what_rdonet_decodes_at_a_quality_is_what_its_network_reconstructs(
    tmp_path: Path, photo: Image
) -> None:
    network = rdonet(qualities=4, lambdas=(20.0, 2000.0))
    path = tmp_path / "all.safetensors"
    weights.export(network, path, {"points": [{"parameter": "quality", "value": 2}]})
    model = load_model(path, RDONet, RDONetModel)
    image = np.ascontiguousarray(photo[:128, :128])
    decoded = model.decode(model.encode(image, 2.5)).astype(float)
    x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        expected = network(x, quality=torch.tensor([2.5])).x_hat[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(decoded - expected.clip(0, 255)).mean() < 1


def test_thresholds_fall_and_the_objective_rises_with_quality() -> None:
    network = rdonet(qualities=3, lambdas=(10.0, 1000.0))
    low, high = torch.tensor([0.0]), torch.tensor([2.0])
    ratio = float(network.thresholds(low).t64) / float(network.thresholds(high).t64)
    assert ratio == pytest.approx(100, rel=1e-4)
    middle = network.objective(torch.tensor([1.0])).lambda_eff
    assert middle == pytest.approx(network.objective().lambda_eff)
    assert network.objective(high).lambda_eff == pytest.approx(10 * middle, rel=1e-4)
    x = torch.rand(3, 3, 64, 64)
    variance = float(block_variances(x, 64).mean())
    asked = {"t64": variance, "t32": 1.0}
    masks = network.training_partition("variance", x, 0, asked, 1.0, 0.0, torch.arange(3.0))
    assert masks.s64.flatten().tolist()[::2] == [False, True]  # 10 times the middle's, a tenth
    masks = network.training_partition(
        "variance", x, 0, {**asked, "p64": 1.0}, 1.0, 0.0, torch.arange(3.0)
    )
    assert masks.s64.flatten().tolist()[::2] == [True, False]


@pytest.mark.parametrize("wrong", [{"t65": 1.0}, {"t64": "high", "t32": 1.0}])
def test_damaged_thresholds_are_found_before_anything_is_coded(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        rdonet(thresholds=wrong)


def test_thresholds_of_a_range_are_calibrated_on_a_line(photo: Image) -> None:
    torch.manual_seed(0)
    network = rdonet(qualities=3, lambdas=(10.0, 1000.0))
    x = torch.from_numpy(photo[:128, :192].copy()).permute(2, 0, 1)[None].float() / 255

    def squared_error(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x - y).square().mean()

    found, cost = network.calibrate([x], 0.0, squared_error)
    ends = {}
    for quality in (0.0, 1.0, 2.0):
        lambda_eff = float(network.lambda_of(torch.tensor(quality)))
        best, costs = calibrate_thresholds(network, [x], lambda_eff, squared_error, quality)
        ends[quality] = best, costs[best] / lambda_eff**0.5
    assert cost == pytest.approx(sum(j for _, j in ends.values()) / 3)
    network.config["thresholds"] = found
    expected = [float(best.t64) for best, _ in ends.values()]
    relative = [math.log(10.0) * (q - 1) for q in (0, 1, 2)]
    t, p = line(relative, expected)
    shown = [float(network.thresholds(torch.tensor([q])).t64) for q in (0.0, 1.0, 2.0)]
    assert shown == pytest.approx([t * math.exp(p * r) for r in relative], rel=1e-4)


R = (-3.0, 0.0, 3.0)


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        ((100.0, 10.0, 1.0), (100.0, 10.0, 1.0)),
        ((-1.0, -1.0, -1.0), (-1.0, -1.0, -1.0)),
        ((-1.0, 3.0, -1.0), (-1.0, -1.0, -1.0)),
        ((10.0, -1.0, -1.0), (10.0, 1e-3, 1e-7)),
        ((10.0, 100.0, -1.0), (10.0, 0.1, 1e-3)),
    ],
    ids=["a line", "nowhere", "not at the lowest", "at the lowest alone", "not at the highest"],
)
def test_where_a_level_does_not_pay_nothing_is_coded_by_it(
    thresholds: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    """Flat blocks neither: at high rates those cost most."""
    t, p = line(R, thresholds)
    assert [t * math.exp(p * r) for r in R] == pytest.approx(expected)


def test_worth_of_levels(photo: Image) -> None:
    torch.manual_seed(0)
    network = rdonet(qualities=3, lambdas=(10.0, 1000.0)).eval()
    x = torch.from_numpy(photo[:128, :192].copy()).permute(2, 0, 1)[None].float() / 255
    network.config["thresholds"] = {"t64": 1e9, "t32": 1e9}
    found = network.worth(x, (128, 192), torch.tensor([0.0]))
    assert set(found) == set(WORTH_COLUMNS)
    assert (found["used32"], found["used64"]) == (0, 1)
    used = network.thresholds(torch.tensor([0.0]))
    assert (found["t64"], found["t32"]) == (used.t64, used.t32) != (1e9, 1e9)
    network.config["thresholds"] = {"t64": -1.0, "t32": -1.0}
    found = network.worth(x, (128, 192), torch.tensor([0.0]))
    assert (found["used32"], found["used64"], found["cost_used"]) == (0, 0, 1)


@torch.no_grad()
def test_rdonet_begins_with_the_gains_of_minnen() -> None:
    torch.manual_seed(4)
    minnen = Minnen(8, 8, qualities=4)
    assert minnen.gains is not None
    minnen.gains.log_gain.add_(torch.randn(4, 8))
    network = rdonet(qualities=4)
    network.begin_with(minnen.state_dict())
    gains = network.unit(1).gains
    assert gains is not None
    assert torch.equal(gains.log_gain, minnen.gains.log_gain)
