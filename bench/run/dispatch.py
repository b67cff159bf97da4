"""Tasks on a Dask cluster: the same results as from lanes on this machine.

The client alone decides which worker does what, and alone writes the store.  A worker stays with
its picture while there is something left to do on it, and gets the next task while it works on
this one.  What is encoded is sent and comes back by itself, so that no more is lost with a worker
than it was at; kept streams are scored several at once.  What a lost worker had is given to others;
what a worker cannot do is left to others; where nobody can, the row says why.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import queue
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from bench.record.measurement import INTERRUPTED, digest
from bench.record.store import Store
from bench.run.cluster import CONNECT, Cluster, ClusterError
from bench.run.lane import Done
from bench.run.plan import Task
from bench.run.station import (
    Answer,
    Conditions,
    Facts,
    Parcel,
    close,
    facts,
    harness,
    measure,
    refused,
)
from codecs import device
from datasets.base import DatasetError, ImageRef
from datasets.cache import write_atomically
from datasets.loading import read_file

PARCEL_SECONDS = 4.0
"""Estimated work that is sent at once: much more than sending it takes."""
PARCEL_TASKS = 16
LOST = 4
"""Workers that may be lost over a task before it is given up."""
STRIKES, REST = 3, 60.0
"""After so many interrupted tasks in a row (a full disk?) a worker rests for so many seconds."""
LOOK = 1.0
"""Seconds from one look at which workers there are to the next."""


@dataclass(eq=False)
class _Item:
    """A task that is not settled."""

    task: Task
    lost: int = 0
    tried: set[str] = field(default_factory=set)
    """Workers that were interrupted at it."""
    last: Answer | None = None


@dataclass(eq=False)
class _Seat:
    """A worker."""

    address: str
    threads: int
    facts: Facts
    picture: str | None = None
    """Digest of the one that it had last."""
    strikes: int = 0
    barred: dict[str, str] = field(default_factory=dict)
    """Codecs that cannot run there, and why."""
    work: list[asyncio.Task[None]] = field(default_factory=list)

    def may(self, item: _Item) -> bool:
        return item.task.codec not in self.barred and self.address not in item.tried


def run_tasks(
    tasks: Sequence[Task],
    store: Store,
    *,
    cluster: Cluster,
    metrics: Mapping[str, str],
    time_limit: float | None = None,
    own_metrics: Mapping[str, str] | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Iterator[Done]:
    """Execute tasks on a cluster and yield each as it is done, its stream in the store.

    `metrics`: those of the run -> their versions here.  Otherwise as `local.run_tasks`; `say` is
    told of workers that come, go or are not used.  Raises `ClusterError` where there is no
    scheduler, or no worker of use, for the cluster's `patience`.
    """
    if not tasks:
        return
    own = tuple((own_metrics or {}).items())
    conditions = Conditions(
        *(os.urandom(8).hex(), tuple(metrics), own, time_limit),
        device=os.environ.get(device.VARIABLE, ""),
    )
    finished: queue.SimpleQueue[tuple[Task, Answer] | str | BaseException] = queue.SimpleQueue()
    dispatch = _Dispatch(tasks, store, cluster, conditions, metrics, finished.put)
    thread = threading.Thread(target=dispatch.run, daemon=True)
    thread.start()
    left = len(tasks)
    try:
        while left:
            got = finished.get()
            if isinstance(got, BaseException):
                raise got
            if isinstance(got, str):
                say(got)
                continue
            task, answer = got
            if answer.stream is not None:
                path = store.stream_path(answer.measurement.key)
                write_atomically(path, answer.stream, sync=False)
            left -= 1
            yield Done(task, answer.measurement, answer.busy, answer.problem)
    finally:
        dispatch.stop()
        thread.join()


class _Pending:
    """Tasks that nobody has, by picture and codec."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.groups: dict[str, dict[str, deque[_Item]]] = {}
        self.count = 0
        for task in tasks:
            self.put(_Item(task))
        self.fresh = deque(self.groups)

    def __iter__(self) -> Iterator[_Item]:
        for codecs in self.groups.values():
            for items in codecs.values():
                yield from items

    def put(self, item: _Item) -> None:
        codecs = self.groups.setdefault(item.task.image.digest, {})
        codecs.setdefault(item.task.codec, deque()).append(item)
        self.count += 1

    def remove(self, item: _Item) -> None:
        codecs = self.groups[item.task.image.digest]
        codecs[item.task.codec].remove(item)
        self._tidy(item)

    def take(self, seat: _Seat) -> list[_Item]:
        """Tasks for a worker, of the picture that it has if there are any."""
        for each in self._pictures(seat.picture):
            for items in self.groups.get(each, {}).values():
                if chosen := self._parcel(items, seat):
                    return chosen
        return []

    def _pictures(self, current: str | None) -> Iterator[str]:
        if current is not None:
            yield current
        while self.fresh and self.fresh[0] not in self.groups:
            self.fresh.popleft()
        if self.fresh:
            self.fresh.rotate(-1)
            yield self.fresh[-1]
        counts = {each: sum(map(len, codecs.values())) for each, codecs in self.groups.items()}
        yield from sorted(counts, key=lambda each: -counts[each])

    def _parcel(self, items: deque[_Item], seat: _Seat) -> list[_Item]:
        """A few at once, of what is only scored; by itself what was lost before."""
        chosen: list[_Item] = []
        seconds = 0.0
        for item in list(items):
            alone = bool(item.task.encode or item.lost or item.tried)
            full = seconds >= PARCEL_SECONDS or len(chosen) == PARCEL_TASKS
            if chosen and (alone or full):
                break
            if seat.may(item):
                chosen.append(item)
                seconds += item.task.estimate
                if alone:
                    break
        for item in chosen:
            items.remove(item)
            self._tidy(item)
        return chosen

    def _tidy(self, item: _Item) -> None:
        self.count -= 1
        codecs = self.groups[item.task.image.digest]
        if not codecs[item.task.codec]:
            del codecs[item.task.codec]
        if not codecs:
            del self.groups[item.task.image.digest]


class _Dispatch:
    """Gives tasks to workers until all are settled; in a thread and an event loop of its own."""

    def __init__(
        self,
        tasks: Sequence[Task],
        store: Store,
        cluster: Cluster,
        conditions: Conditions,
        metrics: Mapping[str, str],
        tell: Callable[[Any], None],
    ) -> None:
        self.pending = _Pending(tasks)
        self.left = len(tasks)
        self.store, self.cluster, self.conditions, self.metrics = (
            store,
            cluster,
            conditions,
            metrics,
        )
        self.tell = tell
        self.seats: dict[str, _Seat] = {}
        self.misfits: dict[str, str] = {}
        """Workers that are not used, and why."""
        self.asked: dict[str, asyncio.Future[Any]] = {}
        """Workers that have not told their facts yet."""
        self.loop = asyncio.new_event_loop()
        self.all_settled = asyncio.Event()
        self.stopped = False
        self.task: asyncio.Task[None] | None = None

    def run(self) -> None:
        """The thread."""
        try:
            self.task = self.loop.create_task(self._serve())
            self.loop.run_until_complete(self.task)
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # a fault of ours: hand it to the caller
            self.tell(error)
        finally:
            self.loop.close()

    def stop(self) -> None:
        """Give no more tasks out, wait for none; from another thread."""
        with suppress(RuntimeError):  # it has ended by itself
            self.loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self.task and not self.stopped and not self.all_settled.is_set():
            self.stopped = True
            self.task.cancel()

    async def _serve(self) -> None:
        """Until all is settled, whatever becomes of the scheduler."""
        from distributed import Client

        warnings.filterwarnings("ignore", "Sending large graph")  # a picture, which is meant
        self.seen = time.monotonic()
        while self.left:
            try:
                connecting = Client(
                    *(self.cluster.address,),
                    asynchronous=True,
                    timeout=CONNECT,
                    set_as_default=False,
                )
                async with connecting as client:
                    await self._attend(client)
            except OSError as error:  # also what Dask says of a lost connection
                self.tell(f"the scheduler does not answer ({error}): trying again")
                self._lose_patience(f"the scheduler at {self.cluster.address} is gone")
                await asyncio.sleep(LOOK)

    async def _attend(self, client: Any) -> None:
        """Keep all workers busy, as they come and go, until all is settled."""
        try:
            while self.left:
                if client.status != "running":
                    raise OSError("the connection was lost")
                threads = await asyncio.wait_for(client.nthreads(), CONNECT)
                for address in self.seats.keys() - threads.keys():
                    await self._gone(address)
                await self._welcome(client, threads)
                if self.seats:
                    self.seen = time.monotonic()
                    self._settle_what_nobody_can()
                else:
                    why = "; ".join(f"{a}: {w}" for a, w in self.misfits.items() if a in threads)
                    self._lose_patience(f"no worker of {self.cluster.address} is of use ({why})")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.all_settled.wait(), LOOK)
        finally:
            for asked in self.asked.values():
                asked.cancel()
            self.asked.clear()
            for address in list(self.seats):
                await self._gone(address, say=False)
            if client.status == "running":
                with suppress(Exception):  # they end by themselves, later
                    ended = client.run(close, self.conditions.run, on_error="ignore")
                    await asyncio.wait_for(ended, CONNECT)

    def _lose_patience(self, why: str) -> None:
        if time.monotonic() - self.seen > self.cluster.patience:
            raise ClusterError(
                f"{why}; what was measured is kept: see to it, then run the same command again"
            )

    async def _welcome(self, client: Any, threads: Mapping[str, int]) -> None:
        """Ask new workers for facts, and give those work that measure as we would."""
        for address in threads.keys() - self.seats.keys() - self.misfits.keys():
            if address not in self.asked:
                asked = client.run(facts, self.conditions, workers=[address])
                self.asked[address] = asyncio.ensure_future(asyncio.wait_for(asked, 4 * CONNECT))
        if self.asked:  # those that are there at first begin together, but for one that is slow
            await asyncio.wait(self.asked.values(), timeout=LOOK if self.seats else CONNECT / 3)
        for address in [a for a, answer in self.asked.items() if answer.done()]:
            try:
                found: Facts = self.asked.pop(address).result()[address]
            except Exception as error:  # it may lack anything, our sources to begin with
                why = f"{type(error).__name__}: {error}"
            else:
                why = self._unlike(found)
            if why:
                self.misfits[address] = why
                self.tell(f"the worker {address} is not used: {why}")
            elif address in threads:
                self.seats[address] = _Seat(address, threads[address], found)
        for seat in self.seats.values():
            if not seat.work:
                # One more than work at a time: the next tasks are there when these are done.
                seat.work = [
                    asyncio.create_task(self._keep_busy(client, seat, ahead=i == seat.threads))
                    for i in range(seat.threads + 1)
                ]

    def _unlike(self, found: Facts) -> str:
        if found.harness != harness():
            return f"{found.host} has another version of the harness: install the same there"
        for name, version in self.metrics.items():
            there = found.metrics.get(name, "missing")
            if there != version and not version.startswith("unavailable"):
                return f"on {found.host}, {name} is {there}, here {version}"
        return ""

    async def _gone(self, address: str, *, say: bool = True) -> None:
        seat = self.seats.pop(address)
        for work in seat.work:
            work.cancel()
        await asyncio.gather(*seat.work, return_exceptions=True)
        if say:
            self.tell(f"the worker {address} on {seat.facts.host} is gone; others do what it had")

    async def _keep_busy(self, client: Any, seat: _Seat, ahead: bool) -> None:
        """One parcel after another, as long as there are any; `ahead`: only while there are many,
        so that none waits for this worker that another one could begin."""
        while self.left:
            slots = sum(each.threads for each in self.seats.values())
            few = self.pending.count <= 2 * slots
            items = [] if ahead and few else self.pending.take(seat)
            if not items:
                await asyncio.sleep(0.1)
                continue
            seat.picture = items[0].task.image.digest
            try:
                answers = await self._ask(client, seat, items)
            except asyncio.CancelledError:
                self._lost(items)
                me = asyncio.current_task()
                if me and me.cancelling():
                    raise
                continue  # the scheduler has forgotten it
            except DatasetError as error:
                answers = [refused(item.task, "failed", str(error)) for item in items]
            except Exception as error:  # anything may come from elsewhere
                why = f"{seat.facts.host}: {type(error).__name__}: {error}"
                answers = [refused(item.task, INTERRUPTED, why) for item in items]
            for item, answer in zip(items, answers, strict=True):
                self._weigh(item, answer, seat)
            if seat.strikes >= STRIKES:
                self.tell(f"the worker {seat.address} rests: {answers[-1].measurement.reason}")
                await asyncio.sleep(REST)
                seat.strikes = 0

    async def _ask(self, client: Any, seat: _Seat, items: Sequence[_Item]) -> Sequence[Answer]:
        """What a worker makes of tasks; it is given the picture if it asks for it."""
        tasks = tuple(item.task for item in items)
        machine = seat.facts.machine
        jobs = sum(s.threads for s in self.seats.values() if s.facts.machine == machine)
        kept = {t.blank.key: self.store.kept(t.blank) for t in tasks if not t.encode}
        streams = {key: path.read_bytes() for key, path in kept.items() if path}
        parcel = Parcel(tasks, self.conditions, jobs, streams=streams)
        answers = await self._submit(client, seat, parcel)
        if answers is None:
            data = await asyncio.to_thread(_file, tasks[0].image)
            answers = await self._submit(client, seat, replace(parcel, picture=data))
        if answers is None or [a.measurement.key for a in answers] != [t.blank.key for t in tasks]:
            raise ValueError("this is no answer to what was asked")
        for answer in answers:
            if answer.stream and digest(answer.stream) != answer.measurement.stream_digest:
                raise ValueError("a stream was damaged on its way")
        return answers

    async def _submit(self, client: Any, seat: _Seat, parcel: Parcel) -> Sequence[Answer] | None:
        future = client.submit(
            *(measure, parcel),
            workers=[seat.address],
            allow_other_workers=False,
            pure=False,
            key=f"{parcel.tasks[0].blank.codec}-{os.urandom(8).hex()}",
        )
        answers: Sequence[Answer] | None = await future
        return answers

    def _weigh(self, item: _Item, answer: Answer, seat: _Seat) -> None:
        """Settle a task, or leave it to other workers."""
        m, codec = answer.measurement, item.task.codec
        status = answer.refusal or m.status
        if status == "ok" and not item.task.encode and _unscored(item.task, answer):
            status = INTERRUPTED
        if status == INTERRUPTED:
            seat.strikes += 1
            item.tried.add(seat.address)
        elif status == "unavailable":
            if codec not in seat.barred:
                self.tell(f"{codec} cannot run on {seat.facts.host}: {m.reason}")
            seat.barred[codec] = m.reason or "it cannot run there"
        else:
            seat.strikes = 0
        if status in (INTERRUPTED, "unavailable") and len(item.tried) < 2:
            item.last = answer
            self.pending.put(item)
        else:
            self._settle(item, answer)

    def _lost(self, items: Sequence[_Item]) -> None:
        for item in items:
            item.lost += 1
            if item.lost < LOST:
                self.pending.put(item)
            else:
                why = f"{LOST} workers were lost one after another at this (out of memory?)"
                self._settle(item, refused(item.task, INTERRUPTED, why))

    def _settle_what_nobody_can(self) -> None:
        seats = self.seats.values()
        if not any(seat.barred for seat in seats) and not any(i.tried for i in self.pending):
            return
        for item in list(self.pending):
            if not any(seat.may(item) for seat in seats):
                self.pending.remove(item)
                reasons = {f"{s.facts.host}: {s.barred.get(item.task.codec, '')}" for s in seats}
                why = f"no worker can: {'; '.join(sorted(reasons))}"
                self._settle(item, item.last or refused(item.task, "unavailable", why))

    def _settle(self, item: _Item, answer: Answer) -> None:
        self.left -= 1
        self.tell((item.task, answer))
        if not self.left:
            self.all_settled.set()


def _unscored(task: Task, answer: Answer) -> bool:
    """Whether metrics are missing that another worker may be able to compute."""
    scores = [answer.measurement.metrics.get(name) for name in task.metrics]
    return any(score is None or not score.version for score in scores)


def _file(ref: ImageRef) -> bytes:
    """The picture's file.  Raises `DatasetError` when it is no longer the same."""
    data = read_file(ref.path)
    if hashlib.sha256(data).hexdigest() != ref.digest:
        raise DatasetError(f"{ref.name} has changed since the data set was opened; run again")
    return data
