"""Everybody can use the report: by keyboard alone, at any width, and by axe-core's rules."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("mode", ["slider", "side", "flip", "difference"])
def test_axe_finds_no_violation(visit, report, scheme, mode):
    """Of the whole page once; a mode changes nothing outside the section of pictures."""
    page = visit(report[0], f"#image=a.png&mode={mode}", color_scheme=scheme, bypass_csp=True)
    page.locator("#look").scroll_into_view_if_needed()
    page.wait_for_timeout(200)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    where = None if mode == "slider" else "#viewer"
    found: list[dict[str, Any]] = Axe().run(page, where).response["violations"]
    told = [(one["id"], one["impact"], [n["html"] for n in one["nodes"]][:3]) for one in found]
    assert not [one for one in told if one[1] in {"serious", "critical"}], told
    assert not told


def test_every_control_is_reached_and_works_by_keyboard(visit, report):
    page = visit(report[0], "#image=a.png&mode=flip")
    page.locator("#look").scroll_into_view_if_needed()
    page.wait_for_timeout(200)
    wanted = page.evaluate(
        """() => {
          const kinds = 'a[href], button, select, input, summary, canvas, svg.live [tabindex="0"]';
          const all = [...document.querySelectorAll(kinds)];
          const seen = all.filter((one) => one.checkVisibility() && !one.disabled);
          const groups = new Set();
          const stops = seen.filter((one) => {
            if (one.type !== 'radio') return true;
            return groups.has(one.name) ? false : groups.add(one.name);
          });
          stops.forEach((one, i) => { one.dataset.stop = i; });
          for (const one of seen) if (one.type === 'radio') one.dataset.stop = one.name;
          return stops.map((one) => one.dataset.stop);
        }"""
    )
    page.evaluate("document.activeElement.blur()")
    reached: set[str] = set()
    for _ in range(3 * len(wanted)):
        page.keyboard.press("Tab")
        stop = page.evaluate("document.activeElement?.dataset?.stop")
        if stop in reached and len(reached) >= len(wanted):
            break
        if stop:
            reached.add(stop)
    assert set(wanted) <= reached
    page.locator("#metric input").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#metric input:checked").get_attribute("value") == "ms-ssim"
    page.locator("#codecs input").first.focus()
    page.keyboard.press("Space")
    assert page.locator("#codecs input:not(:checked)").count() == 1
    page.locator(".stage canvas").focus()
    page.keyboard.press("+")
    page.keyboard.press("f")
    assert "zoom=" in page.evaluate("new Promise((r) => setTimeout(() => r(location.hash), 300))")


@pytest.mark.parametrize("width", [360, 768, 1920])
@pytest.mark.parametrize("scripted", [True, False])
def test_nothing_is_wider_than_the_window(visit, report, width, scripted):
    page = visit(report[0], viewport={"width": width, "height": 800}, java_script_enabled=scripted)
    if scripted:
        page.locator("#look").scroll_into_view_if_needed()
        page.wait_for_timeout(200)
    assert page.locator("main").bounding_box()["width"] <= width
    # Without a script nothing can be asked of the page but a picture of all of it.
    wide = page.locator("html").evaluate("e => e.scrollWidth") if scripted else width
    assert wide <= width


def test_first_paint_comes_within_a_second(visit, report):
    page = visit(report[0])
    paint = page.evaluate(
        """new Promise((done) => new PerformanceObserver((list) => {
          const found = list.getEntriesByName('first-contentful-paint');
          if (found.length) done(found[0].startTime);
        }).observe({type: 'paint', buffered: true}))"""
    )
    assert paint < 1000
