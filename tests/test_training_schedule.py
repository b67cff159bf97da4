"""Phases and plans: the paper's table, learning rates, branches per rate, TOML files."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from codecs.learned.training.errors import TrainingError
from codecs.learned.training.schedule import (
    PRESETS,
    Phase,
    load_phases,
    phases_digest,
    plan,
    restrict,
    scale_lr,
    segment_at,
)


def test_paper_is_table_1() -> None:
    """Brand et al., CLIC 2022, table 1: until epoch, lr, λ, MSE, MS-SSIM, LPIPS, GAN, mask."""
    table = [
        (400, 1e-4, 0.02, 1, 0.1, 0, 0, "random"),
        (1200, 1e-5, 0.02, 1, 0.1, 0, 0, "random"),
        (2000, 1e-6, 0.02, 1, 0.1, 0, 0, "random"),
        (3850, 3e-5, 0.02, 1, 0.05, 0.015, 1e-4, "variance"),
        (4000, 3e-6, 0.02, 1, 0.05, 0.015, 1e-4, "variance"),
        (4600, 3e-5, None, 1, 0.05, 0.015, 1e-4, "variance"),
        (4750, 3e-6, None, 1, 0.05, 0.015, 1e-4, "variance"),
    ]
    segments = plan(PRESETS["paper"], 4750, [0.15])
    rows = [
        (s.stop, p.lr, p.label, p.mse, p.ms_ssim, p.lpips, p.gan, p.mask)
        for s in segments
        for p in [s.phase]
    ]
    assert rows == table
    assert [s.branch for s in segments] == [None] * 5 + [0] * 2
    assert [s.phase.reset for s in segments] == [True, False, False, True, False, True, False]
    assert all(s.lr(s.stop - 1) == s.lr(s.start) == s.phase.lr for s in segments)


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("steps", [71, 1000, 12345])
def test_segments_cover_the_run_without_gaps(name: str, steps: int) -> None:
    rates = [0.075, 0.15, 0.3]
    segments = plan(PRESETS[name], steps, rates)
    assert segments[0].start == 0
    assert all(a.stop == b.start for a, b in pairwise(segments))
    for branch in range(3):
        own = [s for s in segments if s.branch in (None, branch)]
        assert sum(s.stop - s.start for s in own) == steps
        assert own[-1].last
    assert sum(s.last for s in segments) == 3
    assert [s.first for s in segments if s.branch is not None].count(True) == 3
    for step in (0, steps - 1, segments[-1].stop - 1):
        found = segment_at(segments, step)
        assert found.start <= step < found.stop


def test_learning_rate_falls_geometrically_after_warming_up() -> None:
    phase = Phase(1.0, 1e-3, 1e-5, per_rate=True, warm_up=4)
    (segment,) = plan([phase], 101, [0.1])
    assert segment.lr(50) == pytest.approx(1e-4)
    assert segment.lr(100) == pytest.approx(1e-5)
    assert [segment.lr(i) / 1e-3 * 100 ** (i / 100) for i in range(5)] == pytest.approx(
        [0.2, 0.4, 0.6, 0.8, 1.0]
    )


def test_schedules_may_set_thresholds(tmp_path: Path) -> None:
    path = tmp_path / "schedule.toml"

    def load(value: str) -> bool | tuple[float, float]:
        path.write_text(f"[[phase]]\nshare = 1\nlr = 1e-3\nper_rate = true\nthresholds = {value}\n")
        (phase,) = load_phases(str(path))
        return phase.thresholds

    assert load("[5, 20.5]") == (5.0, 20.5)
    assert load("true") is True
    for wrong in ("[5]", "7", '["a", "b"]', "[5, 6, 7]", "[nan, 1]"):
        with pytest.raises(TrainingError, match=r"thresholds are true, false or \[t64, t32\]"):
            load(wrong)


def test_rate_and_adversary_come_in_late() -> None:
    phase = Phase(1.0, 1e-3, per_rate=True, rate_warm_up=0.2, gan=1e-4, gan_delay=0.05)
    (segment,) = plan([phase], 1000, [0.1])
    assert segment.rate_weight(0) == pytest.approx(0.1)
    assert segment.rate_weight(100) == pytest.approx(0.1**0.5)
    assert segment.rate_weight(200) == 1.0
    assert (segment.gan_weight(49), segment.gan_weight(50)) == (0.0, 1e-4)


@pytest.mark.parametrize(
    ("distortion", "left"),
    [
        ("mse", set()),
        ("ms-ssim", {"ms_ssim"}),
        ("lpips", {"ms_ssim", "lpips", "features"}),
        ("perceptual", {"ms_ssim", "lpips", "features", "gan"}),
    ],
)
def test_distortion_takes_terms_out(distortion: str, left: set[str]) -> None:
    given = [replace(phase, features=phase.lpips) for phase in PRESETS["paper"]]
    phases = restrict(given, distortion)
    names = ("ms_ssim", "lpips", "features", "gan")
    assert {t for p in phases for t in names if getattr(p, t)} == left
    assert all(p.mse == 1 for p in phases)


def test_one_kind_of_mask_throughout() -> None:
    phases = restrict(PRESETS["paper"], "mse", "random")
    assert {p.mask for p in phases} == {"random"}
    assert not any(p.thresholds for p in phases)
    assert {p.mask for p in restrict(PRESETS["paper"], "mse")} == {"random", "variance"}


def test_learning_rates_scale_together() -> None:
    (a, b) = scale_lr([Phase(0.5, 1e-3, 1e-4), Phase(0.5, 2e-3, gan_lr=1e-4)], 0.5)
    assert (a.lr, a.lr_end) == (5e-4, 5e-5)
    assert (b.lr, b.lr_end, b.gan_lr) == (1e-3, None, 1e-4)


def test_phases_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        "[[phase]]\nshare = 0.75\nlr = 1e-3\nlr_end = 1e-4\ncontrol = true\n"
        "[[phase]]\nshare = 0.25\nlr = 1e-5\nper_rate = true\nmask = 'variance'\n"
    )
    assert load_phases(str(path)) == (
        Phase(0.75, 1e-3, 1e-4, control=True),
        Phase(0.25, 1e-5, per_rate=True, mask="variance"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs .*phase.* tables with share, lr"),
        ("[[phase]]\nshare = 1\nlr = 1e-3\nspeed = 9\n", "speed"),
        ("[[phase]]\nshare = 1\nlr = 1e-3\n", "last phase must have per_rate"),
        ("[[phase]]\nshare = 0.5\nlr = 1e-3\nper_rate = true\n", "add up to 1"),
        ("[[phase]]\nshare = 1\nlr = 1e-3\nper_rate = true\nmask = 'x'\n", "no mask 'x'"),
        ("[[phase]]\nshare = 1\nlr = -1.0\nper_rate = true\n", "must be positive"),
        ("[[phase]]\nshare = 1\nlr = 1e-3\nper_rate = true\ngrain = -1\n", "grain must be"),
        ("[[phase]]\nshare = 1\nlr = 1e-3\nper_rate = true\nshrink = 0.5\n", "shrink within"),
        ("[[phase]]\nshare = 1\nlr = 'x'\nper_rate = true\n", "lr = 'x' is no float"),
        ("[[phase]]\nshare = 1\nlr = nan\nper_rate = true\n", "lr = nan is no float"),
        ("[[phase]]\nshare = 1\nlr = 1\nlr_end = true\nper_rate = true\n", "lr_end = True is no"),
        ("[[phase]]\nshare = 1\nlr = 1e-3\nper_rate = 1\n", "per_rate = 1 is no bool"),
        ("[[phase]]\nshare = 1\nlr = 1\nper_rate = true\nwarm_up = 0.5\n", "is no int"),
        ("[[phase]]\nshare = 1\nlr = 1\nper_rate = true\nmask = 3\n", "mask = 3 is no str"),
        ("[[phase]\n", "is not a schedule"),
        ("[phase]\nshare = 1\nlr = 1e-3\nper_rate = true\n", "no list of tables"),
        ("phase = [1]\n", "no list of tables"),
        ("[[phase]]\nshare = 1\nlr = 1e-3\nper_rate = true\nlpips = -1\n", "not be negative"),
        ("[[phase]]\nshare = 1\nlr = 1e-3\nper_rate = true\nmse = 0\n", "must be positive"),
        ("[[phase]]\nshare = 1\nlr = 1e-3\nper_rate = true\nwarm_up = -1\n", "warm_up, rate_w"),
    ],
)
def test_bad_schedules_are_explained(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(TrainingError, match=message):
        load_phases(str(path))


def test_fields_at_their_defaults_leave_a_runs_identity_alone() -> None:
    phases = PRESETS["paper"]
    same = [replace(p, grain=0.0, features=0.0) for p in phases]
    assert phases_digest(phases) == phases_digest(same)
    assert phases_digest(phases) != phases_digest([replace(p, grain=1.0) for p in phases])
    assert phases_digest(phases) != phases_digest(phases[::-1])


def test_bad_choices_are_explained() -> None:
    message = r"no preset 'papers': give paper, compact, trunk, branches, quick"
    with pytest.raises(TrainingError, match=message):
        load_phases("papers")
    with pytest.raises(TrainingError, match="no distortion 'vmaf'"):
        restrict(PRESETS["paper"], "vmaf")
    with pytest.raises(TrainingError, match="5 steps are too few for 7 phases"):
        plan(PRESETS["paper"], 5, [0.1])
    with pytest.raises(TrainingError, match="at least one target rate"):
        plan(PRESETS["paper"], 100, [])
    swapped = tuple(replace(p, per_rate=not p.per_rate) for p in PRESETS["paper"])
    with pytest.raises(TrainingError, match="must come last"):
        plan(swapped, 100, [0.1])
