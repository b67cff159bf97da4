"""FID and KID over patches: the arithmetic by its formulas, the patches, the weights, the command.

Inception's weights are in no package: a stand-in takes the network's place where only its place
matters."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image as Pillow
from skimage import data

from bench import __main__ as bench_main
from bench.metrics import MetricUnavailable, inception, weights
from bench.run.settings import wanted_metrics
from codecs.base import Image
from tests.helpers import run_alone

torch.set_num_threads(1)
PHOTO = np.concatenate([data.astronaut(), data.coffee()[:, :512].repeat(2, 0)[:512]])[:, :400]
"""1024 x 400."""


def sets(seed: int = 0, count: int = 60, size: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((size, size))
    return rng.standard_normal((count, size)) @ mixed, 0.3 + rng.standard_normal((count, size))


def test_fid_is_its_formula():
    """|m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2)), by SciPy's root of a matrix."""
    a, b = sets()
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(c1 @ c2).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c1 + c2 - 2 * root)
    assert inception.distances(a, b).fid == pytest.approx(expected, rel=1e-9)
    assert inception.distances(a, a).fid == pytest.approx(0, abs=1e-9)


def test_kid_is_its_formula():
    """The unbiased estimate of the squared distance of means under (x.y / d + 1)^3."""
    a, b = sets()
    count, size = a.shape

    def kernel(x, y):
        return (x @ y / size + 1) ** 3

    own = sum(
        kernel(s[i], s[j]) for s in (a, b) for i in range(count) for j in range(count) if i != j
    )
    cross = sum(kernel(x, y) for x in a for y in b)
    expected = own / (count * (count - 1)) - 2 * cross / count**2
    assert inception.distances(a, b).kid == pytest.approx(expected, rel=1e-9)


def test_kid_of_large_sets_is_a_mean_over_subsets_and_always_the_same(monkeypatch):
    monkeypatch.setattr(inception, "SUBSET", 40)
    a, b = sets()
    first = inception.distances(a, b).kid
    assert inception.distances(a, b).kid == first
    monkeypatch.setattr(inception, "SUBSET", 60)
    whole = inception.distances(a, b).kid
    assert first != whole
    assert first == pytest.approx(whole, rel=0.2)


def test_no_fid_from_fewer_patches_than_features():
    a, b = sets(count=5)
    assert inception.distances(a, b).fid is None
    with pytest.raises(ValueError, match="a set of 1 patches of 256 x 256"):
        inception.distances(a[:1], b[:1])


@pytest.mark.parametrize(
    ("height", "width", "count"),
    [(512, 768, 8), (256, 256, 1), (255, 900, 0), (400, 600, 2), (600, 600, 5), (1, 1, 0)],
)
def test_patches_are_those_of_hific(height, width, count):
    """floor(H / 256) floor(W / 256) and (floor(H / 256) - 1) (floor(W / 256) - 1) shifted by half:
    8 of a picture of Kodak's, 192 of the set (Mentzer et al., NeurIPS 2020)."""
    tall, wide = height // 256, width // 256
    assert count == tall * wide + max(tall - 1, 0) * max(wide - 1, 0)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    found = inception.patches(image)
    assert found.shape == (count, 3, 256, 256)
    if count:
        assert (found[0] == image[:256, :256].transpose(2, 0, 1)).all()
    if tall > 1 and wide > 1:
        assert (found[tall * wide] == image[128:384, 128:384].transpose(2, 0, 1)).all()


@pytest.fixture
def places(tmp_path, monkeypatch) -> Path:
    """A machine without weights, and where they may be put."""
    folder = tmp_path / "data" / "inception"
    folder.mkdir(parents=True)
    monkeypatch.setenv("BENCH_DATA", str(folder.parent))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "CHECKOUT", tmp_path / "checkout")
    return folder


def test_without_weights_it_says_what_to_put_where(places):
    said = f"weights of Inception were not found: put https://.*{inception.FILE} into {places}"
    with pytest.raises(MetricUnavailable, match=said):
        inception.extractor()


def test_other_weights_are_refused_unopened(places, monkeypatch):
    (places / inception.FILE).write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("opened"))
    with pytest.raises(MetricUnavailable, match="is damaged: download https://"):
        inception.extractor()


def test_the_network_gives_2048_features_of_a_patch(places, monkeypatch):
    """torch-fidelity's own network, with random weights in a file that counts as the pinned one."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    monkeypatch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *a, **k: None)
    (places / inception.FILE).write_bytes(b"")
    torch.save({}, places / inception.FILE)
    digest = hashlib.sha256((places / inception.FILE).read_bytes()).hexdigest()
    monkeypatch.setattr(inception, "SHA256", digest)
    monkeypatch.setattr(inception, "BATCH", 2)
    extract = inception.extractor()
    found = extract(inception.patches(PHOTO[:800, :300]))
    assert found.shape == (3, 2048)
    assert (found[0] != found[1]).any()
    assert extract(inception.patches(PHOTO[:9, :9])).shape == (0, 2048)


def colours(patches: np.ndarray) -> np.ndarray:
    """A stand-in for the network: mean and deviation of each colour."""
    return np.concatenate([patches.mean((2, 3)), patches.std((2, 3))], axis=1)


def test_a_run_gets_a_table_of_its_points(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "pictures"
    folder.mkdir()
    pictures = [PHOTO, np.ascontiguousarray(PHOTO[::-1])]
    for number, picture in enumerate(pictures):
        Pillow.fromarray(picture).save(folder / f"{number}.png")
    run = tmp_path / "run"
    run_alone(folder, run, "jpeg@10,90")
    monkeypatch.setattr(inception, "extractor", lambda: colours)
    assert bench_main.main(["fid", str(run), "jpeg"]) == 0
    said = capsys.readouterr().out
    with (run / "fid.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["point"] for row in rows] == ["quality 10", "quality 90"]
    whole = np.concatenate([colours(inception.patches(picture)) for picture in pictures])
    for row, quality in zip(rows, (10, 90), strict=True):
        theirs = [
            colours(inception.patches(picture_of(run, quality, number))) for number in range(2)
        ]
        expected = inception.distances(whole, np.concatenate(theirs))
        assert float(row["kid"]) == pytest.approx(expected.kid, rel=1e-9)
        assert float(row["fid"]) == pytest.approx(expected.fid, rel=1e-6)
        assert (row["patches"], row["reason"]) == ("8", "")
        assert f"jpeg quality {quality}:" in said
    assert float(rows[0]["fid"]) > float(rows[1]["fid"])

    # A stream that was lost leaves its point without a value, and says so.
    for stream in (run / "streams").iterdir():
        stream.unlink()
    assert bench_main.main(["fid", str(run)]) == 1
    assert "no value: 0.png: the stream was not kept" in capsys.readouterr().out


def picture_of(run: Path, quality: int, number: int) -> Image:
    from bench.record.store import Store
    from codecs.registry import create

    (found,) = [m for m in Store(run) if m.value == quality and m.image == f"{number}.png"]
    kept = Store(run).kept(found)
    assert kept
    return create("jpeg").decode(kept.read_bytes())


def test_what_cannot_be_compared_is_told(tmp_path, places, monkeypatch, capsys):
    assert bench_main.main(["fid", str(tmp_path)]) == 2
    assert "FID and KID are unavailable: the weights" in capsys.readouterr().err
    monkeypatch.setattr(inception, "extractor", lambda: colours)
    assert bench_main.main(["fid", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err
    with pytest.raises(KeyError, match=r"FID is of sets, not of a picture: .* bench fid RUN"):
        wanted_metrics(["psnr", "FID"])
