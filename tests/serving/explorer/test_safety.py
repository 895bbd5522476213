"""The explorer runs nothing that the data say, asks nobody else, and keeps a key for a tab."""

from __future__ import annotations

import json

from playwright.sync_api import BrowserContext, Page, Request, Route, expect

from tests.serving.explorer.site import EVIL, VIEWS, Site, needs_browser, nodes, opened

pytestmark = needs_browser


def test_nothing_comes_from_elsewhere(page: Page, site: Site) -> None:
    """Whatever is not the service is blocked, and nothing is missed."""
    for view in VIEWS:
        opened(page, site, view, entity="e0" if view == "explore" else "")
    opened(page, site, "explore", entity="e0")
    nodes(page)
    page.goto(f"{site.home}docs")
    expect(page.locator("h1").first).to_contain_text("relgnn")
    assert len(site.requests) > 15
    assert [url for url in site.requests if not url.startswith(site.home)] == []


def test_names_are_never_html(page: Page, site: Site) -> None:
    opened(page, site, "explore", entity="e22")
    expect(page.locator(".about h2")).to_have_text(EVIL)
    assert "e22" in nodes(page)
    find = page.get_by_role("combobox", name="Find an entity")
    find.fill("<img")
    expect(page.get_by_role("option").first).to_contain_text(EVIL)
    opened(page, site, "ask", tail="e22", relation="knows", name=EVIL)
    expect(page.locator(".why .triple").first).to_contain_text(f"friend of {EVIL}")
    opened(page, site, "read")
    page.get_by_label("Text", exact=True).fill(f"{EVIL} Ada Abel was born in Bern.")
    page.get_by_label("Least probability").fill("0")
    page.get_by_role("button", name="Read", exact=True).click()
    expect(page.locator("p.text")).to_contain_text(EVIL)
    opened(page, site, "ledger", entity="e22", name=EVIL)
    expect(page.locator("[data-view=ledger] .triple").first).to_contain_text(EVIL)
    opened(page, site, "compare", tail="e22", relation="knows", name=EVIL)
    expect(page.locator("[data-view=compare] .even .name").first).to_be_visible()
    assert page.locator("img").count() == 0


def test_the_policy_refuses_html_even_where_a_mistake_would_make_it(
    context: BrowserContext, site: Site
) -> None:
    page = context.new_page()
    opened(page, site, "explore")
    tried = "(text) => { try { document.body.innerHTML = text } catch (e) { return e.name } }"
    assert page.evaluate(tried, EVIL) == "TypeError"
    assert page.locator("img").count() == 0 and page.evaluate("window.caught") is None


def test_a_key_is_asked_for_once_and_kept_for_the_tab_alone(
    context: BrowserContext, site: Site
) -> None:
    page = context.new_page()

    def guarded(route: Route, request: Request) -> None:
        if request.headers.get("authorization") == "Bearer right":
            route.continue_()
        else:
            headers = {"WWW-Authenticate": "Bearer", "Content-Type": "application/json"}
            error = json.dumps({"error": "give a key that is known here"})
            route.fulfill(status=401, headers=headers, body=error)

    context.route("**/v1/**", guarded)
    opened(page, site, "explore", entity="e0")
    field = page.get_by_label("Key to this service")
    expect(page.get_by_role("dialog")).to_contain_text("give a key")
    field.fill("wrong")
    field.press("Enter")
    expect(field).to_have_value("")
    field.fill("right")
    field.press("Enter")
    expect(page.locator(".about h2")).to_have_text("Ada Abel")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.evaluate("Object.values(sessionStorage)") == ["right"]
    assert "right" not in page.evaluate("JSON.stringify(localStorage) + document.cookie")
    page.reload()
    expect(page.locator(".about h2")).to_have_text("Ada Abel")
    page.get_by_role("button", name="Forget key").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    page.keyboard.press("Escape")
    expect(page.locator("[data-view=explore] .error")).to_contain_text("give a key")
