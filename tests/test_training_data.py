"""Training data: decoding through the cache, crops that depend on seed and step alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from codecs.base import Image
from codecs.learned.training.data import (
    STREAM_CROPS,
    Pictures,
    Prefetcher,
    crops,
    generator,
    list_files,
    load_pictures,
    torch_seed,
)
from codecs.learned.training.errors import TrainingError


@pytest.fixture
def folder(tmp_path: Path, photo: Image) -> Path:
    """Three pictures, one of them in a sub-folder, one damaged, one text file."""
    folder = tmp_path / "data"
    (folder / "b").mkdir(parents=True)
    PillowImage.fromarray(photo).save(folder / "a.png")
    PillowImage.fromarray(photo[:100, :64]).save(folder / "b" / "small.png")
    PillowImage.fromarray(photo[::-1].copy()).save(folder / "c.avif", quality=90)
    (folder / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 this is no picture")
    (folder / "notes.txt").write_text("not a picture")
    return folder


def test_pictures_come_back_as_stored(folder: Path, tmp_path: Path, photo: Image) -> None:
    pictures = load_pictures([folder], tmp_path / "cache")
    assert pictures.names == ("a.png", "b/small.png", "c.avif")
    assert np.array_equal(pictures[0], photo)
    assert np.array_equal(pictures[1], photo[:100, :64])
    assert pictures[2].shape == photo.shape
    assert len(pictures.refused) == 1
    assert "damaged.jpg" in pictures.refused[0]


def test_digest_is_that_of_names_and_contents(folder: Path, tmp_path: Path) -> None:
    lines = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("a.png", "b/small.png", "c.avif", "damaged.jpg")
    ]
    first = load_pictures([folder], tmp_path / "cache")
    assert first.digest == hashlib.sha256("".join(lines).encode()).hexdigest()
    (folder / "a.png").write_bytes((folder / "b" / "small.png").read_bytes())
    assert load_pictures([folder], tmp_path / "cache").digest != first.digest


def test_second_load_does_not_decode(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_pictures([folder], tmp_path / "cache")
    monkeypatch.setattr(
        "codecs.learned.training.data.load_image", lambda path: pytest.fail(f"decoded {path}")
    )
    second = load_pictures([folder], tmp_path / "cache")
    assert second.refused == first.refused
    assert np.array_equal(second[2], first[2])


def test_damaged_cache_is_named(folder: Path, tmp_path: Path) -> None:
    load_pictures([folder], tmp_path / "cache")
    data = next((tmp_path / "cache").glob("*.u8"))
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(TrainingError, match=r"\.u8 is damaged: delete it"):
        load_pictures([folder], tmp_path / "cache")


def test_small_pictures_are_left_out_and_named(folder: Path, tmp_path: Path) -> None:
    pictures = load_pictures([folder], tmp_path / "cache").at_least(128)
    assert pictures.names == ("a.png", "c.avif")
    assert "b/small.png: smaller than 128 x 128" in pictures.refused
    with pytest.raises(TrainingError, match="none of the 2 pictures is 512 x 512"):
        pictures.at_least(512)


def test_useless_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there is no folder"):
        list_files(tmp_path / "nowhere")
    with pytest.raises(TrainingError, match="holds no pictures"):
        list_files(tmp_path)
    (tmp_path / "x.png").write_bytes(b"nothing")
    with pytest.raises(TrainingError, match=r"no picture can be used; the first: .*x\.png"):
        load_pictures([tmp_path], tmp_path / "cache")


def test_crops_are_parts_of_pictures_in_eight_orientations(folder: Path, tmp_path: Path) -> None:
    pictures = load_pictures([folder], tmp_path / "cache")
    size, seen = 60, set()
    places = {}
    for picture in range(len(pictures)):
        array = pictures[picture]
        for y in range(array.shape[0] - size + 1):
            for x in range(array.shape[1] - size + 1):
                places[array[y : y + size, x : x + size].tobytes()] = picture
    for step in range(12):
        batch = crops(pictures, generator(7, step, STREAM_CROPS), 4, size)
        assert batch.shape == (4, 3, size, size)
        for crop in batch.numpy().transpose(0, 2, 3, 1):
            found = [
                (k, mirrored, places[view.tobytes()])
                for k in range(4)
                for mirrored in (False, True)
                for view in [np.rot90(crop[:, ::-1] if mirrored else crop, -k)]
                if view.tobytes() in places
            ]
            assert len(found) == 1
            seen.add(found[0])
    assert {k for k, _, _ in seen} == {0, 1, 2, 3}
    assert {mirrored for _, mirrored, _ in seen} == {False, True}
    assert {picture for _, _, picture in seen} == {0, 1, 2}


def picture_of(array: Image, tmp_path: Path) -> Pictures:
    (tmp_path / "one").mkdir()
    PillowImage.fromarray(array).save(tmp_path / "one" / "a.png")
    return load_pictures([tmp_path / "one"], tmp_path / "cache")


def test_half_of_the_crops_get_grain_mostly_of_luma(tmp_path: Path) -> None:
    pictures = picture_of(np.full((96, 96, 3), 128, np.uint8), tmp_path)
    batch = crops(pictures, generator(1, 0, STREAM_CROPS), 200, 96, grain=12.0).double()
    deviations = batch.std((1, 2, 3), correction=0)
    grainy = deviations > 0.3
    assert 70 < int(grainy.sum()) < 130
    # Uniform in 0...12, of luma and of each colour: sqrt(1 + 1/9) times as much.
    assert 11 < float(deviations.max()) < 12.8
    assert 5.5 < float(deviations[grainy].mean()) < 7.5
    assert float((batch.mean((1, 2, 3)) - 128).abs().max()) < 0.5
    strong = batch[deviations > 6].transpose(0, 1).flatten(1)
    assert torch.corrcoef(strong)[0, 1:].tolist() == pytest.approx([0.9, 0.9], abs=0.01)


def test_half_of_the_crops_are_of_larger_parts_scaled_down(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(240, dtype=np.uint8)[:, None, None], (240, 200, 3))
    pictures = picture_of(ramp.copy(), tmp_path)
    batch = crops(pictures, generator(1, 0, STREAM_CROPS), 200, 80, shrink=4.0).double()
    ranges = (batch.amax((1, 2, 3)) - batch.amin((1, 2, 3)) + 1) / 80
    assert 70 < int((ranges == 1).sum()) < 130
    # By up to four, but the picture is only two and a half times as wide as a crop.
    assert float(ranges.max()) == pytest.approx(200 / 80, abs=0.05)
    # log(4) is cut at log(2.5), which a third of the scaled crops reach.
    scaled = ranges[ranges > 1]
    assert 0.2 < float((scaled > 2.4).double().mean()) < 0.5
    assert float(batch.diff(dim=2).abs().amax() + batch.diff(dim=3).abs().amax()) < 8


def test_batches_depend_on_seed_and_step_alone(folder: Path, tmp_path: Path) -> None:
    pictures = load_pictures([folder], tmp_path / "cache")

    def batch(seed: int, step: int) -> bytes:
        rng = generator(seed, step, STREAM_CROPS)
        return crops(pictures, rng, 3, 48, grain=3.0, shrink=1.5).numpy().tobytes()

    forwards = [batch(1, step) for step in range(5)]
    assert [batch(1, step) for step in reversed(range(5))] == forwards[::-1]
    assert len(set(forwards)) == 5
    assert batch(2, 0) != forwards[0]


def test_random_streams_differ() -> None:
    seeds = {torch_seed(s, step, stream) for s in (0, 1) for step in (0, 1) for stream in range(5)}
    assert len(seeds) == 20
    assert all(0 <= seed < 1 << 63 for seed in seeds)


def test_prefetching_gives_the_batch_of_the_step(folder: Path, tmp_path: Path) -> None:
    pictures = load_pictures([folder], tmp_path / "cache")
    prefetch = Prefetcher(lambda step: crops(pictures, generator(0, step, STREAM_CROPS), 2, 32))
    try:
        for step in (0, 1, 2, 7, 8, 3):
            expected = crops(pictures, generator(0, step, STREAM_CROPS), 2, 32)
            assert prefetch(step).equal(expected)
    finally:
        prefetch.close()


@pytest.fixture
def two(tmp_path: Path, photo: Image) -> list[Path]:
    """A folder of three pictures, all bright, and one of one dark picture."""
    for name in ("x/a.png", "x/b.png", "x/c.png", "y/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        PillowImage.fromarray(photo // 4 + (180 if name[0] == "x" else 0)).save(tmp_path / name)
    return [tmp_path / "x", tmp_path / "y"]


def test_several_folders_take_turns(two: list[Path], tmp_path: Path) -> None:
    pictures = load_pictures(two, tmp_path / "cache")
    assert pictures.names == ("x/a.png", "y/a.png", "x/b.png", "x/c.png")
    assert pictures.of_source == {"x/": [0, 2, 3], "y/": [1]}
    with pytest.raises(TrainingError, match="same name"):
        load_pictures([two[0], two[0]], tmp_path / "cache")


def test_folders_are_drawn_equally_often(two: list[Path], tmp_path: Path) -> None:
    batch = crops(load_pictures(two, tmp_path / "cache"), generator(0, 0, 0), 200, 32)
    dark = int((batch.float().mean((1, 2, 3)) < 100).sum())
    assert 75 <= dark <= 125  # drawn by picture, a quarter


def test_part_of_a_folder(two: list[Path], tmp_path: Path) -> None:
    x = two[0]
    first = load_pictures([x.with_name("x[:-1]")], tmp_path / "cache")
    last = load_pictures([x.with_name("x[-1:]"), two[1]], tmp_path / "cache")
    assert first.names == ("a.png", "b.png")
    assert last.names == ("x[-1:]/c.png", "y/a.png")
    with pytest.raises(TrainingError, match="leaves no picture"):
        list_files(x.with_name("x[5:]"))
    with pytest.raises(TrainingError, match="there is no folder"):
        list_files(x.with_name("z[:-1]"))
