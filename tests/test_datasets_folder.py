"""Names, folders and the cuts that need no download."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as PillowImage

from datasets import cache, samples
from datasets.base import DatasetError, ImageRefused
from datasets.loading import load_image, load_ref
from datasets.registry import NAMES, available, open_dataset
from tests.datasets_fixtures import encoded, picture, png16


@pytest.fixture
def cache_root(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "photos"
    path.mkdir()
    return path


def test_folder_in_natural_order_with_refused_files_listed(folder):
    for name in ("img10.png", "img2.png", "IMG1.PNG", "b.png"):
        (folder / name).write_bytes(encoded(picture()))
    (folder / "portrait.jpg").write_bytes(encoded(picture(60, 40), "JPEG"))
    (folder / "deep.png").write_bytes(png16(np.zeros((4, 4, 3), np.uint16)))
    (folder / "empty.webp").touch()
    (folder / "phone.heic").write_bytes(b"....ftypheic")
    (folder / "text.png").write_text("not a picture")
    (folder / "gone.png").symlink_to(folder / "nowhere")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    for name in ("notes.txt", ".hidden.png", "Makefile"):
        (folder / name).write_bytes(encoded(picture()))
    (folder / "sub.png").mkdir()
    (folder / "sub.png" / "deeper.png").write_bytes(encoded(picture()))
    (folder / "self").symlink_to(folder)

    dataset = open_dataset(str(folder))
    names = [image.name for image in dataset.images]
    assert names == ["b.png", "IMG1.PNG", "img2.png", "img10.png", "portrait.jpg"]
    assert (dataset.images[-1].width, dataset.images[-1].height) == (40, 60)
    assert dataset.images[0].digest == hashlib.sha256(encoded(picture())).hexdigest()
    assert (dataset.name, dataset.source) == ("photos", str(folder))
    reasons = dict(dataset.skipped)
    assert set(reasons) == {
        *("deep.png", "empty.webp", "phone.heic", "text.png", "gone.png", "loop.png")
    }
    assert "16 bits" in reasons["deep.png"]
    assert "empty" in reasons["empty.webp"]
    assert "magick" in reasons["phone.heic"]
    assert "cannot be opened" in reasons["loop.png"]


def test_limit_counts_good_pictures_only(folder):
    (folder / "a.png").touch()
    for name in "bcd":
        (folder / f"{name}.png").write_bytes(encoded(picture()))
    dataset = open_dataset(str(folder), limit=2)
    assert [image.name for image in dataset.images] == ["b.png", "c.png"]
    assert [name for name, _ in dataset.skipped] == ["a.png"]
    for limit in (0, -1):
        with pytest.raises(DatasetError, match="at least one"):
            open_dataset(str(folder), limit=limit)


def test_names_are_opaque_text(folder):
    odd = ["<script>alert(1)<&.png", "a..%2f..\n;rm -rf $HOME.png", "ünï 写真.png", "{{7*7}}.png"]
    for name in odd:
        (folder / name).write_bytes(encoded(picture()))
    raw = os.fsencode(folder) + b"/\xff\xfe.png"
    with open(raw, "wb") as file:
        file.write(encoded(picture()))
    dataset = open_dataset(str(folder))
    assert {image.name for image in dataset.images} == {*odd, r"\xff\xfe.png"}
    for image in dataset.images:
        image.name.encode()
        np.testing.assert_array_equal(load_ref(image), picture())


def test_links_out_of_the_folder_are_followed(folder, tmp_path):
    (tmp_path / "elsewhere.png").write_bytes(encoded(picture()))
    (folder / "a.png").symlink_to(tmp_path / "elsewhere.png")
    assert [image.name for image in open_dataset(str(folder)).images] == ["a.png"]


def test_empty_folders_and_folders_of_rubbish_are_errors(folder):
    with pytest.raises(DatasetError, match=r"no pictures in .*PNG, JPEG"):
        open_dataset(str(folder))
    (folder / "a.png").touch()
    with pytest.raises(DatasetError, match=r"no picture .* 1 refused, the first: a\.png is empty"):
        open_dataset(str(folder))


def test_one_picture_is_a_data_set(folder):
    (folder / "a.png").write_bytes(encoded(picture()))
    dataset = open_dataset(str(folder / "a.png"))
    assert (dataset.name, len(dataset.images)) == ("a.png", 1)
    (folder / "b.png").touch()
    with pytest.raises(ImageRefused, match=r"b\.png: is empty"):
        open_dataset(str(folder / "b.png"))


def test_unknown_names_get_a_suggestion(cache_root):
    with pytest.raises(DatasetError, match=r"Did you mean kodak\?.*samples, kodak, clic22"):
        open_dataset("Kodac")
    with pytest.raises(DatasetError, match=r"'clic2022'.*Did you mean clic22"):
        open_dataset("clic2022")
    with pytest.raises(DatasetError) as caught:
        open_dataset("/no/such/folder")
    assert "Did you mean" not in str(caught.value)
    assert [name for name, _ in available()] == list(NAMES)


def test_listing_imports_nothing_heavy():
    code = (
        "import sys; from datasets.registry import available; available();"
        "print([m for m in ('numpy', 'PIL', 'skimage', 'pooch', 'torch', 'requests')"
        " if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.strip() == "[]"


def test_samples_are_the_photographs_of_scikit_image(cache_root):
    import skimage.io
    from skimage import data

    dataset = open_dataset("samples")
    assert len(dataset.images) == 6
    photographs = {"astronaut.png": data.astronaut(), "chelsea.png": data.chelsea()}
    photographs |= {"coffee.png": data.coffee(), "rocket.png": data.rocket()}
    for image, cut in zip(dataset.images, samples.CUTS, strict=True):
        pixels = load_ref(image)
        assert pixels.shape == (image.height, image.width, 3)
        assert min(pixels.shape[:2]) >= 192  # MS-SSIM needs more than 160
        np.testing.assert_array_equal(skimage.io.imread(image.path), pixels)
        if image.name in photographs:
            rows = slice(cut.top, cut.top + cut.height)
            columns = slice(cut.left, cut.left + cut.width)
            np.testing.assert_array_equal(pixels, photographs[image.name][rows, columns])
    assert any(image.width % 2 and image.height % 2 for image in dataset.images)
    assert any(image.height > image.width for image in dataset.images)
    assert sum(image.width * image.height for image in dataset.images) < 450_000
    assert [image.name for image in open_dataset("samples", limit=2).images] == [
        *("astronaut.png", "chelsea.png")
    ]


def test_samples_repair_a_damaged_cache(cache_root):
    first = open_dataset("samples").images[0]
    first.path.write_bytes(b"half a fi")
    again = open_dataset("samples").images[0]
    assert again == first
    load_image(again.path)
    assert not list((cache_root / "samples").glob(".*.png.*"))


def test_samples_of_another_scikit_image_are_refused(cache_root, monkeypatch):
    wrong = samples.Cut("a.png", "astronaut.png", 89, 4, 256, 272, samples.CUTS[0].digest)
    monkeypatch.setattr(samples, "CUTS", (wrong,))
    with pytest.raises(DatasetError, match=r"cut a\.png of .*astronaut\.png comes out different"):
        open_dataset("samples")
    monkeypatch.setattr(samples, "CUTS", (samples.Cut("a.png", "no.png", 0, 0, 1, 1, ""),))
    with pytest.raises(DatasetError, match=r"no\.png cannot be read"):
        open_dataset("samples")


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (300, 250)], ids=str)
def test_uncompressed_png_is_read_by_pillow(size):
    pixels = picture(*size)
    with PillowImage.open(io.BytesIO(samples.encode_png(pixels))) as image:
        image.verify()  # checksums of all chunks
    with PillowImage.open(io.BytesIO(samples.encode_png(pixels))) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_unusable_cache_is_a_clear_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DatasetError, match=r"cache folder .*set BENCH_CACHE"):
        open_dataset("samples")


def test_failed_writes_leave_nothing(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "replace", fail)
    with pytest.raises(DatasetError, match="cannot be written: No space left"):
        cache.write_atomically(tmp_path / "a", b"x")
    assert list(tmp_path.iterdir()) == []
