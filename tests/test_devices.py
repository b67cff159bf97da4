"""The device that learned codecs and metrics run on, from the command line to the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image as PillowImage

from bench.__main__ import main
from bench.record.store import Store
from bench.run.execute import execute
from bench.run.progress import Progress
from bench.run.settings import RunSettings
from codecs import device, registry
from codecs.base import CodecUnavailable, Image

HAS_GPU = torch.cuda.is_available()


@pytest.fixture
def folder(tmp_path: Path, photo: Image) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    PillowImage.fromarray(photo[:64, :96]).save(folder / "a.png")
    return folder


def test_it_is_the_cpu_unless_another_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(device.VARIABLE, raising=False)
    assert device.chosen() == "cpu"
    assert registry.create("minnen").device == "cpu"


@pytest.mark.parametrize("name", ["meta", "gpu", "cuda:99", "mps"])
def test_what_is_not_there_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(device.VARIABLE, name)
    with pytest.raises(CodecUnavailable, match=rf"device '{name}' cannot be used: .* here"):
        device.chosen()


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU here")
def test_without_a_gpu_a_run_on_one_is_an_error_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(device.VARIABLE, "")
    run = folder.parent / "run"
    command = ["run", "jpeg", "--dataset", str(folder), "--run", str(run), "--device", "cuda"]
    assert main(command) == 2
    assert "cpu only, no GPU; leave --device" in capsys.readouterr().err
    assert not run.exists()


def test_times_of_another_device_are_told_and_taken_again_on_request(folder: Path) -> None:
    settings = RunSettings(
        codecs=("webp",),
        dataset=str(folder),
        directory=folder.parent / "run",
        metrics=("psnr",),
        jobs=1,
    )
    execute(settings, Progress(quiet=True))
    store = Store(settings.directory)
    for row in list(store):
        store.append(replace(row, device="cuda:0"))
    assert execute(settings, Progress(quiet=True)).plan.crowded > 0
    assert main(["report", str(settings.directory), "--no-pictures"]) == 0
    page = (settings.directory / "report.html").read_text()
    assert "ran on cuda:0" in page
    assert "one level in a few samples" in page
    assert execute(replace(settings, retime=True), Progress(quiet=True)).failed == 0
    assert {row.device for row in Store(settings.directory)} == {"cpu"}


@pytest.mark.skipif(not HAS_GPU, reason="no GPU here")
@pytest.mark.parametrize("name", ["factorised", "hyperprior", "minnen", "rdonet"])
def test_streams_are_the_same_on_all_devices(
    name: str, photo: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(device.VARIABLE, "cuda")
    gpu = registry.create(name)
    monkeypatch.setenv(device.VARIABLE, "cpu")
    cpu = registry.create(name)
    for encoder, decoder in ((cpu, gpu), (gpu, cpu)):
        data = encoder.encode(photo, encoder.points[1])
        difference = decoder.decode(data).astype(int) - encoder.decode(data)
        assert abs(difference).max() <= 1
