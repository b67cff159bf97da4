"""What `--cluster` names: a Dask cluster that is there, one on this machine, or a batch system.

    tcp://host:8786, tls://host:8786    the scheduler of a cluster that is there
    local:4                             four workers on this machine, for this run
    slurm.toml                          a class of dask-jobqueue and what it is given

Whoever reaches the scheduler or a worker of a Dask cluster can have it run any code.  What is
started here listens on the loopback interface alone unless its file names another.  TLS is Dask's
own: certificates named in its configuration count here too.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_WORKERS = 512
"""That are started on one machine, or asked of a batch system."""
_ADDRESS = re.compile(r"(tcp|tls)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_MAX_FILE = 1 << 16
LOOPBACK = "127.0.0.1"
PATIENCE = 120.0
"""Seconds without a scheduler or worker after which a run is given up."""
CONNECT = 30.0
"""Seconds to wait for a scheduler or a worker to answer."""


_STARTED_HERE = {
    "distributed.worker.daemon": False,
    # A worker that was killed may take long to be there again, on a machine with much to do.
    "distributed.deploy.lost-worker-timeout": "10 minutes",
    # What Dask does beside: a tenth of what it does by itself.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.tick.interval": "200ms",
}
"""Dask's configuration of clusters that are started here."""


class ClusterError(Exception):
    """The cluster cannot be had, or went away; the message says what to do."""


@dataclass(frozen=True)
class Existing:
    """A cluster that is there."""

    address: str


@dataclass(frozen=True)
class Local:
    """Workers on this machine, of one thread each."""

    workers: int


@dataclass(frozen=True)
class Batch:
    """Workers that a batch system starts."""

    kind: str
    """A class of dask-jobqueue."""
    jobs: int
    """Batch jobs to submit."""
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Cluster:
    """A cluster that can be given tasks."""

    address: str
    dashboard: str
    """Address of its page for people; empty where there is none."""
    slots: int
    """Measurements that can run side by side now, or soon."""
    patience: float
    """Seconds without scheduler or worker after which a run is given up."""


def parse(text: str) -> Existing | Local | Batch:
    """Raises `ClusterError` for what names no cluster.  Starts nothing."""
    if address := _ADDRESS.fullmatch(text):
        if not 0 < int(address[3]) < 1 << 16:
            raise ClusterError(f"--cluster {text}: there is no port {address[3]}")
        return Existing(text)
    if text.startswith("local:"):
        count = text.removeprefix("local:")
        if not re.fullmatch("[0-9]{1,4}", count) or not 0 < int(count) <= MAX_WORKERS:
            raise ClusterError(f"--cluster {text}: give 1 to {MAX_WORKERS} workers, as in local:4")
        return Local(int(count))
    if text.endswith(".toml"):
        return _batch(Path(text))
    raise ClusterError(
        f"--cluster {text}: give the address of a scheduler, such as tcp://host:8786, local:4 for "
        "workers on this machine, or a file such as slurm.toml (docs/runs.md)"
    )


def _batch(path: Path) -> Batch:
    try:
        if not path.is_file() or path.stat().st_size > _MAX_FILE:
            raise ClusterError(f"--cluster {path}: no such file, or not one of this kind")
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ClusterError(f"--cluster {path}: {error}") from error
    kind, jobs, options = told.pop("class", None), told.pop("jobs", 1), told.pop("options", {})
    if told or not isinstance(options, dict):
        raise ClusterError(
            f"--cluster {path}: only class, jobs and a table [options] are known, "
            f"not {', '.join(told) or 'options of another kind'}"
        )
    if not isinstance(kind, str):
        raise ClusterError(f'--cluster {path}: name a class, as in class = "SLURMCluster"')
    if type(jobs) is not int or not 0 < jobs <= MAX_WORKERS:
        raise ClusterError(f"--cluster {path}: jobs is a number from 1 to {MAX_WORKERS}")
    if not options.get("interface"):
        raise ClusterError(
            f"--cluster {path}: name the network interface on which scheduler and workers listen, "
            'as in interface = "ib0": whoever reaches it can run code'
        )
    return Batch(kind, jobs, options)


@contextmanager
def opened(asked: Existing | Local | Batch, scratch: Path) -> Iterator[Cluster]:
    """The cluster, ready; ended afterwards if it was started here.  Raises `ClusterError`.

    `scratch`: a folder for what workers on this machine write.
    """
    try:
        import distributed
    except ImportError as error:
        raise ClusterError("--cluster needs Dask: make cluster") from error
    import dask

    with dask.config.set(_STARTED_HERE):
        if isinstance(asked, Existing):
            yield _existing(asked.address)
        elif isinstance(asked, Local):
            with distributed.LocalCluster(
                n_workers=asked.workers,
                threads_per_worker=1,
                host=LOOPBACK,
                dashboard_address=f"{LOOPBACK}:0",
                memory_limit=None,  # the memory of a lane is not the worker's own
                local_directory=str(scratch),
                silence_logs="CRITICAL",
            ) as local:
                page = local.dashboard_link
                yield Cluster(local.scheduler_address, page, asked.workers, PATIENCE)
        else:
            with _submitted(asked) as batch:
                page = batch.dashboard_link
                slots = asked.jobs * int(asked.options.get("cores", 1))
                yield Cluster(batch.scheduler_address, page, slots, float("inf"))


def _existing(address: str) -> Cluster:
    import distributed

    ours = distributed.Security().get_connection_args("client")
    if address.startswith("tls:") and ours.get("ssl_context") is None:
        raise ClusterError(
            f"{address} needs certificates: name ca-file, client.cert and client.key of "
            "distributed.comm.tls in Dask's configuration"
        )
    try:
        with distributed.Client(address, timeout=CONNECT, set_as_default=False) as client:
            threads = client.nthreads()
            return Cluster(address, client.dashboard_link, max(1, sum(threads.values())), PATIENCE)
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        raise ClusterError(
            f"there is no scheduler at {address} ({error}); start one on that machine: "
            "python -m dask scheduler"
        ) from error


def _submitted(asked: Batch) -> Any:
    """A cluster of dask-jobqueue whose batch jobs are submitted."""
    try:
        import dask_jobqueue
        from dask_jobqueue.core import JobQueueCluster
        from dask_jobqueue.local import LocalCluster
    except ImportError as error:
        raise ClusterError("batch systems need dask-jobqueue: make cluster") from error
    found = LocalCluster if asked.kind == "LocalCluster" else getattr(dask_jobqueue, asked.kind, 0)
    if not (isinstance(found, type) and issubclass(found, JobQueueCluster)):
        raise ClusterError(f"dask-jobqueue has no class {asked.kind}: SLURMCluster is one")
    if found is JobQueueCluster:
        raise ClusterError("name a class for your batch system, such as SLURMCluster")
    options = {"worker_extra_args": ["--no-dashboard"], **asked.options}
    page = {"dashboard_address": f"{LOOPBACK}:0"}
    try:
        options["scheduler_options"] = page | options.get("scheduler_options", {})
        batch = found(**options)
        batch.scale(jobs=asked.jobs)
    except Exception as error:  # whatever it makes of its options
        raise ClusterError(f"{asked.kind}: {type(error).__name__}: {error}") from error
    return batch
