"""The report's page loads nothing, runs nothing, and can be read by everyone."""

from __future__ import annotations

import ast
import base64
import hashlib
import itertools
import json
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bench.verdict.comparison import Comparison
from reports import Caution, Provenance, palette, payload, script
from tests.reports_cases import (
    comparison,
    drawings,
    failed,
    kodak,
    ladder,
    plainly_written,
    written,
)

DRAWING = "data:image/svg+xml;base64,"
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=y>'{{7*7}}]]>../\x00\x1b[31m\u202e&amp;"


def test_nothing_is_loaded_and_nothing_foreign_runs(tmp_path):
    text, page = written(tmp_path, comparison(kodak({"jpeg": 2.0, "vvenc": 1.0})))
    assert not {"link", "iframe", "object", "base"} & {t for t, _ in page.tags}
    for tag, attributes in page.tags:
        assert ("src" in attributes) == (tag == "img")
        assert (attributes.get("src") or DRAWING).startswith(DRAWING)
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        if "href" in attributes:
            assert tag == "a"
            assert re.match(r"#|https://(arxiv\.org/abs|github\.com)/", attributes["href"] or "")
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert not re.search(r"url\((?!#)|@import|expression|javascript", style)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    policy = next(a for t, a in page.tags if t == "meta" and "http-equiv" in a)["content"] or ""
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'{digest(script)}'"
    assert rules["style-src"] == f"'{digest(style)}'"
    assert rules["require-trusted-types-for"] == "'script'"


def digest(text: str) -> str:
    """As a browser computes it for a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_the_script_never_parses_text_and_asks_nobody():
    joined = script.script()
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function|"
        r"createContextualFragment|setTimeout\(['\"]|\bfetch\b|XMLHttpRequest|WebSocket|"
        r"sendBeacon|localStorage|\bimport\b|cookie"
    )
    assert not re.search(forbidden, joined)
    assert "</script" not in joined
    assert "<!--" not in joined
    files = Path(script.__file__).parent / "static"
    for path in files.glob("*.js"):
        assert path.name in script.FILES
        assert len(path.read_text().splitlines()) < 300
        for line in path.read_text().splitlines():
            assert line.count("`") % 2 == 0, "a text spans lines: see `script._compact`"


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_data_survives_in_the_page_and_ends_no_element(document):
    text = payload.as_script_text(document)
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == document


def hostile() -> tuple[Comparison, Provenance]:
    name = f"evil{HOSTILE}"
    rows = [
        *ladder(
            name,
            1.5,
            images=(f"x{HOSTILE}.png", "b.png"),
            label=HOSTILE,
            version=HOSTILE,
            settings={HOSTILE: HOSTILE},
            command=HOSTILE,
            parameter=HOSTILE,
            tuned_for=(HOSTILE,),
        ),
        *ladder("vvenc", images=(f"x{HOSTILE}.png", "b.png"), label=f"V{HOSTILE}"),
        *ladder("=cmd|x", 2.0, images=(f"x{HOSTILE}.png", "b.png")),
    ]
    rows[-1] = failed("=cmd|x", "b.png", 4, HOSTILE)
    compared = comparison(rows, dataset=HOSTILE, unavailable={HOSTILE: HOSTILE})
    provenance = Provenance(
        title=HOSTILE,
        dataset=HOSTILE,
        source="javascript:alert(1)",
        notes=(HOSTILE,),
        skipped=((HOSTILE, HOSTILE),),
        command=HOSTILE,
        host={HOSTILE: HOSTILE},
        packages={HOSTILE: HOSTILE},
        metrics={HOSTILE: HOSTILE},
        cautions=(Caution(HOSTILE, HOSTILE),),
    )
    return compared, provenance


def test_hostile_names_are_inert(tmp_path):
    compared, provenance = hostile()
    out = tmp_path / "run"
    out.mkdir()
    text, page = written(out, compared, provenance=provenance, drawn=True)
    assert [a.get("type") for t, a in page.tags if t == "script"] == ["application/json", None]
    for tag, attributes in page.tags:
        assert tag != "img" or (attributes["src"] or "").startswith(DRAWING)
    assert not any(n.startswith("on") for _, attributes in page.tags for n in attributes)
    assert "alert(1)" in page.text  # shown, not hidden
    assert "{{7*7}}" in page.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text)
    assert drawings(text)  # each parsed as XML
    assert list(tmp_path.iterdir()) == [out]
    assert {p.name for p in out.iterdir()} == {"report.html", "curves", "tables"}


def test_the_page_is_accessible_in_structure():
    _, page = plainly_written()
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert page.captions == len(page.tables)
    levels = [int(t[1]) for t, _ in page.tags if re.fullmatch(r"h[1-6]", t)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    referenced = {one for _, a in page.tags for one in (a.get("aria-labelledby") or "").split()} | {
        (a["href"] or "")[1:] for t, a in page.tags if t == "a" and (a["href"] or "")[:1] == "#"
    }
    assert referenced <= set(ids)


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_every_text_colour_has_a_contrast_of_four_and_a_half():
    css = (Path(palette.__file__).parent / "static" / "style.css").read_text()
    schemes = re.findall(r"--muted:(#\w+);--rule:#\w+;--soft:(#\w+);--line:#\w+;(.*?)[\n}]", css)
    assert len(schemes) == 2
    backgrounds = (palette.LIGHT_BACKGROUND, palette.DARK_BACKGROUND)
    curves = ((*palette.LIGHT, palette.LIGHT_INK), (*palette.DARK, palette.DARK_INK))
    for (muted, soft, rest), paper, colours in zip(schemes, backgrounds, curves, strict=True):
        texts = [muted, *re.findall(r"#\w{6}", rest), *colours]
        assert all(contrast(colour, paper) >= 4.5 for colour in texts)
        assert contrast(colours[-1], soft) >= 4.5
        assert contrast(muted, soft) >= 4.5


def test_curves_never_differ_by_colour_alone():
    count = len(palette.LIGHT) * len(palette.MARKERS)
    looks = {(palette.colour_index(i), palette.marker_index(i)) for i in range(count)}
    assert len(looks) == count


def test_no_codec_is_known_by_name_but_to_the_claims():
    folder = Path(payload.__file__).parent
    names = re.compile("rdonet|minnen|hyperprior|vvenc|jpeg|avif|hevc", re.IGNORECASE)
    for path in folder.glob("*.py"):
        if path.name.startswith(("claims", "tutorial")):  # what is said of certain codecs
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            if id(node) not in told  # docstrings may give examples
        ]
        assert not [text for text in texts if names.search(text)]
