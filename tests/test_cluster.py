"""The same plan on a Dask cluster: the same measurements, whatever becomes of its workers."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from bench import metrics as metrics_package
from bench.record.measurement import Measurement
from bench.record.store import Store
from bench.run import cluster as cluster_module
from bench.run import dispatch, station
from bench.run.cluster import Batch, Cluster, ClusterError, Existing, Local, opened, parse
from bench.run.execute import execute
from bench.run.plan import Plan, make_plan
from bench.run.progress import Progress
from bench.run.settings import RunSettings
from datasets.loading import read_ref
from datasets.registry import open_dataset
from tests.conftest import ROOT

distributed = pytest.importorskip("distributed", reason="make cluster")

TOY = Path(__file__).parent / "toys" / "coarse.py"
POINTS = 6


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    with (
        pytest.MonkeyPatch.context() as patch,
        opened(Local(2), tmp_path_factory.mktemp("cluster")) as found,
    ):
        patch.setattr(dispatch, "LOOK", 0.2)
        yield replace(found, patience=2.0)


@pytest.fixture
def workers(cluster):
    """What runs a function on each worker."""
    with distributed.Client(cluster.address, set_as_default=False) as client:
        yield client.run
        client.run(learn, **dict.fromkeys(("TOY_LOG", "TOY_ENCODE", "TOY_VERSION")))


def learn(**variables: str | None) -> None:
    """Set environment variables, on a worker."""
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture
def folder(tmp_path, photo) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(2):
        small = np.ascontiguousarray(photo[i * 5 : 70, i * 9 : 90])
        PillowImage.fromarray(small).save(folder / f"{i}.png")
    return folder


def measure(folder: Path, run: str, **changes) -> dict[str, Measurement]:
    directory = folder.parent / run
    values = {"codecs": (str(TOY),), "dataset": str(folder), "metrics": ("psnr",), "jobs": 1}
    settings = RunSettings(directory=directory, **{**values, **changes})
    execute(settings, Progress(quiet=True))
    return {m.key: m for m in Store(directory)}


def planned(folder: Path, codec: Path = TOY) -> tuple[Plan, Store]:
    store = Store(folder.parent / "run")
    (store.directory / "streams").mkdir(parents=True)
    versions = metrics_package.versions(("psnr",))
    return make_plan((str(codec),), open_dataset(str(folder)), store, versions), store


def dispatched(plan: Plan, store: Store, cluster: Cluster, **changes):
    versions = metrics_package.versions(("psnr",))
    return dispatch.run_tasks(
        plan.tasks, store, cluster=cluster, **{"metrics": versions, **changes}
    )


def same(m: Measurement) -> Measurement:
    """But for what differs from one time to the next."""
    return replace(m, encode=None, decode=None, time="", jobs=0)


def test_a_cluster_measures_what_one_machine_does(folder, cluster):
    here = measure(folder, "here")
    there = measure(folder, "there", cluster=cluster.address)
    assert len(there) == 2 * POINTS
    assert {k: same(m) for k, m in there.items()} == {k: same(m) for k, m in here.items()}
    assert {m.jobs for m in there.values()} == {2}
    assert all(m.encode and m.time for m in there.values())
    store = Store(folder.parent / "there")
    assert all(store.kept(m) for m in there.values())
    # Kept streams go to the workers to be scored anew, and come to no harm.
    scored = measure(folder, "there", cluster=cluster.address, metrics=("psnr", "psnr-y"))
    assert all(m.metric("psnr-y") > 5 and m.encode == there[k].encode for k, m in scored.items())
    assert all(store.kept(m) for m in scored.values())


def trimming() -> tuple[str | None, str | None]:
    """How a worker was told to give memory back, and what it tells processes that it starts."""
    name = "MALLOC_TRIM_THRESHOLD_"
    with open("/proc/self/environ", encoding="utf-8") as begun:
        told = dict(line.partition("=")[::2] for line in begun.read().split("\0"))
    return told.get(name), os.environ.get(name)


def test_processes_that_score_keep_their_memory(folder, cluster, workers):
    measure(folder, "there", cluster=cluster.address)
    assert ("65536", None) in workers(trimming).values()


def test_a_killed_worker_costs_nothing(folder, cluster, workers, tmp_path):
    plan, store = planned(folder)
    log = tmp_path / "log"
    workers(learn, TOY_LOG=str(log))
    told: list[str] = []
    done: list[Measurement] = []
    for each in dispatched(plan, store, cluster, say=told.append):
        if not done:
            os.kill(min(workers(os.getpid).values()), signal.SIGKILL)
        done.append(each.measurement)
    assert Counter(m.status for m in done) == {"ok": 2 * POINTS}
    assert len({m.key for m in done}) == 2 * POINTS
    made = Counter(tuple(line.split()[:-1]) for line in log.read_text().splitlines())
    assert max(made.values()) <= 2
    back = time.monotonic() + 60
    while len(workers(os.getpid)) < 2 and time.monotonic() < back:
        time.sleep(0.1)


def test_a_killed_client_goes_on_where_it_stopped(folder, cluster, workers, tmp_path):
    log = tmp_path / "log"
    workers(learn, TOY_LOG=str(log))
    command = [
        *(sys.executable, "-m", "bench", "run", TOY, "--dataset", folder, "--metrics", "psnr"),
        *("--run", tmp_path / "run", "--cluster", cluster.address, "--no-report", "--quiet"),
    ]
    lines = tmp_path / "run" / "measurements.jsonl"
    process = subprocess.Popen(list(map(str, command)), cwd=ROOT)
    while process.poll() is None and not (lines.exists() and lines.stat().st_size):
        time.sleep(0.02)
    process.kill()
    process.wait()
    found = measure(folder, "run", cluster=cluster.address)
    assert Counter(m.status for m in found.values()) == {"ok": 2 * POINTS}
    made = Counter(tuple(line.split()[:-1]) for line in log.read_text().splitlines())
    assert len(made) == 2 * POINTS
    assert max(made.values()) <= 2


def test_a_worker_with_another_version_of_a_codec_is_found_out(folder, cluster, workers):
    plan, store = planned(folder)
    workers(learn, TOY_VERSION="2")
    told: list[str] = []
    done = list(dispatched(plan, store, cluster, say=told.append))
    assert {d.measurement.status for d in done} == {"unavailable"}
    assert all("is another version here" in d.measurement.reason for d in done[:1])
    assert any("cannot run on" in line for line in told)


def test_a_codec_that_no_worker_has_gives_rows_that_say_so(folder, cluster, tmp_path):
    codec = tmp_path / "mine.py"
    shutil.copy(TOY, codec)
    plan, store = planned(folder, codec)
    codec.unlink()
    done = list(dispatched(plan, store, cluster))
    assert {d.measurement.status for d in done} == {"unavailable"}
    assert all(str(codec) in d.measurement.reason for d in done)


def test_what_passes_is_tried_on_another_worker_then_told(folder, cluster, workers):
    plan, store = planned(folder)
    workers(learn, TOY_ENCODE="fill the disk")
    done = [d.measurement for d in dispatched(plan, store, cluster)]
    assert Counter(m.status for m in done) == {"ok": 2 * (POINTS - 1), "interrupted": 2}


@pytest.mark.parametrize("lack", ["a metric", "the harness"])
def test_workers_that_would_measure_otherwise_are_not_used(folder, cluster, monkeypatch, lack):
    plan, store = planned(folder)
    changes = {"metrics": {"psnr": "99"}} if lack == "a metric" else {}
    if lack == "the harness":
        monkeypatch.setattr(dispatch, "harness", lambda: "another")
    why = "psnr is .*, here 99" if lack == "a metric" else "another version of the harness"
    with pytest.raises(ClusterError, match=why):
        list(dispatched(plan, store, cluster, **changes))


def test_a_scheduler_that_is_gone_is_told(folder, cluster, monkeypatch):
    for module in (cluster_module, dispatch):
        monkeypatch.setattr(module, "CONNECT", 1.0)
    plan, store = planned(folder)
    gone = replace(cluster, address="tcp://127.0.0.1:9", patience=0.0)
    with pytest.raises(ClusterError, match="is gone; what was measured is kept"):
        list(dispatched(plan, store, gone))
    with (
        pytest.raises(ClusterError, match="there is no scheduler at tcp://127"),
        opened(Existing("tcp://127.0.0.1:9"), folder),
    ):
        pass


def test_tls_without_certificates_is_told(tmp_path):
    with (
        pytest.raises(ClusterError, match="needs certificates"),
        opened(Existing("tls://127.0.0.1:9"), tmp_path),
    ):
        pass


def test_a_picture_lies_in_the_cache_or_is_sent(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    ref = read_ref(folder / "0.png")
    assert station._placed(ref, None) == ref
    elsewhere = replace(ref, path=Path("/nowhere/0.png"))
    assert station._placed(elsewhere, None) is None
    data = ref.path.read_bytes()
    placed = station._placed(elsewhere, data)
    assert placed is not None
    assert placed.path.read_bytes() == data
    assert station._placed(elsewhere, None) == placed
    placed.path.write_bytes(b"damaged")
    assert station._placed(elsewhere, None) is None


def test_nothing_listens_on_anything_but_loopback(cluster, workers):
    assert cluster.address.startswith("tcp://127.0.0.1:")
    assert cluster.dashboard.startswith("http://127.0.0.1:")
    pids = {os.getpid(), *workers(os.getpid).values()}
    listening = set().union(*map(listened, pids))
    assert listening
    assert {address for address, _ in listening} <= {"0100007F"}


def listened(pid: int) -> set[tuple[str, str]]:
    """(address, port) in hexadecimal of the sockets that a process listens on."""
    inodes = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed just now
            inodes.add(os.readlink(each).removeprefix("socket:[").removesuffix("]"))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, _, port = fields[1].partition(":")
                found.add((address, port))
    return found


def test_what_names_a_cluster(tmp_path):
    assert parse("tcp://head:8786") == Existing("tcp://head:8786")
    assert parse("tls://[::1]:8786") == Existing("tls://[::1]:8786")
    assert parse("local:4") == Local(4)
    file = tmp_path / "slurm.toml"
    file.write_text('class = "SLURMCluster"\njobs = 3\n[options]\ninterface = "ib0"\ncores = 2\n')
    assert parse(str(file)) == Batch("SLURMCluster", 3, {"interface": "ib0", "cores": 2})


@pytest.mark.parametrize(
    "text",
    [
        *("", "local", "local:", "local:0", "local:-1", "local:1e3", "local:9999", "local:٣"),
        *("tcp://", "tcp://host", "tcp://host:0", "tcp://host:70000", "http://host:8786"),
        *("tcp://host:8786/x", "tcp://a b:1", "tcp://user@host:1", "inproc://1", "x" * 5000),
        *("/dev/zero.toml", "missing.toml", "../\0.toml"),
    ],
)
def test_what_names_no_cluster(text):
    with pytest.raises(ClusterError):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "not toml", 'class = "SLURMCluster"', 'class = 3\n[options]\ninterface = "lo"'),
        'class = "SLURMCluster"\njobs = 0\n[options]\ninterface = "lo"',
        'class = "SLURMCluster"\njobs = true\n[options]\ninterface = "lo"',
        'class = "SLURMCluster"\noptions = 3',
        'class = "SLURMCluster"\ncommand = "sh"\n[options]\ninterface = "lo"',
        "#" * 100_000,
    ],
)
def test_a_file_that_names_no_batch_system(tmp_path, text):
    file = tmp_path / "slurm.toml"
    file.write_text(text)
    with pytest.raises(ClusterError, match="slurm"):
        parse(str(file))


@pytest.mark.parametrize("kind", ["os", "core", "JobQueueCluster", "config", "Nobody"])
def test_a_class_that_is_no_batch_system(tmp_path, kind):
    pytest.importorskip("dask_jobqueue", reason="make cluster")
    with (
        pytest.raises(ClusterError, match=r"no class|name a class"),
        opened(Batch(kind, 1, {"interface": "lo"}), tmp_path),
    ):
        pass


def test_retiming_and_a_cluster_exclude_each_other(capsys):
    from bench.__main__ import main

    run = partial(main, ["run", "jpeg", "--retime", "--cluster", "local:2"])
    assert run() == 2
    assert "leave --cluster out" in capsys.readouterr().err
