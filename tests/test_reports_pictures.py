"""Pictures in the report: the decoded streams, exactly, within a budget, decoded once."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from bench import __main__ as bench_main
from bench import compare as bench_compare
from bench.record.manifest import Manifest
from bench.record.store import Store
from bench.run.decoding import decoders
from codecs.base import Image
from codecs.registry import create
from reports import pictures, showing
from reports.crops import make_crops, most_different
from tests.conftest import ROOT
from tests.reports_cases import comparison, kodak, ladder, made_up
from tests.reports_gallery import coded, original

TOY = str(ROOT / "tests" / "toys" / "coarse.py")


@pytest.fixture
def run(tmp_path, photo, monkeypatch, capfd, once) -> Path:
    """A run of JPEG and of somebody's codec in a file, with crops in its report."""

    def make(parent: Path) -> None:
        folder = parent / "pictures"
        folder.mkdir()
        for i, name in enumerate(("one.png", "<b>two.png")):
            PillowImage.fromarray(photo[i : i + 90, : 120 - 40 * i]).save(folder / name)
        arguments = ["--dataset", str(folder), "--metrics", "psnr", "--jobs", "1", "--quiet"]
        arguments += ["--anchor", "jpeg", "--run", str(parent / "r")]
        assert bench_main.main(["run", TOY, "jpeg", *arguments]) == 0

    shutil.copytree(once("pictures", make), tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "r"


def picture_data(page: Path) -> list[dict[str, Any]]:
    found = re.findall(r'id="picture-\d+">(.*?)</script>', page.read_text(), re.DOTALL)
    return [json.loads(text) for text in found]


def opened(uri: str) -> Image:
    data = base64.b64decode(uri.removeprefix("data:image/webp;base64,"))
    return np.asarray(PillowImage.open(io.BytesIO(data)).convert("RGB"))


def test_crops_are_the_decoded_streams_to_the_pixel(run, photo):
    manifest, store = Manifest.read(run), Store(run)
    rows = {(m.codec, m.image, m.point): m for m in store}
    checked = 0
    shown = picture_data(run / "report.html")
    assert len(shown) == 2
    for place, picture in enumerate(shown):
        image = sorted(p.name for p in manifest.pictures)[place]
        left, top, width, height = picture["box"]
        part = np.s_[top : top + height, left : left + width]
        source = photo[1:91, :80] if image == "<b>two.png" else photo[:90, :120]
        assert np.array_equal(opened(picture["crops"].pop("original")), source[part])
        for name, uri in picture["crops"].items():
            codec, point = map(int, name.split("-"))
            ladder_ = list(manifest.ladders.values())[codec]
            m = rows[ladder_.codec, image, ladder_.points[point]]
            stream = store.stream_path(m.key).read_bytes()
            decoded = create(TOY if codec == 0 else "jpeg").decode(stream)
            assert np.array_equal(opened(uri), decoded[part])
            assert picture["values"][name][0] == pytest.approx(m.bpp, abs=1e-5)
            checked += 1
    assert checked >= 4


def test_what_was_decoded_once_is_kept(run, monkeypatch):
    first = picture_data(run / "report.html")
    monkeypatch.setattr(
        "bench.run.decoding.Decoders.decode", lambda *given: pytest.fail("decoded again")
    )
    assert bench_main.main(["report", str(run), "--anchor", "jpeg"]) == 0
    assert picture_data(run / "report.html") == first
    for kept in (run / "pictures").iterdir():
        kept.write_text("{")
    with pytest.raises(pytest.fail.Exception):
        bench_main.main(["report", str(run), "--anchor", "jpeg"])


@pytest.mark.parametrize("part", ["thumbnail", "preview", "crops", "box"])
def test_what_somebody_wrote_into_the_kept_crops_stays_out(run, part):
    harm = '"><script>alert(1)</script>'
    for kept in (run / "pictures").iterdir():
        facts = json.loads(kept.read_text())
        value = {"crops": {"0-0": harm}, "box": [harm, 0, 1, 1]}.get(
            part, f"data:image/webp;base64,A{harm}"
        )
        kept.write_text(json.dumps(facts | {part: value}))
    assert bench_main.main(["report", str(run), "--anchor", "jpeg"]) == 0
    assert "alert(1)" not in (run / "report.html").read_text()
    assert len(picture_data(run / "report.html")) == 2  # made anew


def test_a_picture_too_large_to_hold_is_not_shown(run, monkeypatch):
    for kept in (run / "pictures").iterdir():
        kept.unlink()
    monkeypatch.setattr(pictures, "MOST_PIXELS", 90 * 100)
    assert bench_main.main(["report", str(run), "--anchor", "jpeg"]) == 0
    assert len(picture_data(run / "report.html")) == 1
    assert "one.png: it has more than" in (run / "report.html").read_text()


def test_whole_pictures_lie_beside_the_report(run):
    assert bench_main.main(["report", str(run), "--anchor", "jpeg", "--pictures", "full"]) == 0
    for picture in picture_data(run / "report.html"):
        assert {"original", "0-0", "1-0"} <= picture["files"].keys()
        left, top, width, height = picture["box"]
        for name, uri in picture["crops"].items():
            whole = np.asarray(PillowImage.open(run / picture["files"][name]).convert("RGB"))
            assert np.array_equal(whole[top : top + height, left : left + width], opened(uri))


def test_no_pictures_when_they_are_not_wanted(run):
    assert bench_main.main(["report", str(run), "--anchor", "jpeg", "--no-pictures"]) == 0
    assert picture_data(run / "report.html") == []


def test_a_stream_that_decodes_to_something_else_is_not_shown(run):
    store = Store(run)
    rows = [m for m in store if m.codec == "jpeg"]
    for m in rows:
        psnr = replace(m.metrics["psnr"], value=m.metric("psnr") + 0.02)
        store.append(replace(m, reconstruction_digest="0" * 64, metrics={"psnr": psnr}))
    store.stream_path(next(m for m in store if m.codec == "coarse").key).unlink()
    assert bench_main.main(["report", str(run), "--anchor", "jpeg"]) == 0
    text = (run / "report.html").read_text()
    assert "decodes to another picture than the one that was measured" in text
    for picture in picture_data(run / "report.html"):
        assert not [name for name in picture["crops"] if name.startswith("1-")]


def test_pictures_that_another_processor_rounds_otherwise_are_shown_and_said_to_be(
    run, monkeypatch
):
    store = Store(run)
    measured = picture_data(run / "report.html")
    for kept in (run / "pictures").iterdir():
        kept.unlink()
    for m in list(store):
        if m.codec == "coarse":  # the toy now adds 1 to three samples
            store.append(replace(m, rescored={"psnr": "of another picture"}))
    monkeypatch.setenv("TOY_ROUNDED_UP", "3")
    for _ in ("decoded", "kept"):
        assert bench_main.main(["report", str(run), "--anchor", "jpeg"]) == 0
        text = (run / "report.html").read_text()
        shown = picture_data(run / "report.html")
        assert [p["crops"].keys() for p in shown] == [p["crops"].keys() for p in measured]
        near = sum(1 for p in shown for name in p["crops"] if name.startswith("0-"))
        assert re.search(rf"{near} of the reconstructions that are shown (was|were) decoded", text)
        assert "PSNR within 0.01 dB" in text
        assert "slightly other reconstructions than the measured ones" in text


def test_pictures_are_shown_unasked_where_that_costs_little():
    few = comparison([*ladder("jpeg"), *ladder("vvenc")]).results
    assert showing._too_much(few, 1) == ""
    many = comparison(
        [*ladder("vvenc", images=[f"{i}.png" for i in range(31)])], anchor="vvenc"
    ).results
    assert "more than 30" in showing._too_much(many, 1)
    slow = [
        replace(row, decode=replace(row.decode, wall=60.0))  # type: ignore[type-var]
        for row in ladder("vvenc")
    ]
    results = comparison(slow).results
    plan = pictures.make_plan(results, whole=False)
    expected = 60.0 * len({(i, *shown) for (i, *_), shown in plan.chosen.items()})
    assert pictures.decoding_seconds(results, plan) == expected
    assert f"about {expected / 2 / 60:.0f} minutes" in showing._too_much(results, 2)


def test_each_codec_is_shown_at_the_point_nearest_in_log_rate():
    results = comparison([*ladder("jpeg", 2.0), *ladder("vvenc")]).results
    rates = (0.075, 0.15, 0.3)
    chosen = pictures.nearest_points(results, rates)
    for (image, rate, codec), (shown, point) in chosen.items():
        assert shown == codec
        bpp = results.codecs[codec].bpp[:, image]
        distances = [abs(np.log2(b / rates[rate])) for b in bpp]
        assert distances[point] == min(distances)
    assert len(chosen) == 3 * 3 * 2


def test_what_was_coded_to_a_rate_stands_for_its_codec_there():
    rows = ladder("vvenc")
    images = dict.fromkeys(m.image for m in rows)
    at_rate = [
        made_up(f"vvenc@0.15bpp{of}", image, 0, bytes=150)
        for of in ("", ":corpus")
        for image in images
    ]
    results = comparison([*ladder("jpeg", 2.0), *rows, *at_rate]).results
    jpeg, vvenc, coded, alike = range(4)
    chosen = pictures.nearest_points(results, (0.075, 0.15))
    places = range(len(images))
    assert {chosen[i, 1, vvenc] for i in places} == {(coded, 0)}
    assert {chosen[i, 1, coded] for i in places} == {(coded, 0)}
    assert {chosen[i, 1, alike] for i in places} == {(alike, 0)}
    assert {chosen[i, 0, vvenc][0] for i in places} == {vvenc}  # its own point is nearer to 0.075
    assert {chosen[i, 1, jpeg][0] for i in places} == {jpeg}


def test_twenty_four_pictures_of_six_codecs_keep_to_eight_megabytes():
    codecs = dict.fromkeys(("a", "b", "c", "d", "e", "vvenc"), 1.0)
    plan = pictures.make_plan(comparison(kodak(codecs)).results, whole=False)
    assert 24 * plan.share <= 7_600_000
    assert plan.size[0] >= 128
    assert plan.rates == plan.in_page == (0.15, 0.3)
    rng = np.random.default_rng(0)
    noise = {str(i): rng.integers(0, 256, (512, 768, 3), dtype=np.uint8) for i in range(12)}
    crops = make_crops(
        rng.integers(0, 256, (512, 768, 3), dtype=np.uint8), noise, plan.size, 150_000
    )
    uris = (crops.original, crops.preview, crops.thumbnail, *crops.crops.values())
    assert sum(map(len, uris)) <= 150_000 * 1.01  # nothing is harder to code than noise


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 40), st.integers(0, 40))
def test_the_crop_is_where_reconstructions_differ_most(width, height, x, y):
    rng = np.random.default_rng(0)
    base = rng.integers(100, 110, (100, 100, 3), dtype=np.uint8)
    other = base.copy()
    other[y : y + 20, x : x + 20] += 100
    left, top, w, h = most_different([base, other], (width, height))
    assert (w, h) == (width, height)
    inside = (min(left + w, x + 20) - max(left, x)) * (min(top + h, y + 20) - max(top, y))
    assert inside == min(20, w) * min(20, h)


def test_a_picture_smaller_than_a_crop_is_shown_whole():
    crops = make_crops(original(0)[:5, :7], {"k": coded(0, 50)[:5, :7]}, (96, 72), 100_000)
    assert crops.box == (0, 0, 7, 5)
    assert np.array_equal(opened(crops.original), original(0)[:5, :7])


def test_decoding_has_its_own_processes_and_says_why_it_failed(run):
    store = Store(run)
    rows = list(store)
    with store.locked(), decoders(store, {"coarse": "no-such-codec"}, 2) as pool:
        found = pool.decode(rows)
    for one in found:
        if one.measurement.codec == "coarse":
            assert one.image is None
            assert "no-such-codec" in one.reason
        else:
            assert one.image is not None
            assert one.image.shape == (one.measurement.height, one.measurement.width, 3)
    assert not list(run.glob(".bench-scratch-*"))


POSTERISED = """
import io
from pathlib import Path
import numpy as np
from PIL import Image
from codecs.base import Codec, Point

class Posterised(Codec):
    name = label = "posterised"
    version = "1"
    points = tuple(Point("q", q) for q in (1, 2, 3, 4))
    def encode(self, image, point):
        step = int(Path(__file__).with_name("step").read_text()) // point.value
        file = io.BytesIO()
        Image.fromarray(image // step * step).save(file, "PNG")
        return file.getvalue()
    def decode(self, data):
        return np.asarray(Image.open(io.BytesIO(data)))

def codec(variant=None):
    return Posterised()
"""


def test_before_and_after_are_shown_side_by_side(run):
    """Even where a codec has changed unnoticed, so that both runs file under the same keys."""
    folder = run.parent
    (folder / "mine.py").write_text(POSTERISED)
    for name, step in (("before", 96), ("after", 48)):
        (folder / "step").write_text(str(step))
        arguments = ["--dataset", str(folder / "pictures"), "--metrics", "psnr", "--quiet"]
        arguments += ["--run", name, "--jobs", "1", "--no-report"]
        assert bench_main.main(["run", "./mine.py", *arguments]) == 0
    keys = [{m.key for m in Store(folder / name)} for name in ("before", "after")]
    assert keys[0] == keys[1]
    assert bench_compare.main(["--before", "before", "--after", "after"]) == 0
    for picture in picture_data(folder / "after" / "before-after.html"):
        crops = {name: opened(uri) for name, uri in picture["crops"].items()}
        original = crops.pop("original")
        levels: dict[int, set[int]] = {0: set(), 1: set()}
        for name, crop in crops.items():
            codec, point = map(int, name.split("-"))
            step = (48, 96)[codec] // (point + 1)  # the later run comes first
            assert np.array_equal(crop, original // step * step)
            levels[codec].add(point)
        assert levels[0]
        assert levels[1]
