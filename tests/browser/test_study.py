"""The page that asks people, as they use it."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from bench.study import votes
from bench.study.design import ORIGINAL, Study
from bench.study.outcome import outcome
from reports import write_report
from tests.reports_cases import PROVENANCE, plain
from tests.study_cases import written


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Study, Path]:
    return written(tmp_path_factory.mktemp("study"))


def shown(page: Page) -> dict[str, str]:
    """What the page has on the left and on the right, by name of item."""
    return page.evaluate(
        """() => {
          const data = JSON.parse(document.getElementById('data').textContent);
          const of = (src) => Object.entries(data.items).filter(([, item]) =>
            (item.file || data.pictures[item.picture].original) === src).map(([name]) => name);
          return Object.fromEntries(['left', 'right'].map((id) => [id, of(
            document.getElementById(id).src)]));
        }"""
    )


def until(page: Page, condition: str, arg: str | None = None) -> None:
    """Playwright's `wait_for_function`, where the first time is too early, evaluates again in the
    page, whose policy forbids that."""
    deadline = time.monotonic() + 30
    while not page.evaluate(condition, arg):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(10)


def is_ready(page: Page) -> None:
    until(page, "document.getElementById('left').dataset.ready === 'true'")


def press(page: Page, key: str) -> None:
    """Answer by a key, and wait until the page has taken the answer."""
    is_ready(page)
    pair = page.locator("#progress").text_content()
    page.keyboard.press(key)
    until(
        page,
        """(pair) => document.getElementById('trial').hidden
          || document.getElementById('progress').textContent !== pair""",
        pair,
    )


def answer(page: Page, study: Study) -> None:
    """Prefer the original, and then the codec that comes first in the alphabet, by keyboard."""
    is_ready(page)

    def rank(side: str) -> tuple[bool, str]:
        found = {study.items[name].codec for name in shown(page)[side]}
        return (ORIGINAL not in found, min(found))

    press(page, "ArrowLeft" if rank("left") < rank("right") else "ArrowRight")


def downloaded(page: Page, folder: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def violations(page: Page) -> list[tuple[str, list[str]]]:
    """Of axe-core's rules: which, and where."""
    found = Axe().run(page).response["violations"]
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]


def test_votes_by_keyboard_reach_the_report(visit, made, tmp_path):
    study, path = made
    page = visit(path)
    page.get_by_role("button", name="Begin").press("Enter")
    total = study.trials + len(study.checks)
    for number in range(total):
        expect(page.locator("#progress")).to_have_text(f"Pair {number + 1} of {total}")
        answer(page, study)
    expect(page.get_by_role("heading", name="Thank you")).to_be_focused()
    file = downloaded(page, tmp_path)
    ballot = votes.read_ballot(file, {study.id: study})
    assert len(ballot.votes) == total
    assert not votes.failed(ballot, study)
    assert all(vote.scale == 1 and vote.milliseconds > 0 for vote in ballot.votes)
    votes.write([ballot], study, path.parents[2])
    found = outcome(path.parent)
    assert found
    assert found.preferences
    assert found.preferences.scores.argmax() == study.codecs.index("jpeg")
    path = write_report(tmp_path, [plain()], PROVENANCE, outcomes=[found])
    report = visit(path, bypass_csp=True)
    rows = report.locator("table.preferred tbody tr")
    assert [row.locator("code").inner_text() for row in rows.all()] == ["jpeg", "rdonet", "vvenc"]
    expect(rows.first).to_contain_text("won every vote")
    report.get_by_role("link", name="What people preferred").click()
    expect(report.locator("#preferred")).to_be_in_viewport()
    report.get_by_text("Every pair").click()
    assert not violations(report)


def test_answers_are_taken_back_kept_and_gone_on_with(visit, made, tmp_path):
    study, path = made
    page = visit(path)
    page.get_by_role("button", name="Begin").click()
    answer(page, study)
    is_ready(page)
    before = shown(page)
    answer(page, study)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#progress")).to_have_text(re.compile("^Pair 2 "))
    is_ready(page)
    assert shown(page) == before
    page.keyboard.down("o")
    expect(page.get_by_role("button", name="Original")).to_have_attribute("aria-pressed", "true")
    assert page.locator("#left").get_attribute("src") == page.locator("#right").get_attribute("src")
    page.keyboard.up("o")
    page.keyboard.press("o")
    assert shown(page) == before
    page.locator("#left").hover()
    page.mouse.down()
    expect(page.locator("#right-name")).to_have_text("Original")
    page.mouse.up()
    expect(page.locator("#right-name")).to_have_text("B")
    answer(page, study)
    page.get_by_role("button", name="Pause").click()
    first = json.loads(downloaded(page, tmp_path).read_text())
    assert len(first["votes"]) == 2
    page.reload()
    expect(page.get_by_text("2 answers are kept in this browser")).to_be_visible()
    page.get_by_role("button", name="Go on").click()
    answer(page, study)
    page.get_by_role("button", name="Pause").click()
    second = json.loads(downloaded(page, tmp_path).read_text())
    assert second["participant"] == first["participant"]
    assert second["votes"][:2] == first["votes"]
    page.reload()
    page.get_by_role("button", name="Begin anew").click()
    answer(page, study)
    page.get_by_role("button", name="Pause").click()
    other = json.loads(downloaded(page, tmp_path).read_text())
    assert other["participant"] != first["participant"]
    assert len(other["votes"]) == 1


def test_without_a_place_to_keep_answers_it_works_and_says_so(visit, made):
    study, path = made
    page = visit(path)
    page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full'); }; }")
    page.get_by_role("button", name="Begin").click()
    answer(page, study)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("This browser does not keep them")).to_be_visible()


def test_participants_are_asked_in_orders_of_their_own_and_in_balance(visit, tmp_path):
    """Each is asked every pair of codecs as often as any other, and the checks between."""
    study, path = written(tmp_path, trials=6)
    page = visit(path)
    orders = []
    for _ in range(4):
        page.evaluate("localStorage.clear()")
        page.reload()
        page.get_by_role("button", name="Begin").click()
        for _ in range(study.trials + len(study.checks)):
            press(page, "ArrowLeft")
        expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
        orders.append(json.loads(downloaded(page, tmp_path).read_text())["votes"])
    assert len({json.dumps([vote["left"] for vote in order]) for order in orders}) == 4
    checks = set(map(frozenset, study.checks))
    sides: Counter[bool] = Counter()
    for order in orders:
        pairs = [frozenset((vote["left"], vote["right"])) for vote in order]
        assert checks < set(pairs)
        asked = Counter(
            frozenset(study.items[name].codec for name in pair)
            for pair in pairs
            if pair not in checks
        )
        assert set(asked.values()) == {2}
        assert len(asked) == 3
        sides.update(
            vote["left"] == pair[0]
            for vote in order
            for pair in study.checks
            if vote["left"] in pair
        )
    assert min(sides.values()) > 0
    assert len(sides) == 2


@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_no_violation(visit, made, width):
    page = visit(made[1], viewport={"width": width, "height": 740}, bypass_csp=True)
    for press in ("Begin", "Pause", None):
        assert not violations(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if press:
            page.get_by_role("button", name=press).click()
