"""Studies with people: who is asked what, and what of their answers counts."""

from __future__ import annotations

import base64
import dataclasses
import io
import itertools
import json
import random
import re
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import bench
from bench import __main__ as bench_main
from bench.record.store import StoreError
from bench.study import votes
from bench.study.choice import choose
from bench.study.design import ORIGINAL, SPOILT, Study, design, studies
from bench.study.outcome import made, outcome
from bench.study.votes import VotesError, read_ballot
from reports import script, study_page, write_report
from reports.preference import as_text, preferred
from tests.helpers import collected, measurement, run_alone
from tests.reports_cases import PROVENANCE, plain
from tests.reports_cases import Page as ReadPage
from tests.reports_gallery import HOSTILE, NAMES, SIZES, original
from tests.study_cases import CODECS, ballot, decoded, designed, known, saved, written
from tests.test_commands import pictures
from tests.test_reports_safety import digest

PREFER = {"rdonet": 3, "jpeg": 1, "vvenc": 2}


def better(one: str, other: str) -> str:
    return max(one, other, key=PREFER.__getitem__)


# --- Which measurements


def rows(codec: str, *sizes: int, image: str = "a.png"):
    return [measurement(codec, image, size, size=size) for size in sizes]


def test_the_measurement_nearest_to_the_rate_stands_for_a_codec():
    # 100 x 80 pixels: 150 bytes are 0.15 bpp.
    results = collected(
        [*rows("jpeg", 90, 120, 200), *rows("webp", 300), *rows("jpeg@0.15bpp", 149)],
        metrics=("psnr",),
        dataset="test",
    )
    jpeg, webp = choose(results, 0.15)
    assert (jpeg.codec, jpeg.label) == ("jpeg", "JPEG")
    assert jpeg.measurements[0].bytes == 149
    assert jpeg.off[0] == pytest.approx(1 / 150)
    assert webp.off[0] == pytest.approx(1)
    (own,) = choose(results, 0.15, ["jpeg@0.15bpp"])
    assert own.codec == "jpeg@0.15bpp"


def test_a_point_for_all_pictures_is_taken_when_it_is_wanted():
    name = "jpeg@0.15bpp:corpus"
    found = [*rows(name, 100), *rows(name, 200, image="b.png"), *rows("jpeg", 120, 240)]
    results = collected(found, metrics=("psnr",), dataset="test")
    (ladder,) = choose(results, 0.15)
    assert ladder.measurements[0].bytes == 120
    assert 1 not in ladder.measurements
    (corpus,) = choose(results, 0.15, [name])
    assert [corpus.measurements[i].bytes for i in (0, 1)] == [100, 200]
    assert corpus.off == {0: 0, 1: 0}


# --- The design


def test_every_pair_of_codecs_is_asked_on_every_picture_once_in_each_block():
    study = designed()
    wanted = set(map(frozenset, itertools.combinations(CODECS, 2)))
    asked: Counter[tuple[int, frozenset[str]]] = Counter()
    for block in study.blocks:
        pairs = [frozenset(study.items[name].codec for name in pair) for pair in block]
        assert set(pairs) == wanted
        assert len(pairs) == len(wanted)
        for pair, codecs in zip(block, pairs, strict=True):
            (picture,) = {study.items[name].picture for name in pair}
            asked[picture, codecs] += 1
    assert set(asked.values()) == {1}
    assert len(asked) == len(wanted) * len(study.pictures)
    for pair in study.checks:
        whole, spoilt = (study.items[name] for name in pair)
        assert (whole.codec, spoilt.codec) == (ORIGINAL, SPOILT)
        assert whole.picture == spoilt.picture


def test_a_seed_makes_the_same_study_and_another_seed_another():
    assert designed(seed=5) == designed(seed=5)
    assert designed(seed=5).id == designed(seed=5).id
    assert len({designed(seed=seed).id for seed in range(9)}) == 9
    drawn = {tuple(p.name for p in designed(seed=seed, count=2).pictures) for seed in range(20)}
    assert len(drawn) == 3


def test_names_and_order_say_nothing_of_the_codec():
    """Sorted by name, as they stand in the page, every codec comes at every place."""
    places: dict[str, set[int]] = {codec: set() for codec in CODECS}
    rising: Counter[bool] = Counter()
    for seed in range(60):
        study = designed(seed=seed)
        assert list(study.items) == sorted(study.items)
        for place, item in enumerate(i for i in study.items.values() if i.picture == 0):
            places.get(item.codec, set()).add(place)
        for pair in itertools.chain(*study.blocks):
            one, other = (study.items[name].codec for name in pair)
            rising[one < other] += 1
    assert all(len(found) > 3 for found in places.values())
    assert 0.8 < rising[True] / max(1, rising[False]) < 1.25


def test_parts_lie_inside_and_are_drawn():
    boxes = set()
    for seed in range(20):
        for picture in designed(seed=seed).pictures:
            width, height = SIZES[NAMES.index(picture.name)]
            left, top, w, h = picture.box
            assert (left, top, w, h) == (0, 0, width, height)  # all are smaller than a part
    results, _ = known()
    large = dataclasses.replace(results, sizes=((2000, 1000),) * 3)
    for seed in range(20):
        chosen = choose(large, 0.4, CODECS)
        study = design(
            large,
            chosen,
            "vvenc",
            rate=0.4,
            tolerance=0.1,
            places=(0,),
            count=1,
            trials=3,
            seed=seed,
        )
        left, top, w, h = study.pictures[0].box
        assert 0 <= left <= 2000 - 512
        assert 0 <= top <= 1000 - 512
        assert (w, h) == (512, 512)
        boxes.add((left, top))
    assert len(boxes) == 20


def test_the_key_is_read_as_it_was_written_or_refused(tmp_path):
    study, path = written(tmp_path)
    assert list(studies(tmp_path)) == [path.parent]
    assert Study.read(path.parent) == study
    key = path.parent / "key.json"
    text = key.read_text()
    for harm in (text.replace("rdonet", "jpeg"), "[]", "[" * 100_000, text[:-9]):
        key.write_text(harm)
        with pytest.raises(StoreError, match="put the file back"):
            Study.read(path.parent)


# --- The page


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> tuple[Study, str]:
    study, path = written(tmp_path_factory.mktemp("page"), seed=987654321)
    return study, path.read_text(encoding="utf-8")


def document(text: str) -> dict:
    return json.loads(re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)[0])


def test_the_page_is_blind(page):
    study, text = page
    told = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text).lower()
    for word in (*CODECS, *NAMES, "bpp", "bench run", "<!--", str(study.seed)):
        assert word.lower() not in told, word
    for pair in itertools.chain(*study.blocks, study.checks):
        for name in pair:
            assert re.fullmatch("[0-9a-f]{5}", name)


def test_pictures_are_the_decoded_ones_and_nothing_else(page):
    study, text = page
    originals, images = decoded(study)
    data = document(text)
    for name, item in data["items"].items():
        known = study.items[name]
        assert item["picture"] == known.picture
        if known.codec == ORIGINAL:
            assert item["file"] == ""
            continue
        found = pixels(item["file"])
        if known.codec == SPOILT:
            error = np.abs(found.astype(int) - originals[known.picture]).mean()
            assert error > 25
        else:
            assert np.array_equal(found, images[name])
    for shown, whole in zip(data["pictures"], originals, strict=True):
        assert np.array_equal(pixels(shown["original"]), whole)


def pixels(uri: str) -> np.ndarray:
    """Of a WebP without loss that has no chunk besides the image."""
    data = base64.b64decode(uri.removeprefix("data:image/webp;base64,"))
    assert data[8:16] == b"WEBPVP8L"
    assert struct.unpack("<I", data[16:20])[0] + 20 >= len(data) - 1

    return np.asarray(Pillow.open(io.BytesIO(data)))


def test_a_flat_picture_is_spoilt_too():
    flat = np.full((200, 300, 3), 250, np.uint8)
    assert np.abs(study_page.spoilt(flat, 1).astype(int) - flat).mean() > 20


def test_the_page_keeps_to_a_size():
    first = designed()
    whole = len(study_page.page(first, *decoded(first))[1])
    budget = whole // 2
    study, text = study_page.page(first, *decoded(first), budget=budget)
    files = re.findall(r"data:image/webp;base64,[A-Za-z0-9+/=]+", text)
    assert sum(map(len, files)) <= budget
    for small, large in zip(study.pictures, first.pictures, strict=True):
        assert small.box[2] < large.box[2]
        assert small.box[0] + small.box[2] <= large.box[2]
        left, top, width, height = small.box
        part = original(NAMES.index(small.name))[top : top + height, left : left + width]
        assert any(np.array_equal(pixels(uri), part) for uri in files)
    assert study.id != first.id
    assert document(text)["study"] == study.id
    with pytest.raises(study_page.TooLarge, match="fewer --pictures"):
        study_page.page(first, *decoded(first), budget=9000)


def test_nothing_is_sent_and_nothing_foreign_runs(page):
    _, text = page
    policy = re.findall(r'Security-Policy" content="(.*?)"', text)[0].replace("&#39;", "'")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    (code,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert rules["script-src"] == f"'{digest(code)}'"
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function|"
        r"\bfetch\b|XMLHttpRequest|WebSocket|sendBeacon|\bimport\b|cookie|https?:"
    )
    assert not re.search(forbidden, code)
    folder = Path(script.__file__).parent / "static"
    names = {f"study/{path.name}" for path in (folder / "study").glob("*.js")}
    assert names == set(script.STUDY_FILES)
    for name in names:
        for line in (folder / name).read_text().splitlines():
            assert line.count("`") % 2 == 0, "a text spans lines: see `script._compact`"


# --- Votes


def test_votes_are_read(tmp_path):
    study = designed()
    path = saved(tmp_path / "v.json", ballot(study, choose=better))
    found = read_ballot(path, {study.id: study})
    assert found.participant == "AAAAAAAA"
    assert len(found.votes) == 9 + len(study.checks)
    assert not votes.failed(found, study)


def vote(**changes):
    """A change of the first vote."""

    def change(raw):
        raw["votes"][0] |= changes

    return change


IMPOSSIBLE = {
    "another format": lambda raw: raw.update(format=2),
    "another kind": lambda raw: raw.update(kind="x"),
    "another study": lambda raw: raw.update(study="0" * 12),
    "study no text": lambda raw: raw.update(study=["a"]),
    "no participant": lambda raw: raw.pop("participant"),
    "a name": lambda raw: raw.update(participant="<b>eight</b>"),
    "a code with a line": lambda raw: raw.update(participant="AAAAAAAA\n"),
    "no votes": lambda raw: raw.update(votes=[]),
    "votes no list": lambda raw: raw.update(votes={"a": 1}),
    "a vote no object": lambda raw: raw["votes"].append(3),
    "a pair twice": lambda raw: raw["votes"].append(raw["votes"][0]),
    "an unknown item": vote(left="zzzzz"),
    "an item twice": lambda raw: raw["votes"][0].update(left=raw["votes"][0]["right"]),
    "a list for an item": vote(left=[]),
    "none chosen": vote(chosen="neither"),
    "no time": lambda raw: raw["votes"][0].pop("milliseconds"),
    "a time before": vote(milliseconds=-1),
    "a time of days": vote(milliseconds=1e9),
    "a time in words": vote(milliseconds="1500"),
    "a time that is true": vote(milliseconds=True),
    "no number": vote(scale=float("nan")),
    "no end": vote(scale=float("inf")),
}


@pytest.mark.parametrize("harm", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_nobody_can_have_voted_is_refused(tmp_path, harm):
    study = designed()
    raw = ballot(study)
    harm(raw)
    with pytest.raises(VotesError, match=r"leave it out|name the run"):
        read_ballot(saved(tmp_path / "v.json", raw), {study.id: study})


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe", b"[" * 200_000, b"3", b'{"a": ' + b"9" * 5000 + b"}", b" " * 4_000_001],
)
def test_what_is_no_ballot_is_refused(tmp_path, data):
    path = tmp_path / "v.json"
    path.write_bytes(data)
    with pytest.raises(VotesError, match="leave it out"):
        read_ballot(path, {})


def test_a_pair_of_two_pictures_is_no_pair(tmp_path):
    study = designed()
    raw = ballot(study)
    other = next(
        n
        for n, i in study.items.items()
        if i.picture != study.items[raw["votes"][0]["left"]].picture
    )
    raw["votes"][0] |= {"right": other, "chosen": other}
    with pytest.raises(VotesError, match="not asked"):
        read_ballot(saved(tmp_path / "v.json", raw), {study.id: study})


def test_a_participant_counts_once_with_the_larger_file(tmp_path):
    study = designed()
    whole = ballot(study)
    part = {**whole, "votes": whole["votes"][:4]}
    changed = {**whole, "seed": 2}
    files = [
        saved(tmp_path / f"{i}.json", raw) for i, raw in enumerate((part, whole, changed, part))
    ]
    read = [read_ballot(path, {study.id: study}) for path in files]
    kept, others = votes.largest(read)
    assert [one.file for one in kept] == ["2.json"]
    assert [one.file for one in others] == ["0.json", "1.json", "3.json"]


def read_all(study: Study, folder: Path, *raw: dict) -> tuple[votes.Ballot, ...]:
    return tuple(
        read_ballot(saved(folder / f"{i}.json", one), {study.id: study})
        for i, one in enumerate(raw)
    )


def test_who_does_not_look_is_left_out(tmp_path):
    study = designed()
    unchecked = ballot(study, "CCCCCCCC")
    unchecked["votes"] = unchecked["votes"][:5]
    found = made(
        study,
        read_all(
            study,
            tmp_path,
            ballot(study, "AAAAAAAA", better),
            ballot(study, "BBBBBBBB", min, attentive=False),
            unchecked,
        ),
        "today",
    )
    assert dict(found.left_out) == {
        "BBBBBBBB": "3 of 3 attention checks wrong",
        "CCCCCCCC": "came to no attention check",
    }
    assert (found.participants, found.votes) == (1, 9)
    assert found.preferences
    assert found.preferences.wins[CODECS.index("rdonet")].sum() == 6
    text = as_text(preferred(found))
    left = [v["chosen"] == v["left"] for v in ballot(study, "AAAAAAAA", better)["votes"][:9]]
    assert f"9, 1.5 s each (median), {100 * np.mean(left):.0f} % of them for the picture" in text
    assert "participant BBBBBBBB: 3 of 3 attention checks wrong" in text


def test_no_vote_that_counts_is_said(tmp_path):
    study = designed()
    found = made(study, read_all(study, tmp_path, ballot(study, attentive=False)), "today")
    assert found.preferences is None
    assert "no vote counts" in as_text(preferred(found))
    text = write_report(tmp_path, [plain()], PROVENANCE, outcomes=[found]).read_text()
    assert "no vote counts" in text


def crowd(study: Study, folder: Path, people: int = 12, favour: float = 0.8) -> tuple:
    """Participants who prefer as `PREFER` has it, but for some of their votes."""
    random_ = random.Random(4)

    def choose(one: str, other: str) -> str:
        best = better(one, other)
        return best if random_.random() < favour else ({one, other} - {best}).pop()

    codes = [f"AAAAAA{a}{b}" for a in "ABCD" for b in "ABCD"][:people]
    return read_all(study, folder, *(ballot(study, code, choose) for code in codes))


# --- The report


def test_the_report_tells_what_people_preferred(tmp_path):
    study = designed()
    found = made(study, crowd(study, tmp_path), "2026-01-31T12:00:00Z")
    shown = preferred(found, {"jpeg": 0, "vvenc": -1})
    assert [one.codec for one in shown.codecs] == ["rdonet", "vvenc", "jpeg"]
    rdonet, vvenc, jpeg = shown.codecs
    assert (vvenc.share, vvenc.points, vvenc.at) == ("anchor", "0", shown.zero)
    assert rdonet.at > shown.zero > jpeg.at
    assert found.preferences
    difference = found.preferences.differences[CODECS.index("rdonet"), CODECS.index("vvenc")]
    assert rdonet.points == f"{difference * 400 / np.log(10):+.0f}"
    assert rdonet.share == f"{100 / (1 + np.exp(-difference)):.0f} %"
    spent = {c: [i.bpp for i in study.items.values() if i.codec == c] for c in CODECS}
    assert rdonet.rate == f"{np.mean(spent['rdonet']):.4f}"
    assert rdonet.ratio == f"{np.mean(spent['rdonet']) / np.mean(spent['vvenc']):.3f}"
    assert rdonet.low < rdonet.at < rdonet.high
    path = write_report(tmp_path, [plain()], PROVENANCE, outcomes=[found])
    text = path.read_text(encoding="utf-8")
    assert '<a href="#preferred">What people preferred</a>' in text
    tables = [
        rows
        for attributes, rows in ReadPage(text).tables
        if "preferred" in (attributes.get("class") or "")
    ]
    assert [row[0] for row in tables[0][1:]] == ["RDONETrdonet", "VVENCvvenc", "JPEGjpeg"]
    assert rdonet.share_interval in tables[0][1][2]
    assert "12 participants said 108 times" in text
    assert f"{study.id}, seed 1; votes read in 2026-01-31T12:00:00Z" in text


def test_without_votes_the_report_says_nothing_of_people(tmp_path):
    text = write_report(tmp_path, [plain()], PROVENANCE).read_text(encoding="utf-8")
    assert "What people preferred" not in text


def test_what_votes_do_not_bound_has_no_figure(tmp_path):
    study = designed()
    found = made(study, crowd(study, tmp_path, favour=1.0), "today")
    rdonet, _, jpeg = preferred(found).codecs
    assert (rdonet.share, rdonet.remark) == ("no bound", "won every vote")
    assert (jpeg.points, jpeg.remark) == ("no bound", "lost every vote")
    assert np.isnan(rdonet.low)
    assert np.isfinite(rdonet.at)


def test_names_that_mean_harm_do_none(tmp_path):
    study = dataclasses.replace(designed(), labels={name: f"{name} {HOSTILE}" for name in CODECS})
    found = made(study, crowd(study, tmp_path), "today")
    found = dataclasses.replace(found, files=((HOSTILE, "0" * 64),), read=HOSTILE)
    text = write_report(tmp_path, [plain()], PROVENANCE, outcomes=[found]).read_text()
    page, _, _ = text.partition('<script type="application/json"')
    assert "<script>alert" not in page
    assert "<img src=x" not in page


# --- The command


@pytest.fixture(scope="module")
def run(tmp_path_factory, photo) -> Path:
    base = tmp_path_factory.mktemp("study")
    folder = pictures(base, photo)
    run_alone(folder, base / "run", "jpeg@20,50", "webp@20,50")
    return base / "run"


def test_from_a_run_to_its_report(run, tmp_path, capsys):
    rate = f"{bench.load(run).bpp.min():.2f}"
    asked = ["study", str(run), "--at", f"{rate}bpp", "--seed", "7", "--tolerance", "300"]
    assert bench_main.main(asked) == 0
    told = capsys.readouterr().err
    (folder,) = studies(run)
    assert f"send out this file alone, not the key beside it: {folder / 'study.html'}" in told
    study = Study.read(folder)
    assert study.codecs == ("jpeg", "webp")
    before = (folder / "study.html").read_bytes()
    assert bench_main.main(asked) == 0
    assert (folder / "study.html").read_bytes() == before

    assert bench_main.main(["report", str(run), "--no-pictures"]) == 0
    assert "What people preferred" not in (run / "report.html").read_text()
    good = saved(tmp_path / "good.json", ballot(study, "AAAAAAAA", min))
    other = saved(tmp_path / "other.json", ballot(study, "BBBBBBBB", max))
    bad = saved(tmp_path / "bad.json", {**ballot(study), "votes": [{}]})
    capsys.readouterr()
    assert bench_main.main(["study", str(run), *map(str, (good, bad, other))]) == 1
    captured = capsys.readouterr()
    assert f"{bad} is not counted: a vote is impossible" in captured.err
    assert "2 participants said 4 times" in captured.out
    assert "2 participants said 4 times" in (run / "report.html").read_text()
    assert bench_main.main(["report", str(run), "--no-pictures"]) == 0
    assert "2 participants said 4 times" in (run / "report.html").read_text()
    found = outcome(folder)
    assert found
    assert found.files[0][0] == "good.json"
    (folder / "votes.json").write_text("{")
    assert bench_main.main(["report", str(run), "--no-pictures"]) == 0
    assert "read the files of votes in again" in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name a rate"),
        (["--at", "0.0001"], "every picture is off 0.0001 bpp by more than 10 %"),
        (["--at", "0.0001"], "jpeg@0.0001bpp webp@0.0001bpp --dataset"),
        (["--at", "1", "--codecs", "jpeg", "nobody"], "nobody: not in"),
        (["--at", "1", "--codecs", "jpeg"], "two codecs at least"),
        (["votes.json", "--at", "1"], "either --at RATE makes a page"),
    ],
)
def test_what_cannot_be_asked_is_said(run, arguments, told, capsys):
    assert bench_main.main(["study", str(run), *arguments]) == 2
    assert told in capsys.readouterr().err


def test_votes_without_a_study_are_said(tmp_path, capsys):
    assert bench_main.main(["study", str(tmp_path), "votes.json"]) == 2
    assert "has no study; make one" in capsys.readouterr().err
