"""The command `codec-bench` of an installed package, without the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image as Pillow

from tests.conftest import ROOT

FOLDERS = ("bench", "codecs", "datasets", "reports")
START = (
    "import sys; sys.argv[0] = 'codec-bench'; from codec_bench.bench.command import main; main()"
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """What setuptools would put into a wheel."""
    out = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "setup.py", "--quiet", "egg_info", "-e", str(out)]
    subprocess.run(
        [*command, "build", "-b", str(out / "build")], cwd=ROOT, check=True, capture_output=True
    )
    return out / "build" / "lib"


def test_all_files_are_there_and_nothing_takes_a_name_of_somebody_else(installed):
    assert [path.name for path in installed.iterdir()] == ["codec_bench"]
    there = {str(path.relative_to(ROOT)) for top in FOLDERS for path in (ROOT / top).rglob("*.*")}
    ours = {name for name in there if "__pycache__" not in name and (ROOT / name).is_file()}
    assert sum(name.endswith(".safetensors") for name in ours) >= 7
    package = installed / "codec_bench"
    assert {str(p.relative_to(package)) for p in package.rglob("*.*") if p.is_file()} == ours


def test_it_measures_anywhere(installed, tmp_path, photo):
    """With processes of its own, shipped weights and somebody's metric, all from what was built."""
    (tmp_path / "set").mkdir()
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__init__.py").touch()
    Pillow.fromarray(photo[:70, :80]).save(tmp_path / "set" / "a.png")
    (tmp_path / "where.py").write_text(
        "import bench, codecs.base\nfrom bench.metrics import Metric, MetricUnavailable\n"
        "class Where(Metric):\n    name, version, higher_is_better = 'where', '1', True\n"
        "    def score(self, original, decoded):\n"
        "        raise MetricUnavailable(f'{bench.__file__} {codecs.base.__file__}')\n"
        "metric = Where\n"
    )
    asked = ["run", "factorised@0", "--dataset", "set", "--run", "out", "--no-report"]
    asked += ["--jobs", "1", "--metrics", "psnr", "where.py"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", START, *asked]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "out"
    assert json.loads((run / "run.json").read_text())["command"].startswith("codec-bench run ")
    (row,) = map(json.loads, filter(None, (run / "measurements.jsonl").read_text().splitlines()))
    assert row["metrics"]["psnr"]["value"] > 15
    package = installed / "codec_bench"
    where = f"{package / 'bench/__init__.py'} {package / 'codecs/base.py'}"
    assert row["metrics"]["where"]["reason"] == where
