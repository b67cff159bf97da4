"""Imports point one way, those inside functions too."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import pytest
from PIL import Image

from tests.conftest import ROOT

TIERS = (
    ("bench.run.__main__", "bench.check.__main__", "bench.command"),
    ("bench.__main__", "bench.compare"),
    ("bench.cli",),
    ("reports",),
    ("bench.perf", "bench.check", "bench.entropy", "bench.export", "bench.packs", "bench.study"),
    ("bench.run", "bench.verdict"),
    ("bench.record", "bench.literature"),
    ("bench.metrics", "bench.terminal"),
    ("bench", "codecs", "datasets"),
)
"""From the top down: each part imports itself and what stands further down."""

LATE = ("bench", "bench.export")
"""`bench.load`, which is imported when it is asked for."""

OF_ALL_CODECS = tuple(
    f"codecs.{name}" for name in ("base", "device", "ladder", "naming", "pictures")
)
"""What codecs/learned and datasets may use of the rest of `codecs`: modules that know no codec."""

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for top in ("bench", "codecs", "datasets", "reports")
    for path in (ROOT / top).rglob("*.py")
}


def imports(module: str, source: str) -> set[str]:
    """The modules of ours that some source imports, but for those of its own package that only a
    type checker sees."""
    tree = ast.parse(source)
    hidden = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    own = module.split(".")[0] + "."
    return {
        name
        for node in ast.walk(tree)
        for name in named(node)
        if not (node in hidden and name.startswith(own))
    }


def named(node: ast.AST) -> Iterator[str]:
    """The modules of ours that a statement or call imports."""
    if isinstance(node, ast.ImportFrom):
        assert node.module, "imports are written in full"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from {name if name in MODULES else node.module for name in names} & MODULES.keys()
    elif isinstance(node, ast.Import):
        yield from {alias.name for alias in node.names} & MODULES.keys()
    elif isinstance(node, ast.Call) and "import_module" in (
        getattr(node.func, "id", None),
        getattr(node.func, "attr", None),
    ):
        yield from {str(a.value) for a in node.args if isinstance(a, ast.Constant)} & MODULES.keys()


def part(module: str) -> str:
    """The part in `TIERS` that a module belongs to: `bench.run` for `bench.run.plan`."""
    parts = module.split(".")
    known = {name for tier in TIERS for name in tier}
    return next(n for i in range(len(parts), 0, -1) if (n := ".".join(parts[:i])) in known)


def runs_back(module: str, other: str) -> bool:
    """Whether `module` may not import `other`."""
    tier = {name: number for number, tier in enumerate(TIERS) for name in tier}
    lowest = len(TIERS) - 1
    here, there = part(module), part(other)
    return here != there and tier[here] >= tier[there] and tier[there] != lowest


@cache
def arrows() -> list[tuple[str, str]]:
    """(module, what it imports) of all modules."""
    return sorted(
        (module, other)
        for module, path in MODULES.items()
        for other in imports(module, path.read_text(encoding="utf-8"))
    )


def test_no_import_runs_back():
    assert [arrow for arrow in arrows() if runs_back(*arrow)] == [LATE]


def test_no_modules_import_each_other_in_a_circle():
    graph: dict[str, set[str]] = {}
    for module, other in arrows():
        graph.setdefault(module, set()).add(other)
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) > 100


@pytest.mark.parametrize("lower", ["codecs.learned", "datasets"])
def test_what_codecs_share_imports_no_codec(lower):
    assert [
        (module, other)
        for module, other in arrows()
        if f"{module}.".startswith(f"{lower}.")
        and other.startswith("codecs.")
        and not other.startswith((lower, *OF_ALL_CODECS))
    ] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("codecs.jxl", "import bench.run.plan"),
        ("datasets.kodak", "def late():\n    from bench import metrics"),
        ("datasets.kodak", "importlib.import_module('reports.tables')"),
        ("bench.run.plan", "if TYPE_CHECKING:\n    from reports import tables"),
        ("bench.run.plan", "from bench.verdict.bd import Status"),
        ("bench.verdict.bd", "from bench import run as runs"),
        ("bench.record.store", "from bench.run import plan"),
        ("reports.page", "import bench.cli.reporting"),
    ],
)
def test_an_import_that_runs_back_is_found(module, source):
    assert [other for other in imports(module, source) if runs_back(module, other)]


def test_what_only_a_type_checker_sees_may_run_back_within_a_package():
    source = "if TYPE_CHECKING:\n    from bench.run.plan import Plan"
    assert imports("bench.record.store", source) == set()


def loaded(*arguments: str) -> set[str]:
    """Which heavy packages, and parts of ours, a command loads."""
    script = (
        "import sys\n"
        "from bench.__main__ import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = ('torch', 'scipy', 'pandas', 'matplotlib', 'skimage', 'rich', 'reports')\n"
        "print(*[name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("command", ["--help", "list"])
def test_what_answers_at_once_imports_nothing_heavy(command):
    assert loaded(command) == set()


def test_a_run_that_finds_all_done_imports_nothing_heavy(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    where = ("--dataset", str(tmp_path), "--run", str(tmp_path / "run"))
    run = ("run", "jpeg@50", *where, "--metrics", "psnr", "--no-report", "--quiet")
    loaded(*run)
    assert loaded(*run) <= {"reports"}
