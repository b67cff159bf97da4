"""The store: what was written is read back, whatever happened in between."""

from __future__ import annotations

import json
import math

import pytest

from bench.metrics.base import MetricValue
from bench.record.measurement import Measurement, digest, measurement_key
from bench.record.store import Store, StoreError
from codecs.base import Point
from tests.helpers import measurement


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path)
    with store.locked():
        pass
    return store


def test_measurements_come_back_equal(store):
    rows = [measurement(value=v, metrics={"psnr": 30.123456789, "ms-ssim": 0.9}) for v in (1, 2)]
    for row in rows:
        store.append(row)
    assert list(store) == rows


def test_an_unmeasured_metric_is_nan_with_its_reason():
    row = measurement()
    row = Measurement.from_json(
        Measurement(**{**vars(row), "metrics": {"x": MetricValue(None, "1", "why")}}).to_json()
    )
    assert math.isnan(row.metric("x"))
    assert math.isnan(row.metric("y"))
    assert row.metrics["x"].reason == "why"


def test_the_newest_line_of_a_key_counts(store):
    store.append(measurement(metrics={"psnr": 1.0}))
    store.append(measurement(metrics={"psnr": 2.0}))
    assert [row.metric("psnr") for row in store] == [2.0]


@pytest.mark.parametrize("cut", [1, 5, 100])
def test_a_line_cut_short_costs_only_itself(store, cut):
    for value in (1, 2):
        store.append(measurement(value=value))
    whole = store.path.read_bytes()
    store.path.write_bytes(whole[:-cut])
    store.append(measurement(value=3))
    lost = cut > 1  # only the newline gone: the line itself is whole
    assert [row.value for row in store] == ([1, 3] if lost else [1, 2, 3])
    assert store.damaged == lost


@pytest.mark.parametrize(
    "line",
    ["{}", "[]", "null", '"x"', "{", '{"schema": 1}', '{"schema": 99, "key": "k"}', "\x00\xff"],
)
def test_foreign_lines_are_passed_over_and_counted(store, line):
    store.append(measurement())
    with open(store.path, "a", encoding="utf-8") as file:
        file.write(line + "\n")
    assert len(list(store)) == 1
    assert store.damaged == 1


def test_unknown_fields_of_a_later_version_do_no_harm():
    row = json.loads(measurement().to_json()) | {"new": 1}
    assert Measurement.from_json(json.dumps(row)) == measurement()


def test_the_key_holds_what_determines_the_result_and_nothing_else():
    base = ("jpeg", "1", {"a": "b"}, Point("q", 5), "digest")
    changed = [
        ("webp", *base[1:]),
        (base[0], "2", *base[2:]),
        (*base[:2], {"a": "c"}, *base[3:]),
        (*base[:3], Point("q", 6), base[4]),
        (*base[:3], Point("p", 5), base[4]),
        (*base[:4], "other"),
    ]
    keys = {measurement_key(*base)} | {measurement_key(*other) for other in changed}
    assert len(keys) == len(changed) + 1
    assert measurement_key("c", "1", {"a": "1", "b": "2"}, Point("q", 5), "d") == (
        measurement_key("c", "1", {"b": "2", "a": "1"}, Point("q", 5), "d")
    )


def test_a_changed_stream_is_not_taken_for_the_measured_one(store):
    row = measurement()
    row = Measurement(**{**vars(row), "stream_digest": digest(b"stream")})
    assert store.kept(row) is None
    store.stream_path(row.key).write_bytes(b"stream")
    assert store.kept(row).read_bytes() == b"stream"
    store.stream_path(row.key).write_bytes(b"tampered")
    assert store.kept(row) is None


def test_a_second_run_in_the_same_directory_is_refused(store):
    with (
        store.locked(),
        pytest.raises(StoreError, match="another run"),
        Store(store.directory).locked(),
    ):
        pass
    with store.locked():  # and free again afterwards
        pass


def test_a_directory_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="--run"), Store(tmp_path / "file" / "run").locked():
        pass
