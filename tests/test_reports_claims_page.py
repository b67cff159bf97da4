"""`bench report RUN --claims FILE`: what a run says of the claims, as a page of the docs."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from PIL import Image as PillowImage

from bench.__main__ import main
from reports.claims import RDONET_CLAIMS
from reports.claims_page import BEGIN, END, NoClaims, write_claims
from reports.claims_rules import HOLDS
from tests.conftest import ROOT
from tests.helpers import run_alone
from tests.reports_cases import PROVENANCE, comparison, ladder, plain

MEASURED = replace(
    PROVENANCE,
    command="python -m bench run rdonet-msssim minnen vvenc --dataset a|b",
    finished="2026-11-29T10:00:00Z",
    metrics={"psnr": "1", "ms-ssim": "2"},
)


def measured():
    """`rdonet-msssim` needs 0.7 times the bits of `minnen`; the anchor of the run is VVC."""
    rows = [*ladder("rdonet-msssim", 0.7), *ladder("minnen"), *ladder("vvenc")]
    return comparison(rows)


def cells(text: str, start: str) -> list[str]:
    row = next(line for line in text.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def test_the_page_says_what_was_measured_with_what(tmp_path):
    path = tmp_path / "claims.md"
    write_claims(path, measured(), MEASURED)
    text = path.read_text()
    row = cells(text, "Zero-pass RDONet needs fewer bits than Minnen")
    assert row[1] == "Brand et al., slides, 2022"
    assert row[2].startswith("-30.0 %")
    assert row[3:] == [HOLDS, "python -m bench.compare rdonet-msssim minnen --dataset kodak"]
    assert cells(text, "minnen ") == ["minnen", "lib 1.2; weights 0f3a", "cpu"]
    for fact in (
        "Data set: three pictures\n- Images: 3\n",
        "2026-11-29T10:00:00Z",
        "psnr 1, ms-ssim 2",
        r"a\|b",
    ):
        assert fact in text
    assert all(claim.text[:20] in text.replace("\\", "") for claim in RDONET_CLAIMS)


def test_what_stands_around_the_lines_is_kept(tmp_path):
    path = tmp_path / "claims.md"
    path.write_text(f"# By hand\n\n{BEGIN}\nof an earlier run\n{END}\n\nRemarks.\n")
    write_claims(path, measured(), MEASURED)
    first = path.read_text()
    assert first.startswith(f"# By hand\n\n{BEGIN}\n- Data set")
    assert first.endswith(f"{END}\n\nRemarks.\n")
    assert "of an earlier run" not in first
    write_claims(path, measured(), MEASURED)
    assert path.read_text() == first


def test_a_page_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("# Something else\n")
    with pytest.raises(NoClaims, match="has no lines"):
        write_claims(path, measured(), MEASURED)
    assert path.read_text() == "# Something else\n"


def test_runs_without_such_codecs_say_which_are_needed(tmp_path):
    path = tmp_path / "claims.md"
    with pytest.raises(NoClaims, match=r"none of the codecs .*: rdonet, rdonet-msssim"):
        write_claims(path, plain(), MEASURED)
    assert not path.exists()


def test_the_command_explains_what_the_run_lacks(tmp_path, photo, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    PillowImage.fromarray(photo[:40, :50]).save(pictures / "a.png")
    run_alone(pictures, tmp_path / "run", "jpeg", "webp")
    page = tmp_path / "claims.md"
    assert main(["report", str(tmp_path / "run"), "--no-pictures", "--claims", str(page)]) == 2
    assert "none of the codecs that claims are about" in capsys.readouterr().err
    assert not page.exists()


def test_the_page_of_the_project_can_be_written_again():
    text = (ROOT / "docs" / "claims.md").read_text()
    assert text.index(f"{BEGIN}\n") < text.index(END)
