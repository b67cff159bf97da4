"""Runs from end to end, with well-behaved codecs and with others."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from bench.metrics.base import MetricValue
from bench.record.manifest import Manifest
from bench.record.store import Store, StoreError
from bench.run.execute import execute
from bench.run.progress import Progress
from bench.run.replay import is_reproduced
from bench.run.settings import RunSettings, default_directory
from bench.verdict.results import collect
from datasets.registry import open_dataset
from tests.conftest import ROOT
from tests.helpers import begin_with
from tests.reports_cases import made_up

TOY = str(Path(__file__).parent / "toys" / "coarse.py")
POINTS = 6


@pytest.fixture
def folder(tmp_path, photo) -> Path:
    return pictures(tmp_path, photo)


def pictures(where: Path, photo) -> Path:
    folder = where / "images"
    folder.mkdir()
    for i in range(2):
        PillowImage.fromarray(np.ascontiguousarray(photo[i * 5 :, i * 9 :])).save(
            folder / f"{i}.png"
        )
    return folder


@pytest.fixture
def measured(folder, photo, once) -> None:
    """The run directory has all measurements of the toy codec, made in two lanes."""
    earlier = once("toy", lambda where: measure(pictures(where, photo), jobs=2))
    begin_with(folder.parent / "run", earlier / "run", "coarse")


def settings(folder: Path, **changes) -> RunSettings:
    values = {
        "codecs": (TOY,),
        "dataset": str(folder),
        "directory": folder.parent / "run",
        "metrics": ("psnr",),
        "jobs": 1,
    }
    return RunSettings(**{**values, **changes})


def measure(folder: Path, **changes):
    return execute(settings(folder, **changes), Progress(quiet=True))


def rows(folder: Path):
    return list(Store(folder.parent / "run"))


def test_a_run_measures_real_files(folder):
    outcome = measure(folder, jobs=2)
    assert outcome.failed == 0
    found = rows(folder)
    assert len(found) == 2 * POINTS
    for row in found:
        stream = Store(folder.parent / "run").stream_path(row.key)
        assert row.bytes == stream.stat().st_size
        assert row.bpp == 8 * row.bytes / (row.width * row.height)
        # The upper bits alone: the error is that of a uniform quantiser.
        assert row.metric("psnr") == pytest.approx(10.8 + 6.02 * (row.value - 0), abs=4)
        assert row.jobs == 2
    manifest = Manifest.read(folder.parent / "run")
    curve = collect(
        found, tuple(manifest.ladders.values()), manifest.pictures, metrics=("psnr",), dataset=""
    ).codec("coarse")
    assert (np.diff(curve.bpp, axis=0) > 0).all()
    assert (np.diff(curve.metric("psnr"), axis=0) > 0).all()


def test_a_second_run_has_nothing_to_do(folder, tmp_path, monkeypatch):
    measure(folder)
    log = tmp_path / "log"
    monkeypatch.setenv("TOY_LOG", str(log))
    outcome = measure(folder)
    assert (len(outcome.plan.tasks), outcome.plan.done) == (0, 2 * POINTS)
    assert not log.exists()


@pytest.mark.usefixtures("measured")
def test_a_new_metric_scores_kept_streams_without_encoding(folder, tmp_path, monkeypatch):
    measure(folder)
    before = {row.key: row for row in rows(folder)}
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    measure(folder, metrics=("psnr", "psnr-y"))
    assert not (tmp_path / "log").exists()
    for row in rows(folder):
        assert row.metric("psnr-y") > 10
        assert row.metric("psnr") == before[row.key].metric("psnr")
        assert row.encode == before[row.key].encode


@pytest.mark.usefixtures("measured")
def test_a_failed_scoring_of_kept_streams_loses_nothing(folder, monkeypatch):
    measure(folder)
    before = {row.key: row for row in rows(folder)}
    monkeypatch.setenv("TOY_DECODE", "hang")
    outcome = measure(folder, metrics=("psnr", "psnr-y"), time_limit=1.0, limit=1)
    assert outcome.failed == POINTS
    for row in (row for row in rows(folder) if row.image == "0.png"):
        assert row.status == "ok"
        assert "cannot be decoded" in row.metrics["psnr-y"].reason
        assert row.metrics["psnr"] == before[row.key].metrics["psnr"]
    monkeypatch.delenv("TOY_DECODE")
    assert measure(folder, metrics=("psnr", "psnr-y")).failed == 0
    for row in rows(folder):
        assert row.metric("psnr-y") > 10
        # The time, the company and the machine are those of the timings.
        assert (row.time, row.jobs, row.host) == (before[row.key].time, 2, before[row.key].host)


@pytest.mark.usefixtures("measured")
def test_a_kept_stream_that_decodes_to_slightly_another_picture_is_scored_not_coded(
    folder, tmp_path, monkeypatch
):
    measure(folder)
    before = {row.key: row for row in rows(folder)}
    log = tmp_path / "log"
    monkeypatch.setenv("TOY_LOG", str(log))
    monkeypatch.setenv("TOY_ROUNDED_UP", "3")
    assert measure(folder, metrics=("psnr", "psnr-y")).failed == 0
    assert not log.exists()
    for row in rows(folder):
        old = before[row.key]
        assert (row.metrics["psnr"], row.encode) == (old.metrics["psnr"], old.encode)
        assert row.reconstruction_digest == old.reconstruction_digest
        assert row.metric("psnr-y") > 10
        assert list(row.rescored) == ["psnr-y"]
        assert row.rescored["psnr-y"] != row.reconstruction_digest
    monkeypatch.delenv("TOY_ROUNDED_UP")
    measure(folder, metrics=("psnr", "psnr-y", "ms-ssim"))
    assert {tuple(row.rescored) for row in rows(folder)} == {("psnr-y",)}


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("spoilt", ["TOY_ROUNDED_UP", "TOY_DECODE"])
def test_a_kept_stream_that_decodes_to_really_another_picture_is_coded_again(
    folder, tmp_path, monkeypatch, spoilt
):
    measure(folder)
    before = {row.key: row for row in rows(folder)}
    log = tmp_path / "log"
    monkeypatch.setenv("TOY_LOG", str(log))
    monkeypatch.setenv(spoilt, {"TOY_ROUNDED_UP": "9000", "TOY_DECODE": "raise"}[spoilt])
    outcome = measure(folder, metrics=("psnr", "psnr-y"))
    coded = len(log.read_text().splitlines())
    again = [row for row in rows(folder) if row.metric("psnr") != before[row.key].metric("psnr")]
    if spoilt == "TOY_DECODE":  # coding anew fails as well: what was measured is not lost
        assert (coded, len(again), outcome.failed) == (2 * POINTS, 0, 2 * POINTS)
        assert all("cannot be decoded" in row.metrics["psnr-y"].reason for row in rows(folder))
    else:
        assert outcome.failed == 0
        assert coded == len(again) > 0
        assert all(row.metric("psnr-y") > 10 and not row.rescored for row in again)
        # The finer the reconstruction, the more one step matters.
        assert {row.value for row in rows(folder) if row.rescored} < {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("stored", "again", "reproduced"),
    [
        ({"psnr": 40.0}, {"psnr": 40.009}, True),
        ({"psnr": 40.0}, {"psnr": 39.98}, False),
        ({"psnr": None, "psnr-y": 40.0}, {"psnr": 70.0, "psnr-y": 40.0}, True),
        ({"ms-ssim": 0.99}, {"ms-ssim": 0.99 - 0.01 * 0.002}, True),
        ({"ms-ssim": 0.99}, {"ms-ssim": 0.99 - 0.01 * 0.003}, False),
        ({"lpips-alex": 0.1}, {"lpips-alex": 0.1002}, True),
        ({"lpips-alex": 0.1}, {"lpips-alex": 0.1003}, False),
        ({"psnr": 40.0}, {"psnr": None}, False),
        ({}, {"psnr": 40.0}, False),
    ],
)
def test_a_stored_score_tells_whether_a_picture_is_the_measured_one(stored, again, reproduced):
    m = replace(
        made_up("toy", "a.png", 0),
        metrics={name: MetricValue(value, "1") for name, value in stored.items()},
    )

    def score(names):
        return {name: MetricValue(again[name], "1") for name in names}

    assert is_reproduced(m, score) == reproduced
    assert not is_reproduced(m, lambda names: {n: MetricValue(again[n], "2") for n in names})


def test_a_scorer_that_dies_shows_in_the_outcome_and_is_tried_again(folder, monkeypatch):
    monkeypatch.setattr("bench.run.lane.SCORE_LIMIT", 0.0)
    outcome = measure(folder)
    assert outcome.failed == 2 * POINTS
    assert all(row.status == "ok" and row.bytes for row in rows(folder))
    monkeypatch.undo()
    outcome = measure(folder)
    assert (len(outcome.plan.tasks), outcome.failed) == (2 * POINTS, 0)


@pytest.mark.usefixtures("measured")
def test_another_picture_under_an_old_name_does_not_mix_with_it(folder, photo):
    measure(folder)
    PillowImage.fromarray(photo[20:60, 10:60]).save(folder / "0.png")
    assert len(measure(folder).plan.tasks) == POINTS
    manifest = Manifest.read(folder.parent / "run")
    results = collect(
        rows(folder),
        tuple(manifest.ladders.values()),
        manifest.pictures,
        metrics=("psnr",),
        dataset="",
    )
    assert results.sizes[0] == (50, 40)
    assert results.codec("coarse").bpp.shape == (POINTS, 2)
    assert {m.image_digest for m in results.codec("coarse").measurements.values()} == {
        picture.digest for picture in manifest.pictures
    }


def test_folders_of_one_name_have_run_directories_of_their_own(tmp_path):
    first, second = (default_directory(str(tmp_path / name / "kodak"), False) for name in "ab")
    assert first != second
    assert first.name.startswith("kodak-")
    assert default_directory("kodak", False).name == "kodak"


def test_folders_never_share_a_run_directory_with_each_other_or_a_known_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    specs = ["a b", "a_b", "./kodak", "kodak", "kodak-quick", "crops", "sub/crops"]
    names = [default_directory(spec, False).name for spec in specs]
    names.append(default_directory("kodak", True).name)
    assert len(set(names)) == len(names)
    assert default_directory("./crops", False) == default_directory("crops", False)


def test_a_folder_named_like_a_known_set_is_found_again_from_anywhere(folder, monkeypatch):
    own = folder.parent / "kodak"
    folder.rename(own)
    monkeypatch.chdir(own.parent)
    measure(own, dataset="./kodak")
    monkeypatch.chdir("/")
    manifest = Manifest.read(own.parent / "run")
    assert manifest.dataset_argument == str(own)
    assert open_dataset(manifest.dataset_argument).images[0].path.parent == own
    assert manifest.label != "Kodak (2 images)"


def test_names_of_every_kind_come_through_a_run(tmp_path, photo):
    """A superscript is a digit that is no decimal; a lone byte of 255 is no UTF-8."""
    own = tmp_path / os.fsdecode(b"caf\xe9")
    own.mkdir()
    for name in ("hall 5²2.png", os.fsdecode(b"\xff.png")):
        PillowImage.fromarray(photo[: 30 + len(name), :40]).save(own / name)
    outcome = measure(own, directory=own.parent / "run", codecs=("jpeg",))
    assert outcome.failed == 0
    manifest = Manifest.read(own.parent / "run")
    assert open_dataset(manifest.dataset_argument).images
    store = Store(own.parent / "run")
    results = collect(
        store, list(manifest.ladders.values()), manifest.pictures, metrics=("psnr",), dataset=""
    )
    assert len(results.images) == 2


@pytest.mark.usefixtures("measured")
def test_codecs_of_earlier_commands_stay_known(folder):
    measure(folder)
    measure(folder, codecs=("jpeg",))
    manifest = Manifest.read(folder.parent / "run")
    assert set(manifest.ladders) == {"coarse", "jpeg"}
    assert list(manifest.names.values()) == ["jpeg", "coarse"]  # the last command first


def test_a_folder_of_the_user_s_in_the_run_directory_is_left_alone(folder, tmp_path):
    run = folder.parent / "run"
    for name in ("scratch", "kept"):
        (run / name).mkdir(parents=True)
        (run / name / "mine.txt").write_text("mine")
    (run / ".bench-scratch-link").symlink_to(run / "kept")
    (run / ".bench-scratch-old").mkdir()
    measure(folder)
    assert (run / "scratch" / "mine.txt").exists()
    assert (run / "kept" / "mine.txt").exists()
    assert sorted(p.name for p in run.glob(".bench-scratch-*")) == [".bench-scratch-link"]


@pytest.mark.parametrize("how", ["nan", "array", "raise", "huge"])
def test_diagnostics_that_cannot_be_stored_cost_only_themselves(folder, monkeypatch, how):
    monkeypatch.setenv("TOY_DIAGNOSTICS", how)
    assert measure(folder).failed == 0
    for row in rows(folder):
        assert list(row.diagnostics) == ["error"]
        assert row.metric("psnr") > 10


@pytest.mark.parametrize(
    ("how", "hint"),
    [
        ("settings", "settings are no plain text"),
        ("seconds", "cannot be planned"),
        ("command", "cannot be planned"),
    ],
)
def test_a_codec_that_cannot_be_planned_costs_only_itself(folder, monkeypatch, how, hint):
    monkeypatch.setenv("TOY_PLAN", how)
    outcome = measure(folder, codecs=("jpeg", TOY))
    assert how in outcome.plan.unavailable[TOY] or "planned" in outcome.plan.unavailable[TOY]
    assert {row.codec for row in rows(folder)} == {"jpeg"}


@pytest.mark.usefixtures("measured")
def test_a_codec_that_changes_during_a_run_is_not_filed_under_its_old_version(folder, monkeypatch):
    measure(folder)  # this process knows version 1
    monkeypatch.setenv("TOY_VERSION", "2")  # the workers of the next run load version 2
    (folder.parent / "run" / "measurements.jsonl").unlink()
    assert measure(folder).failed == 2 * POINTS
    assert all("another version here than the run was planned" in r.reason for r in rows(folder))


@pytest.mark.usefixtures("measured")
def test_a_lost_stream_is_encoded_again(folder, tmp_path, monkeypatch):
    measure(folder)
    for path in (folder.parent / "run" / "streams").iterdir():
        path.write_bytes(b"rubbish")
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    outcome = measure(folder, metrics=("psnr", "psnr-y"))
    assert outcome.failed == 0
    assert len((tmp_path / "log").read_text().splitlines()) == 2 * POINTS


@pytest.mark.usefixtures("measured")
def test_a_new_codec_version_is_measured_anew(folder, monkeypatch):
    measure(folder)
    monkeypatch.setenv("TOY_VERSION", "2")
    run = subprocess.run(  # a fresh process reads the version anew
        command(folder, "--no-report"), env=os.environ, cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert {row.version for row in rows(folder)} == {"1", "2"}
    assert Manifest.read(folder.parent / "run").ladders["coarse"].version == "2"


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("raise", "RuntimeError: <script>"),
        ("die", "SIGKILL"),
        ("exit", "exit status 3"),
        ("hang", "longer than 2 s"),
    ],
)
def test_a_codec_that_fails_at_one_point_loses_only_that_point(folder, monkeypatch, how, reason):
    monkeypatch.setenv("TOY_ENCODE", how)
    outcome = measure(folder, time_limit=2.0)
    assert outcome.failed == 2
    bad = [row for row in rows(folder) if row.status != "ok"]
    assert (len(bad), len(rows(folder))) == (2, 2 * POINTS)
    for row in bad:
        assert reason in row.reason
        assert row.value == 3
        assert row.metrics == {}
        assert row.status == ("interrupted" if how == "die" else "failed")


def test_failures_stay_until_a_retry_is_asked_for(folder, monkeypatch):
    monkeypatch.setenv("TOY_ENCODE", "raise")
    measure(folder)
    monkeypatch.delenv("TOY_ENCODE")
    assert measure(folder).failed == 2
    outcome = measure(folder, retry=True)
    assert (len(outcome.plan.tasks), outcome.failed) == (2, 0)


@pytest.mark.parametrize("how", ["fill the disk", "die"])
def test_what_failed_for_a_reason_that_passes_is_tried_again_unasked(folder, monkeypatch, how):
    monkeypatch.setenv("TOY_ENCODE", how)
    assert measure(folder).failed == 2
    monkeypatch.delenv("TOY_ENCODE")
    outcome = measure(folder)
    assert (len(outcome.plan.tasks), outcome.failed) == (2, 0)


@pytest.mark.usefixtures("measured")
def test_timings_are_taken_again_alone_and_scores_are_kept(folder, monkeypatch, tmp_path):
    measure(folder)
    before = {row.key: row for row in rows(folder)}
    assert measure(folder, jobs=1).plan.crowded == 2 * POINTS
    assert {row.jobs for row in rows(folder)} == {2}
    monkeypatch.setenv("TOY_ENCODE", "raise")  # what cannot be timed again is not lost
    outcome = measure(folder, jobs=1, retime=True)
    assert len(outcome.plan.tasks) == 2 * POINTS
    for row in rows(folder):
        old = before[row.key]
        assert (row.status, row.metrics) == ("ok", old.metrics)
        assert row.jobs == (2 if row.value == 3 else 1)
        assert row.value == 3 or row.encode != old.encode
    assert outcome.failed == 2
    store = Store(folder.parent / "run")
    assert all(store.kept(row) for row in store)
    monkeypatch.delenv("TOY_ENCODE")
    assert len(measure(folder, jobs=1, retime=True).plan.tasks) == 2


@pytest.mark.usefixtures("measured")
def test_one_run_both_scores_and_times_again(folder):
    measure(folder)
    before = {row.key: row for row in rows(folder)}
    assert measure(folder, metrics=("psnr", "psnr-y"), jobs=1, retime=True).failed == 0
    for row in rows(folder):
        old = before[row.key]
        assert (row.jobs, row.metrics["psnr"]) == (1, old.metrics["psnr"])
        assert row.encode != old.encode
        assert row.metric("psnr-y") > 10
    assert not measure(folder, metrics=("psnr", "psnr-y"), jobs=1, retime=True).plan.tasks


@pytest.mark.usefixtures("measured")
def test_a_disk_that_fills_up_is_a_plain_error(folder, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    measure(folder)
    row = rows(folder)[0]
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match="free some space"):
        Store(folder.parent / "run").append(row)


def test_a_decoder_that_hangs_or_floods(folder, monkeypatch):
    monkeypatch.setenv("TOY_DECODE", "hang")
    assert measure(folder, time_limit=1.0, limit=1).failed == POINTS
    monkeypatch.setenv("TOY_DECODE", "flood")
    assert measure(folder, retry=True, limit=1).failed == 0


def test_the_decoder_never_holds_the_photograph(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_DECODE", "peek")
    monkeypatch.setenv("TOY_MARKER", str(tmp_path / "arrays"))
    measure(folder)
    assert (tmp_path / "arrays").read_text() == "0"


def test_an_unavailable_codec_is_a_row_and_the_others_run(folder, monkeypatch):
    monkeypatch.setenv("TOY_ENCODE", "not here")
    outcome = measure(folder, codecs=("jpeg", TOY))
    assert outcome.plan.unavailable == {TOY: "toy tool not found; install toys"}
    assert {row.codec for row in rows(folder)} == {"jpeg"}
    assert Manifest.read(folder.parent / "run").unavailable == outcome.plan.unavailable


def test_a_tool_that_goes_missing_on_the_way_is_told_apart_from_a_failure(folder, monkeypatch):
    monkeypatch.setenv("TOY_ENCODE", "unavailable")
    measure(folder)
    assert {(r.status, r.reason) for r in rows(folder) if r.status != "ok"} == {
        ("unavailable", "the toy shop is closed; build your own")
    }


def test_twins_are_counted_once(folder):
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    outcome = measure(folder)
    assert [picture.name for picture in outcome.manifest.pictures] == ["0.png", "1.png"]
    assert outcome.manifest.skipped == (("copy.png", "the same file as 0.png"),)


def test_bad_pictures_are_named_and_the_run_goes_on(folder):
    (folder / "broken<script>.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    outcome = measure(folder)
    assert [name for name, _ in outcome.manifest.skipped] == ["broken<script>.png"]
    assert outcome.failed == 0


def test_a_directory_without_a_run_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(StoreError, match="python -m bench run"):
        Manifest.read(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(StoreError, match="damaged"):
        Manifest.read(tmp_path)


def command(folder: Path, *more: str) -> list[str]:
    where = ["--dataset", str(folder), "--run", str(folder.parent / "run")]
    return [sys.executable, "-m", "bench", "run", TOY, *where, "--metrics", "psnr", *more]


def test_killed_twice_the_result_is_that_of_an_uninterrupted_run(folder, photo):
    for i in range(2, 4):
        PillowImage.fromarray(np.roll(photo, i, axis=0)).save(folder / f"{i}.png")
    killed = 0
    for wanted in (2, 9):
        with subprocess.Popen(
            command(folder, "--no-report"), cwd=ROOT, stderr=subprocess.DEVNULL
        ) as run:
            path = folder.parent / "run" / "measurements.jsonl"
            deadline = time.monotonic() + 60
            while run.poll() is None and time.monotonic() < deadline:
                if path.exists() and path.read_bytes().count(b"\n") >= wanted:
                    run.send_signal(signal.SIGKILL)
                    killed += 1
                    break
                time.sleep(0.005)
        with open(path, "ab") as file:  # as if the kill had come in the middle of a line
            file.write(b'{"schema": 1, "key": "cut sh')
    assert killed == 2
    measure(folder)
    straight = execute(settings(folder, directory=folder.parent / "straight"), Progress(quiet=True))
    assert straight.failed == 0

    def table(directory: Path):
        return sorted(
            (m.key, m.bytes, m.stream_digest, m.reconstruction_digest, m.metric("psnr"))
            for m in Store(directory)
        )

    assert table(folder.parent / "run") == table(folder.parent / "straight")
    assert len(table(folder.parent / "run")) == 4 * POINTS


def test_nothing_outlives_a_killed_run(folder, tmp_path):
    marker = tmp_path / "child"
    environment = {**os.environ, "TOY_ENCODE": "hang with a child", "TOY_MARKER": str(marker)}
    with subprocess.Popen(
        command(folder, "--jobs", "1"), cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
    ) as run:
        deadline = time.monotonic() + 60
        while not (marker.exists() and marker.read_text().strip()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        run.send_signal(signal.SIGKILL)
    child = int(marker.read_text())
    deadline = time.monotonic() + 10
    while _alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _descendants(pid: int) -> set[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(entry.parent.name)] = int(entry.read_text().rsplit(")", 1)[1].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_forked_scorers_end_with_the_run(folder, sign):
    with subprocess.Popen(
        [*command(folder, "--jobs", "2", "--no-report"), "--metrics", "psnr", "lpips-alex"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        deadline = time.monotonic() + 60
        while len(family := _descendants(run.pid)) < 5:  # resource tracker, fork server, coders
            assert time.monotonic() < deadline
            time.sleep(0.01)
        run.send_signal(sign)
        assert run.stderr is not None
        said = run.stderr.read()
    deadline = time.monotonic() + 10
    while any(map(_alive, family)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in family if _alive(pid)]
    # After SIGKILL a process that is just starting may complain of its lost parent.
    assert sign == signal.SIGKILL or "Traceback" not in said


def test_without_a_fork_server_scorers_start_by_themselves(folder):
    """A folder for temporary files whose path is too long for a socket."""
    deep = folder.parent / ("x" * 100)
    deep.mkdir()
    done = subprocess.run(
        [*command(folder, "--no-report", "--jobs", "1"), "--metrics", "psnr", "lpips-alex"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(deep)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    rows = list(Store(folder.parent / "run"))
    assert rows, done.stderr
    assert all(isinstance(row.metric("psnr"), float) for row in rows)
    assert not list(deep.iterdir())
