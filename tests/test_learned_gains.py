"""One network for a range of rates: gain units, the quality in a stream, training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image as PillowImage

from codecs import train
from codecs.learned import weights
from codecs.learned.gains import Gains, lambda_of
from codecs.learned.training import logs
from codecs.minnen import Minnen
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
