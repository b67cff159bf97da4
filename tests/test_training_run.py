"""Whole training runs with tiny networks: killed, stopped, resumed, exported."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from codecs import registry, train
from codecs.base import Image
from codecs.learned import weights
from codecs.learned.training import checkpoint, logs
from codecs.learned.training.data import STREAM_INITIAL, Pictures, crops, torch_seed
from codecs.learned.training.stopping import Ending
from tests.conftest import ROOT
from tests.learned_toys import load_minnen

SCHEDULE = """
[[phase]]
share = 0.3
lr = 1e-3
ms_ssim = 0.1
grain = 6
shrink = 1.5
control = true
reset = true
rate_warm_up = 0.6

[[phase]]
share = 0.3
lr = 5e-4
ms_ssim = 0.05
gan = 1e-3
gan_delay = 0.4
mask = "variance"
control = true
reset = true
thresholds = true

[[phase]]
share = 0.4
lr = 5e-4
lr_end = 1e-5
ms_ssim = 0.05
gan = 1e-3
mask = "variance"
per_rate = true
control = true
reset = true
"""
"""Everything that has state: two losses, PatchGAN, thresholds, a trunk and branches."""

STEPS, RATES = 10, "0.2,0.4"
TOTAL = 6 + 2 * 4


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, photo: Image) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    PillowImage.fromarray(photo).save(folder / "a.png")
    PillowImage.fromarray(255 - photo[:, ::-1]).save(folder / "b.png")
    return folder


def arguments(data: Path, out: Path, *more: str, network: str = "rdonet") -> list[str]:
    schedule = out.parent / "schedule.toml"
    schedule.write_text(SCHEDULE)
    return [
        *(network, "--preset", str(schedule), "--width", "8", "--distortion", "perceptual"),
        *("--backbone", "gdn"),  # fewer layers
        *("--data", str(data), "--valid", str(data), "--out", str(out)),
        *("--steps", str(STEPS), "--rates", RATES, "--batch", "2", "--crop", "64"),
        *("--threads", "1", "--device", "cpu", "--cache", str(out.parent / "cache")),
        *("--valid-every", "3", "--valid-count", "1", *more),
    ]


def start(data: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    """A training process with `codecs` made a package first, as the environment's .pth does."""
    code = "import sys, bench; from codecs import train; sys.exit(train.main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments(data, out, *more)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not ready():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "the training process makes no progress"
        time.sleep(0.01)


def validated(out: Path, step: int) -> bool:
    path = out / "valid.csv"
    return path.exists() and any(int(row["step"]) >= step for row in logs.read(path))


@pytest.fixture(scope="module")
def straight(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without interruption."""
    out = tmp_path_factory.mktemp("straight") / "run"
    assert train.main(arguments(data, out)) == 0
    return out


def assert_same_run(out: Path, straight: Path) -> None:
    """Equal tensors to the last bit, equal control state, equal validation."""
    tensors, state = checkpoint.load(out / "checkpoint.safetensors")
    expected_tensors, expected = checkpoint.load(straight / "checkpoint.safetensors")
    assert tensors.keys() == expected_tensors.keys()
    different = [k for k, t in tensors.items() if not torch.equal(t, expected_tensors[k])]
    assert different == []
    for key in ("wall", "cpu"):
        del state[key], expected[key]
    assert state == expected
    assert state["step"] == TOTAL

    def rows(folder: Path) -> list[dict[str, str]]:
        clocks = ("wall", "cpu")
        found = logs.read(folder / "valid.csv")
        return [{k: v for k, v in row.items() if k not in clocks} for row in found]

    assert rows(out) == rows(straight)


# Killed in the trunk and in the second branch.
@pytest.mark.parametrize(("save_every", "kill_after"), [(2, 3), (5, 12)])
def test_killed_run_resumes_to_the_same_weights(
    data: Path,
    straight: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    save_every: int,
    kill_after: int,
) -> None:
    out = tmp_path / "run"
    process = start(data, out, "--checkpoint-steps", str(save_every))
    wait_for(process, lambda: validated(out, kill_after))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    at_kill = checkpoint.load(out / "checkpoint.safetensors")[1]["step"]
    assert 0 < at_kill < TOTAL
    assert train.main(arguments(data, out)) == 0
    assert f"resuming at step {at_kill} of {TOTAL}" in capsys.readouterr().out
    assert_same_run(out, straight)


def test_stopped_run_leaves_weights_and_resumes(
    data: Path, straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"

    def stop() -> None:
        while not validated(out, 3):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    assert train.main(arguments(data, out)) == Ending.SIGNALLED == 4
    thread.join()
    assert "SIGTERM received; the same command resumes" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    card = json.loads((out / "rdonet-latest.json").read_text())
    assert card["training"]["finished"] is False
    assert 3 <= card["training"]["steps"] < STEPS
    assert (out / "rdonet-latest.safetensors").stat().st_size > 10_000
    assert train.main(arguments(data, out)) == 0
    assert not list(out.glob("*-latest.*"))  # nobody shall publish it beside the finished one
    assert_same_run(out, straight)


def test_time_limit_stops_a_run(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train.main(arguments(data, out, "--minutes", "1e-6")) == 3
    assert checkpoint.load(out / "checkpoint.safetensors")[1]["step"] == 1
    assert train.main(arguments(data, out, "--minutes", "1e-6")) == 3
    assert checkpoint.load(out / "checkpoint.safetensors")[1]["step"] == 2


def test_validation_on_fewer_pictures_than_folders(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(data, other)
    more = ("--valid", str(data), str(other), "--valid-every", "1", "--minutes", "1e-6")
    assert train.main(arguments(data, tmp_path / "run", *more)) == Ending.OUT_OF_TIME
    (row,) = logs.read(tmp_path / "run" / "valid.csv")
    assert (row["set"], row["pictures"]) == (data.name, "1")


def test_no_rate_is_controlled_where_there_are_many(data: Path, tmp_path: Path) -> None:
    """What thresholds and objective are kept for is the middle of the range, whatever the phase."""
    more = ("--rates", "0.2", "--all-rates", "20,8000", "--distortion", "mse", "--minutes", "1e-6")
    assert train.main(arguments(data, tmp_path / "run", *more, network="minnen")) == 3
    state = checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")[1]
    assert math.exp(state["controller"]["log_lambda"]) == pytest.approx(400)


def test_logs_and_models_of_a_run(straight: Path) -> None:
    rows = logs.read(straight / "valid.csv")
    assert [int(row["step"]) for row in rows] == [3, 6, 9, 10, 12, 14]
    assert [row["final"] for row in rows] == ["0", "0", "0", "1", "0", "1"]
    assert [row["rate"] for row in rows] == ["0.282843"] * 2 + ["0.2"] * 2 + ["0.4"] * 2
    assert [row["pictures"] for row in rows if row["final"] == "1"] == ["2", "2"]
    samples = sorted(p.name for p in (straight / "samples").iterdir())
    assert samples == [f"{step:07d}.png" for step in (3, 6, 9, 10, 12, 14)]
    for rate in ("0.2", "0.4"):
        card = json.loads((straight / f"rdonet-{rate}.json").read_text())
        training = card["training"]
        assert card["point"] == {"parameter": "rate", "value": float(rate)}
        assert training["finished"] is True
        assert training["steps"] == STEPS
        assert [p["steps"] for p in training["phases"]] == [3, 3, 4]
        assert training["data_pictures"] == 2
        assert len(training["data_sha256"]) == len(card["sha256"]) == 64
        assert card["config"]["objective"]["ms_ssim"] == 0.05
        assert card["config"]["thresholds"] == training["thresholds"]
    steps = [int(r["step"]) for r in training["validation"]]
    assert steps == [3, 6, 12, 14]  # the trunk's and the second branch's, not the first branch's


def test_other_options_do_not_resume_a_run(
    data: Path, straight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(arguments(data, straight, "--seed", "1")) == 2
    assert "seed was 0 and is 1" in capsys.readouterr().err


def test_finished_run_has_nothing_to_do(data: Path, straight: Path) -> None:
    before = (straight / "checkpoint.safetensors").stat().st_mtime_ns
    assert train.main(arguments(data, straight)) == 0
    assert (straight / "checkpoint.safetensors").stat().st_mtime_ns == before


def test_damaged_checkpoint_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "checkpoint.safetensors").write_bytes(b"\x80\x04pickle")
    assert train.main(arguments(data, out)) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--crop", "96"], "--crop must be a multiple of 64"),
        (["--crop", "512"], "choose a smaller --crop"),
        (["--rates", "low"], "numbers with commas"),
        (["--lr-scale", "0"], "--lr-scale must be positive"),
        (["--threads", "-2"], "--threads must not be negative"),
        (["--minutes", "-3"], "--minutes must be more than 0"),
        (["--device", "gpu"], "--device gpu: this machine has"),
        (["--rates", "-1"], "must be positive"),
        (["--rates", "nan"], "must be positive"),
        (["--rates", "0.3,0.3"], "no two alike"),
        (["--lr-scale", "nan"], "--lr-scale must be positive"),
        (["--valid-count", "0"], "count of pictures must be positive"),
        (["--seed", "-1"], "--seed must not be negative"),
        (["--preset", "huge"], "no preset 'huge'"),
        (["--distortion", "ssim"], "no distortion 'ssim'"),
        (["--data", "/nowhere/at/all"], "there is no folder"),
    ],
)
def test_wrong_options_are_explained(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: list[str],
    message: str,
) -> None:
    assert train.main([*arguments(data, tmp_path / "run"), *change]) == 2
    assert message in capsys.readouterr().err


def test_a_run_that_never_began_does_not_say_how_many_steps(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    given = arguments(data, out)
    at = given.index("--steps")
    out.mkdir()
    (out / "run.json").write_text('{"steps": 3, "rates": [0.2], "latents": []}')
    assert train.main(given[:at] + given[at + 2 :]) == 2
    assert "give --steps, or --minutes" in capsys.readouterr().err


def test_trained_minnen_improves_and_codes(data: Path, tmp_path: Path, photo: Image) -> None:
    """A hundred steps lower the loss, and the exported file works as a codec."""
    out = tmp_path / "run"
    options = [
        *("minnen", "--preset", "quick", "--width", "16", "--steps", "100", "--rates", "0.5"),
        *("--data", str(data), "--valid", str(data), "--out", str(out), "--batch", "4"),
        *("--crop", "64", "--threads", "1", "--cache", str(tmp_path / "cache"), "--bf16"),
        *("--device", "cpu", "--lr-scale", "3"),
    ]
    assert train.main(options) == 0
    rows = logs.read(out / "train.csv")
    assert [row["step"] for row in rows] == ["20", "40", "60", "80", "100"]
    assert float(rows[-1]["psnr"]) > float(rows[0]["psnr"]) + 3
    model = load_minnen(out / "minnen-0.5.safetensors")
    assert model.digest.hex() == json.loads((out / "minnen-0.5.json").read_text())["sha256"]
    pictures = [photo, 255 - photo[:, ::-1]]
    streams = [model.encode(picture) for picture in pictures]
    assert all(model.decode(s).shape == photo.shape for s in streams)
    bpp = sum(8 * len(s) for s in streams) / (2 * photo.shape[0] * photo.shape[1])
    assert bpp == pytest.approx(float(logs.read(out / "valid.csv")[-1]["bpp"]), rel=0.1)


def test_bfloat16_is_for_processors_that_have_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In emulation a step takes seven times as long as in float32."""
    for has in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: {"avx512_bf16": has})
        out = tmp_path / str(has)
        options = ("--distortion", "mse", "--rates", "0.2", "--bf16")
        assert train.main(arguments(data, out, *options, network="minnen")) == 0
        card = json.loads((out / "minnen-0.2.json").read_text())
        assert card["training"]["bf16_transforms"] is has
        assert ("no instructions for bfloat16" in capsys.readouterr().out) is not has


def test_each_phase_has_its_own_crops(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[tuple[float, float]] = []

    def recorded(
        pictures: Pictures, rng: np.random.Generator, count: int, size: int, *how: float
    ) -> torch.Tensor:
        batches.append((how[0], how[1]))
        return crops(pictures, rng, count, size, *how)

    monkeypatch.setattr("codecs.learned.training.loop.crops", recorded)
    options = ("--distortion", "ms-ssim", "--rates", "0.2")
    assert train.main(arguments(data, tmp_path / "run", *options, network="minnen")) == 0
    # One more than the run has steps: the batch that follows is begun while a step is taken.
    assert batches == [(6, 1.5)] * 3 + [(0, 1)] * (STEPS - 3 + 1)


def test_starts_from_the_trunk_of_another_run(
    data: Path, straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trunk = tmp_path / "trunk.safetensors"
    shutil.copy(straight / "trunk.safetensors", trunk)
    branches = tmp_path / "branches.toml"
    branches.write_text(
        '[[phase]]\nshare = 1.0\nlr = 1e-9\nper_rate = true\nms_ssim = 0.1\nmask = "variance"\n'
    )
    second = arguments(data, tmp_path / "second", "--from", str(trunk))
    second[2] = str(branches)
    assert train.main(second) == 0
    assert "starting from" in capsys.readouterr().out
    before, state = checkpoint.load(trunk)
    after, resumed = checkpoint.load(tmp_path / "second" / "trunk.safetensors")
    # A branch begins with the trunk's weights, Λ and thresholds, in the new loss's unit of Λ.
    for part in ("network", "ema"):
        for name, tensor in checkpoint.part(before, part).items():
            assert torch.equal(tensor, after[f"{part}.{name}"])
    assert resumed["step"] == 0
    assert resumed["thresholds"] == state["thresholds"]
    assert resumed["controller"] == state["controller"]
    card = json.loads((tmp_path / "second" / "rdonet-0.2.json").read_text())
    origin = card["training"]["started_from"]
    assert origin["sha256"] == hashlib.sha256(trunk.read_bytes()).hexdigest()
    assert origin["steps"] == state["step"] == 6
    trunk.unlink()  # a run that has begun does not need it again
    assert train.main(second) == 0


def test_starts_from_a_finished_model(
    data: Path, straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = straight / "rdonet-0.2.safetensors"
    model = weights.load(path, "rdonet")
    follow, choose = tmp_path / "follow.toml", tmp_path / "choose.toml"
    phase = '[[phase]]\nshare = 1.0\nlr = 1e-9\nper_rate = true\nmask = "variance"\n'
    last = model.card["training"]["phases"][-1]
    for term in ("ms_ssim", "lpips", "gan"):
        phase += f"{term} = {last[term]}\n"
    follow.write_text(phase)
    choose.write_text(phase + "thresholds = [5, 20]\n")
    for schedule in (follow, choose):
        short = ("--rates", "0.2", "--valid-every", "99")
        options = arguments(data, tmp_path / schedule.stem, "--from", str(path), *short)
        options[2] = str(schedule)
        assert train.main(options) == 0
    stored, following = checkpoint.load(tmp_path / "follow" / "trunk.safetensors")
    for part in ("network", "ema"):
        for name, tensor in checkpoint.part(stored, part).items():
            assert torch.equal(tensor, model.parameters[name])
    lambda_eff = model.card["training"]["lambda_eff"]
    assert math.exp(following["controller"]["log_lambda"]) == pytest.approx(lambda_eff)
    assert following["thresholds"] == model.card["config"]["thresholds"]
    assert following["thresholds_lambda"] == pytest.approx(lambda_eff)
    assert following["earlier_steps"] == model.card["training"]["steps"]
    _, after = checkpoint.load(tmp_path / "choose" / "checkpoint.safetensors")
    assert after["thresholds"] == {"t64": 5, "t32": 20}

    damaged = tmp_path / "damaged.safetensors"
    card = {"architecture": "rdonet", "config": {}}
    weights.save(damaged, model.parameters, {}, card)
    assert train.main(arguments(data, tmp_path / "run", "--from", str(damaged))) == 2
    assert "does not fit this network ('training')" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"not a checkpoint"])
def test_refuses_to_start_from_what_is_no_checkpoint(
    data: Path, tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trunk.safetensors"
    if content is not None:
        path.write_bytes(content)
    assert train.main(arguments(data, tmp_path / "run", "--from", str(path))) == 2
    assert "trunk.safetensors cannot be read" in capsys.readouterr().err


def test_rdonet_starts_from_a_minnen_run(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schedule = tmp_path / "short.toml"
    schedule.write_text("[[phase]]\nshare = 1.0\nlr = 1e-9\nper_rate = true\n")

    def options(network: str, out: str, *more: str) -> list[str]:
        changed = arguments(data, tmp_path / out, *more, network=network)
        changed[2] = str(schedule)
        return changed

    assert train.main(options("minnen", "first")) == 0
    trunk = tmp_path / "first" / "trunk.safetensors"
    start = ("--from", str(trunk))
    assert train.main(options("rdonet", "second", "--backbone", "cheng", *start)) == 2
    assert "--backbone gdn" in capsys.readouterr().err
    # What could not begin does not stand in the way of what can.
    assert train.main(options("rdonet", "second", *start)) == 0
    before = checkpoint.part(checkpoint.load(trunk)[0], "ema")
    model = weights.load(tmp_path / "second" / "rdonet-0.2.safetensors", "rdonet")
    assert model.card["config"]["backbone_kind"] == "gdn"
    assert torch.allclose(model.parameters["synthesis.4.weight"], before["g_s.6.weight"], atol=1e-4)


@pytest.mark.parametrize("network", ["minnen", "rdonet"])
def test_frozen_transforms_stay_until_a_phase_trains_them(
    data: Path, tmp_path: Path, network: str
) -> None:
    schedule = tmp_path / "frozen.toml"
    phase = '[[phase]]\nshare = 0.5\nlr = 1e-2\nmask = "finest"\n'
    schedule.write_text(phase + "frozen = true\n" + phase + "per_rate = true\n")
    options = arguments(data, tmp_path / "run", "--rates", "0.3", network=network)
    options[2] = str(schedule)
    assert train.main(options) == 0
    torch.manual_seed(torch_seed(0, 0, STREAM_INITIAL))
    drawn = registry.network(network).sized(8, backbone="gdn").state_dict()
    trunk, end = (
        checkpoint.part(checkpoint.load(tmp_path / "run" / f"{name}.safetensors")[0], "network")
        for name in ("trunk", "checkpoint")
    )
    transforms = ("g_a.", "g_s.", "analysis.", "synthesis.", "units.0.down.", "units.0.igdn.")
    kernels = [n for n in drawn if n.startswith(transforms) and n.endswith("weight")]
    entropy = [n for n in drawn if n.startswith(("head.", "units.0.prior.parameters_net."))]
    assert kernels
    assert entropy
    for name in kernels:
        assert torch.equal(trunk[name], drawn[name])
        assert not torch.equal(end[name], drawn[name])
    for name in entropy:
        assert not torch.equal(trunk[name], drawn[name])
    # Of a run that has begun, the average is what a frozen phase keeps.
    options = arguments(data, tmp_path / "next", "--rates", "0.3", network=network)
    options[2] = str(schedule)
    start = tmp_path / "run" / "checkpoint.safetensors"
    assert train.main([*options, "--from", str(start)]) == 0
    average = checkpoint.part(checkpoint.load(start)[0], "ema")
    tensors, _ = checkpoint.load(tmp_path / "next" / "trunk.safetensors")
    for name in kernels:
        assert not torch.equal(average[name], end[name])
        assert torch.equal(checkpoint.part(tensors, "network")[name], average[name])


def test_only_networks_of_several_levels_are_deepened(data: Path, tmp_path: Path, capsys) -> None:
    schedule = tmp_path / "deepen.toml"
    schedule.write_text("[[phase]]\nshare = 1\nlr = 1e-2\ndeepen = true\nper_rate = true\n")
    options = arguments(data, tmp_path / "run", "--rates", "0.3", network="hyperprior")
    options[2] = str(schedule)
    assert train.main(options) == 2
    assert "deepen = true is for networks of several levels" in capsys.readouterr().err


def test_a_phase_that_deepens_trains_entropy_models_alone(data: Path, tmp_path: Path) -> None:
    schedule = tmp_path / "deepen.toml"
    phase = "[[phase]]\nshare = 0.5\nlr = 1e-2\n"
    schedule.write_text(phase + "deepen = true\n" + phase + "per_rate = true\n")
    options = arguments(data, tmp_path / "run", "--rates", "0.3", network="rdonet")
    options[2] = str(schedule)
    assert train.main(options) == 0
    torch.manual_seed(torch_seed(0, 0, STREAM_INITIAL))
    drawn = registry.network("rdonet").sized(8, backbone="gdn").state_dict()
    tensors, _ = checkpoint.load(tmp_path / "run" / "trunk.safetensors")
    learned, begun = (checkpoint.part(tensors, name) for name in ("network", "ema"))
    kernels = [n for n in drawn if n.endswith("weight")]
    for name in kernels:
        if ".prior." not in name or ".parameters_net." in name:
            assert torch.equal(learned[name], begun[name]) == (".prior." not in name), name
        anew = name.startswith(("units.1.down.", "units.1.up.", "units.2.down."))
        if anew or name.startswith(("analysis.", "synthesis.", "units.0.down.")):
            assert torch.equal(learned[name], drawn[name]) != anew, name


def test_what_a_rounded_phase_keeps_is_the_average(data: Path, tmp_path: Path) -> None:
    """Noise of the last steps would stay in it for good."""
    schedule = tmp_path / "rounded.toml"
    phase = "[[phase]]\nshare = 0.5\nlr = 1e-2\n"
    schedule.write_text(phase + phase + "rounded = true\nper_rate = true\n")
    options = arguments(data, tmp_path / "run", "--rates", "0.3", network="minnen")
    options[2] = str(schedule)
    assert train.main(options) == 0
    trunk, end = (
        checkpoint.load(tmp_path / "run" / f"{name}.safetensors")[0]
        for name in ("trunk", "checkpoint")
    )
    at_start = checkpoint.part(trunk, "ema")
    network, average = checkpoint.part(end, "network"), checkpoint.part(end, "ema")
    for name in ("g_a.0.weight", "g_a.2.weight"):
        assert torch.equal(network[name], at_start[name])
        assert torch.allclose(average[name], at_start[name], rtol=1e-5)
    assert not torch.equal(network["g_s.2.weight"], at_start["g_s.2.weight"])


def test_models_are_left_while_a_run_goes_on(data: Path, straight: Path, tmp_path: Path) -> None:
    """Small ones, from which another run can begin; they change nothing in the run."""
    exporting = tmp_path / "exporting"
    more = ("--export-minutes", "0.01", "--export-to", str(tmp_path / "exports"))
    assert train.main(arguments(data, exporting, *more)) == 0
    one, two = (
        weights.load(folder / "rdonet-0.4.safetensors").parameters
        for folder in (straight, exporting)
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    left = tmp_path / "exports" / tmp_path.name / "exporting" / "rdonet-latest.safetensors"
    assert left.stat().st_size < (straight / "rdonet-0.4.safetensors").stat().st_size / 2
    again = arguments(data, tmp_path / "again", "--from", str(left), "--minutes", "0.001")
    assert train.main(again) == 3
