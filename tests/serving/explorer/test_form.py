"""The explorer with the keyboard alone, on a phone, and in the dark."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.serving.explorer.site import VIEWS, Site, needs_browser, nodes, opened

pytestmark = needs_browser
PHONE = {"width": 390, "height": 844}


def focused(page: Page) -> str:
    """What has the focus, in words; and whether it can be seen."""
    found = page.evaluate(
        """() => {
          const one = document.activeElement;
          if (one === document.body) return ["body", true];
          const style = getComputedStyle(one);
          const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
          const name = one.getAttribute("aria-label")
            || one.labels?.[0]?.textContent || one.textContent;
          return [name.trim(), seen && one.getClientRects().length > 0];
        }"""
    )
    assert found[1], f"{found[0]} has the focus and does not show it"
    return str(found[0])


def test_everything_works_by_keyboard(page: Page, site: Site) -> None:
    opened(page, site, "explore")
    keys = page.keyboard
    keys.press("Tab")
    assert focused(page) == "Skip to the content"
    keys.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    keys.press("Tab")
    assert focused(page) == "Find an entity"
    keys.type("b")
    expect(page.get_by_role("option", name="Ben Bolt")).to_be_visible()
    keys.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()
    keys.type("en")
    option = page.get_by_role("option", name="Ben Bolt")
    expect(option).to_have_attribute("aria-selected", "true")
    keys.press("Enter")
    expect(page.get_by_role("heading", name="Ben Bolt")).to_be_visible()
    nodes(page)
    seen = []
    while (name := (keys.press("Tab"), focused(page))[1]) != "body":  # out at the end: no trap
        seen.append(name)
        assert len(seen) < 100
    own = ["Show", "ask about it", "Zoom in", "Zoom out", "Show all of the graph"]
    edges = site.get("neighbourhood", entity="e1")["edges"]
    assert seen[:5] == own and len(seen) == 5 + len(edges)
    while (name := (keys.press("Shift+Tab"), focused(page))[1]) != "Ask":
        assert name != "Skip to the content"
    keys.press("Enter")
    expect(page.locator("[data-view=ask] h1")).to_be_focused()
    keys.press("Tab")
    keys.type("Ada Abel")
    expect(page.get_by_role("option", name="Ada Abel")).to_be_visible()
    keys.press("Enter")
    keys.press("Tab")
    assert focused(page) == "Relation"
    keys.type("born")
    keys.press("Tab")
    keys.press("Tab")
    keys.press("Enter")
    lines = page.locator("[data-view=ask] .ranked > li")
    expect(lines).to_have_count(10)
    button = lines.nth(1).get_by_role("button", name="Why")
    button.focus()
    keys.press("Enter")
    expect(lines.nth(1).locator(".why .triple")).to_be_visible()


def scrolls_sideways(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@pytest.mark.parametrize("context", [{"viewport": PHONE, "has_touch": True}], indirect=True)
def test_nothing_is_wider_than_a_phone(page: Page, site: Site) -> None:
    asked, _, _ = site.judged_answer()
    for view in VIEWS:
        opened(page, site, view, entity="e22" if view == "explore" else "", **asked)
        if view == "explore":
            nodes(page)
        elif view == "read":
            page.get_by_label("Text", exact=True).fill("Ada Abel met Ben Bolt in Bern. " * 5)
            page.get_by_label("Least probability").fill("0")
            page.get_by_role("button", name="Read", exact=True).tap()
        if view != "explore":
            expect(page.locator(f"[data-view={view}] .ranked > li").first).to_be_visible()
        assert not scrolls_sideways(page), view
        small = page.evaluate(
            """() => [...document.querySelectorAll("button, select, input, nav a")]
              .map((one) => one.getBoundingClientRect()).filter((box) => box.height)
              .filter((box) => box.height < 24 || box.width < 24).length"""
        )
        assert small == 0, view


def luminance(page: Page, name: str) -> float:
    """Relative luminance (WCAG 2) of a colour of the page's body."""
    rgb = page.evaluate(
        "(name) => getComputedStyle(document.body)[name].match(/[\\d.]+/g).map(Number)", name
    )
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
              for c in (value / 255 for value in rgb[:3])]  # fmt: skip
    return float(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])


@pytest.mark.parametrize("context", [{"color_scheme": "dark"}], indirect=True)
def test_it_is_dark_where_the_system_is_and_has_a_switch(page: Page, site: Site) -> None:
    opened(page, site, "explore", entity="e0")
    nodes(page)

    def paper_and_ink() -> tuple[float, float]:
        return luminance(page, "backgroundColor"), luminance(page, "color")

    paper, ink = paper_and_ink()
    assert paper < 0.05 and (ink + 0.05) / (paper + 0.05) > 7
    label = "document.querySelector('.graph').cy.nodes()[0].style('color')"
    drawn = page.evaluate(label)
    switch = page.get_by_role("button", name="Dark")
    expect(switch).to_have_attribute("aria-pressed", "true")
    switch.click()
    expect(switch).to_have_attribute("aria-pressed", "false")
    paper, ink = paper_and_ink()
    assert paper > 0.9 and (paper + 0.05) / (ink + 0.05) > 7
    assert page.evaluate(label) != drawn
    page.reload()
    assert luminance(page, "backgroundColor") > 0.9
