"""`make` sets the project up, repairs what was left half made, and installs nothing unpinned."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from codecs import registry
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def checkout(tmp_path) -> Path:
    for name in ("Makefile", "requirements.lock", "requirements-uv.lock"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Not the flags of a make that runs these tests.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    argv = ["make", "-C", str(folder), *arguments]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)


def test_a_virtual_environment_without_pip_is_made_anew(checkout):
    venv = checkout / ".venv"
    # What `python3 -m venv` leaves where Debian's python3-venv is missing.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    done = make(checkout, "venv", f"PYTHON={sys.executable}")
    assert done.returncode == 0, done.stderr
    subprocess.run([venv / "bin" / "python", "-m", "pip", "--version"], check=True)
    (venv / "kept").touch()
    assert make(checkout, "venv", "PYTHON=false").returncode == 0, "a good one is left alone"
    assert (venv / "kept").exists()


@pytest.mark.parametrize(
    ("module", "body", "message"),
    [
        ("ensurepip", "raise ImportError", "apt install python3-venv"),
        ("sitecustomize", "import sys; sys.version_info = (3, 9)", "Python 3.11 or newer"),
    ],
)
def test_an_interpreter_that_will_not_do(checkout, module, body, message):
    folder = checkout / "stand-in"
    folder.mkdir()
    (folder / f"{module}.py").write_text(body)
    python = folder / "python3"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = make(checkout, ".venv/ready", f"PYTHON={python}")
    assert done.returncode != 0
    assert message in done.stderr
    assert not (checkout / ".venv").exists()


def test_an_installation_whose_interpreter_is_gone_is_not_ready(checkout):
    binaries = checkout / ".venv" / "bin"
    binaries.mkdir(parents=True)
    python = binaries / "python"
    for target, status in ((sys.executable, 0), ("/no/such/python", 1)):
        python.unlink(missing_ok=True)
        python.symlink_to(target)
        (checkout / ".venv" / "ready").touch()
        assert make(checkout, "--question", ".venv/ready").returncode == status


def test_training_without_data_says_what_to_name(checkout):
    binaries = checkout / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").symlink_to(sys.executable)
    (checkout / ".venv" / "ready").touch()
    done = make(checkout, "train", "NETWORK=minnen", "TRAIN_DATA=photos")
    assert done.returncode != 0
    assert "make train NETWORK=minnen TRAIN_DATA=DIR VALID_DATA=DIR" in done.stderr


def test_the_zoo_is_all_learned_codecs_that_have_weights(checkout):
    """Each skipped one is told with what is missing; the rest is one run."""
    binaries = checkout / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (checkout / ".venv" / "ready").touch()
    python = binaries / "python"
    # Codecs as they are, with the weights of two; the benchmark only says what it is asked for.
    weights = checkout / "weights"
    for name in ("hyperprior", "rdonet"):
        shutil.copytree(ROOT / "tests" / "data" / "toys" / name, weights / name)
    python.write_text(
        f"""#!{sys.executable}
import os, sys
from pathlib import Path
os.chdir({str(ROOT)!r})
sys.path.insert(0, "")
import bench, codecs.learned.codec, codecs.zoo
codecs.learned.codec.WEIGHTS = Path({str(weights)!r})
print(sys.argv[2:]) if sys.argv[2] == "bench" else sys.exit(codecs.zoo.main())
"""
    )
    python.chmod(0o755)
    done = make(checkout, "-s", "zoo", "DATASET=kodak", "BENCH=--jobs 1")
    assert done.returncode == 0, done.stderr
    asked = ["bench", "run", "vvenc", "jpeg", "rdonet", "hyperprior", "--dataset", "kodak"]
    assert done.stdout == f"{[*asked, '--run', 'runs/zoo-kodak', '--jobs', '1']}\n"
    skipped = {line.split()[1] for line in done.stderr.splitlines()}
    assert skipped == set(registry.learned()) - {"hyperprior", "rdonet"}
    assert skipped >= {"minnen-mse", "rdonet-msssim", "toderici2017"}
    assert f"skipped: minnen has no weights in {weights / 'minnen'}; train some" in done.stderr


def test_everything_is_installed_by_hash():
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    installs = [line for line in makefile.splitlines() if "pip install" in line]
    assert len(installs) == 5
    for line in installs:
        assert "--require-hashes" in line
        (lock,) = re.findall(r"-r (\S+)", line)
        requirements = re.findall(r"^[a-z].*", (ROOT / lock).read_text(), re.MULTILINE)
        assert requirements
        assert all(re.match(r"[a-z0-9._-]+==\S+ .*\\$", each) for each in requirements)
