"""No codec reaches another one, nor the harness: not by its pictures, nor by its process."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageFile

from bench.record.store import Store
from bench.run import processes
from bench.run.decoding import decoders
from bench.run.processes import CallFailed, Worker
from bench.run.worker import Encoder
from codecs import registry
from codecs.base import CodecUnavailable, Point
from datasets.loading import load_image, read_ref
from tests.helpers import run_alone

MEDDLER = str(Path(__file__).parent / "toys" / "meddler.py")


@pytest.fixture(autouse=True)
def pillow_as_it_is(monkeypatch) -> None:
    """A test that calls the meddler in its own process must not spoil those after it."""
    monkeypatch.setattr(PillowImage.Image, "save", PillowImage.Image.save)


@pytest.fixture
def folder(tmp_path, photo) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    PillowImage.fromarray(photo[:96, :60]).save(folder / "narrow.png")
    return folder


def measured(folder: Path, *codecs: str) -> dict[tuple[str, Point], tuple[str | None, str | None]]:
    """What a run of one lane has of the built-in codecs: streams, reconstructions."""
    directory = folder.parent / f"run{len(codecs)}"
    assert run_alone(folder, directory, *codecs).failed == 0
    return {
        (m.codec, m.point): (m.stream_digest, m.reconstruction_digest)
        for m in Store(directory)
        if m.codec != "meddler"
    }


def test_a_codec_that_changes_everything_within_reach_changes_no_other_codec(folder):
    alone = measured(folder, "jpeg", "webp")
    assert measured(folder, MEDDLER, "jpeg", "webp") == alone


def test_decoding_for_the_report_keeps_codecs_apart_as_well(folder):
    alone = measured(folder, "jpeg")
    measured(folder, MEDDLER, "jpeg")
    store = Store(folder.parent / "run2")
    with decoders(store, {"meddler": MEDDLER}, jobs=1) as pictures:
        rows = sorted(store, key=lambda m: m.codec, reverse=True)
        shown = {(d.measurement.codec, d.measurement.point): d for d in pictures.decode(rows)}
    assert all(shown[one].image is not None for one in alone)


HASHES = """
import numpy as np
from codecs.base import BitstreamError, Codec, Point

class Hashing(Codec):
    name, label, version = "hashing", "Hashing", "1"
    points = (Point("level", 1),)

    def encode(self, image, point):
        return f"{image.shape[0]} {image.shape[1]} {hash('this process')}".encode()

    def decode(self, data):
        height, width, told = map(int, data.split())
        if told != hash("this process"):
            raise BitstreamError("another order of sets")
        return np.zeros((height, width, 3), np.uint8)

def codec(variant=None):
    return Hashing()
"""


def test_a_decoder_that_needs_its_encoders_hashes_fails(folder, monkeypatch):
    """As it would on any other day: processes of one fork server have their seed in common."""
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    mine = folder.parent / "mine.py"
    mine.write_text(HASHES)
    run_alone(folder, folder.parent / "run", str(mine))
    (row,) = Store(folder.parent / "run")
    assert (row.status, row.reason) == ("failed", "another order of sets")


def test_forked_workers_draw_different_random_numbers(folder):
    """numpy's own generator is seeded when numpy is loaded, which is before the fork."""
    mine = folder.parent / "mine.py"
    mine.write_text(HASHES.replace('f"', 'np.random.bytes(9) + f"'))
    picture, out = read_ref(folder / "narrow.png"), folder.parent / "stream"
    streams = set()
    for worker in (Worker("encode"), Worker("encode")):
        worker.call((str(mine), Point("level", 1), picture, out), 60)
        assert isinstance(worker.process, ForkServerProcess)
        worker.kill()
        streams.add(out.read_bytes()[:9])
    assert len(streams) == 2


def test_a_process_that_says_nothing_at_its_start_is_given_up_and_said_so(monkeypatch):
    monkeypatch.setattr(processes, "START_LIMIT", 0.0)
    worker = Worker("encode")
    with pytest.raises(CallFailed, match=r"encode: no answer within 0 s of its start") as raised:
        worker.call(("jpeg",), 60)
    assert raised.value.status == "failed"
    assert worker.process is None


def surroundings() -> list[object]:
    folder, errors, options = os.getcwd(), np.geterr(), np.get_printoptions()
    pillow = PillowImage.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    draws = str(np.random.get_state()), random.getstate()
    return [folder, dict(os.environ), list(sys.path), errors, options, pillow, draws]


def test_planning_with_a_codec_leaves_the_harness_as_it_was(monkeypatch):
    monkeypatch.setattr(PillowImage.Image, "save", PillowImage.Image.save)  # for later tests
    before = surroundings()
    codec = registry.create(MEDDLER)
    assert surroundings() == before
    codec.encode(np.zeros((8, 8, 3), np.uint8), codec.points[0])  # in the surroundings it made
    assert surroundings() == before


def test_a_codec_whose_code_fails_leaves_the_harness_as_it_was(tmp_path):
    before = surroundings()
    (tmp_path / "ill.py").write_text("import os; os.chdir('/'); os.environ['A_B'] = ''; 1 / 0")
    with pytest.raises(CodecUnavailable, match="division by zero"):
        registry.create(str(tmp_path / "ill.py"))
    assert surroundings() == before


def test_every_encode_gets_the_picture_and_so_does_what_tells_of_it(folder, tmp_path):
    """In one process, narrow enough for a warm-up that has no need to copy."""
    ref, stream = read_ref(folder / "narrow.png"), tmp_path / "stream"
    code = (
        "import sys; from tests.test_isolation import twice_in_one_process as f; f(*sys.argv[1:])"
    )
    argv = [sys.executable, "-c", code, str(ref.path), str(stream)]
    subprocess.run(argv, check=True, cwd=Path(__file__).parents[1])


def twice_in_one_process(path: str, stream: str) -> None:
    pixels, ref, encoder = load_image(Path(path)), read_ref(Path(path)), Encoder()
    finest = int((pixels % 64).max())
    for _ in range(2):
        told = encoder(MEDDLER, Point("step", 64), ref, Path(stream))[3]
        assert told == {"finest level in the picture": finest}
    assert encoder.loaded is not None
    np.testing.assert_array_equal(encoder.loaded[1], pixels)
