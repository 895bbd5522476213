"""What people do in the explorer: find, ask, read, correct, compare."""

from __future__ import annotations

from playwright.sync_api import Page, Route, expect

from relgnn.loop.ledger import Ledger
from tests.serving.explorer.site import Site, needs_browser, nodes, opened

pytestmark = needs_browser


def test_an_entity_is_found_and_its_neighbourhood_drawn(page: Page, site: Site) -> None:
    opened(page, site, "explore")
    page.get_by_role("combobox", name="Find an entity").press_sequentially("ada a")
    page.get_by_role("option", name="Ada Abel").click()
    expect(page.get_by_role("heading", name="Ada Abel")).to_be_visible()
    edges = site.get("neighbourhood", entity="e0")["edges"]
    ends = {end for edge in edges for end in (edge["head"], edge["tail"])}
    assert set(nodes(page)) == ends and len(ends) > 1
    assert page.evaluate("document.querySelector('.graph').cy.edges().length") == len(edges)
    links = page.locator(".edges a")
    expect(links).to_have_count(len(edges))
    name = links.first.inner_text()
    links.first.click()
    expect(page.locator(".about h2")).to_have_text(name)
    before = page.evaluate("document.querySelector('.graph').cy?.zoom() ?? 0")
    nodes(page)
    page.get_by_role("button", name="Zoom in").click()
    assert page.evaluate("document.querySelector('.graph').cy.zoom()") != before


def test_a_query_has_ranked_answers_and_what_speaks_for_them(page: Page, site: Site) -> None:
    asked, place, told = site.judged_answer()
    relations = {r["id"]: r["name"] for r in site.get("relations")["relations"]}
    opened(page, site, "ask")
    page.get_by_role("combobox", name="Entity").fill(asked["head"])
    page.get_by_label("Relation", exact=True).select_option(label=relations[asked["relation"]])
    page.get_by_role("button", name="Ask", exact=True).click()
    lines = page.locator("[data-view=ask] .ranked > li")
    answers = site.post("predict", asked)["answers"]
    expect(lines).to_have_count(len(answers))
    assert page.locator(".ranked .name").all_inner_texts() == [one["name"] for one in answers]
    assert all("%" in text for text in page.locator(".line > .number").all_inner_texts())
    if place:  # the first one's reasons are open from the start
        lines.nth(place).get_by_role("button", name="Why").click()
    why = lines.nth(place).locator(".why")
    for heading in ("Views", "Sentences", "Paths"):
        expect(why.get_by_role("heading", name=heading)).to_be_visible()
    text = why.inner_text()
    assert all(one["text"] in text for one in told["judged"]["sentences"])
    assert all(one["path"] in text for one in told["paths"])
    rows = why.locator(".views tbody tr")
    expect(rows).to_have_count(len(told["judged"]["views"]))
    button = lines.nth(place).get_by_role("button", name="Why")
    expect(button).to_have_attribute("aria-expanded", "true")
    button.click()
    expect(why).to_be_hidden()


def test_heads_can_be_asked_for(page: Page, site: Site) -> None:
    opened(page, site, "ask", tail="e21", relation="born")
    expect(page.locator("[data-view=ask] .ranked > li")).to_have_count(10)
    expect(page.get_by_label("What is asked for")).to_have_value("tail")
    expect(page.locator(".why .triple").first).to_contain_text("Bern")


def test_an_incomplete_question_is_told_so(page: Page, site: Site) -> None:
    opened(page, site, "ask")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_role("alert").first).to_have_text("name an entity")
    expect(page.get_by_role("combobox", name="Entity")).to_be_focused()


def test_a_texts_triples_are_marked_in_place(page: Page, site: Site) -> None:
    """A character beyond the first 65,536 counts as one, as it does in the service."""
    text = "\U0001f600 Ada Abel was born in Bern. She lives in Hull."
    opened(page, site, "read")
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_label("Least probability").fill("0")
    page.get_by_role("button", name="Read", exact=True).click()
    triples = site.post("extract", {"text": text, "at_least": 0})["triples"]
    lines = page.locator("[data-view=read] .ranked > li")
    expect(lines).to_have_count(len(triples))
    marks = page.locator("mark")
    assert {"Ada Abel", "Bern", "Hull"} <= set(marks.all_inner_texts())
    assert page.locator("p.text").inner_text() == text
    lines.first.hover()
    first = triples[0]
    spans = [span for span in (first["head_span"], first["tail_span"]) if span]
    written = {text[start:end] for start, end in spans}
    assert set(page.locator("mark.lit").all_inner_texts()) == written


def test_the_ledger_is_browsed_and_corrected(page: Page, site: Site) -> None:
    opened(page, site, "ledger", decision="accepted")
    first = page.locator("[data-view=ledger] .ranked > li").first
    first.get_by_text("sentence").click()
    event = site.get("ledger", decision="accepted")["events"][0]
    expect(first.locator(".sentences li").first).to_contain_text(event["sentences"][0]["text"])
    triple = {name: event[name] for name in ("head", "relation", "tail")}
    for word in ("accept", "reject"):
        first.get_by_role("button", name=word).click()
        expect(first.get_by_role("button", name=word)).to_have_attribute("aria-pressed", "true")
        line = Ledger(site.run / "ledger").verdicts()[-1]
        assert {name: line[name] for name in (*triple, "verdict")} == triple | {"verdict": word}
    expect(first.get_by_role("button", name="accept")).to_have_attribute("aria-pressed", "false")
    expect(page.get_by_role("status")).to_contain_text("rejected: ")
    asked = {name: event[name] for name in ("head", "relation")}
    answers = site.post("predict", asked | {"k": 100, "why": False})["answers"]
    place = [one["entity"] for one in answers].index(event["tail"])
    opened(page, site, "ask", **asked, k=place + 1)
    line = page.locator("[data-view=ask] .ranked > li").nth(place)
    if place:
        line.get_by_role("button", name="Why").click()
    said = line.locator(".why").get_by_role("button", name="reject")
    expect(said).to_have_attribute("aria-pressed", "true")
    opened(page, site, "ledger", decision="accepted")
    page.get_by_label("Verdict").select_option("reject")
    page.get_by_role("button", name="Filter").click()
    only = page.locator("[data-view=ledger] .ranked > li")
    expect(only).to_have_count(1)
    expect(only.get_by_role("button", name="reject")).to_have_attribute("aria-pressed", "true")


def test_the_same_filter_shows_what_has_changed_since(page: Page, site: Site) -> None:
    opened(page, site, "ledger", verdict="none")
    lines = page.locator("[data-view=ledger] .ranked > li")
    expect(lines).to_have_count(20)
    judged = lines.nth(5).locator(".triple").inner_text()
    lines.nth(5).get_by_role("button", name="accept").click()
    expect(page.get_by_role("status")).to_contain_text("accepted: ")
    page.get_by_role("button", name="Filter").click()
    expect(lines.filter(has_text=judged)).to_have_count(0)


def test_what_comes_after_its_question_was_left_is_not_shown(page: Page, site: Site) -> None:
    held: list[Route] = []
    page.route("**/v1/neighbourhood*", lambda route: held.append(route))
    with page.expect_request("**/v1/neighbourhood*"):
        opened(page, site, "explore", entity="e0")
    page.evaluate("location.hash = '#/explore'")
    with page.expect_response("**/v1/neighbourhood*"):
        held[0].continue_()
    page.get_by_role("combobox", name="Find an entity").press_sequentially("ben")
    expect(page.get_by_role("option", name="Ben Bolt")).to_be_visible()
    expect(page.locator(".about")).to_have_count(0)


def test_the_ledger_has_pages(page: Page, site: Site) -> None:
    opened(page, site, "ledger")
    expect(page.locator("[data-view=ledger] .ranked > li")).to_have_count(20)
    page.get_by_role("link", name="next").click()
    expect(page.locator("[data-view=ledger] .ranked")).to_have_attribute("start", "21")
    page.get_by_role("link", name="before").click()
    expect(page.locator("[data-view=ledger] .ranked")).to_have_attribute("start", "1")


def test_two_runs_are_compared(page: Page, site: Site) -> None:
    opened(page, site, "compare", head="e0", relation="born", name="Ada Abel")
    facts = site.get("comparison")
    rows = page.locator(".measures tbody tr")
    expect(rows).to_have_count(len(facts["here"]["measures"]))
    cells = rows.first.locator("td").all_inner_texts()
    assert cells[0] == f"{facts['here']['measures'][0]['mrr']:.3f}"
    assert facts["differences"] == [
        {"key": "loop.min_probability", "here": "0.02", "there": "0.01"}
    ]
    expect(page.locator(".differences")).to_contain_text("loop.min_probability")
    both = site.post("compare", {"head": "e0", "relation": "born", "why": False})
    columns = page.locator("[data-view=compare] .even > div")
    for column, side in zip((columns.first, columns.last), ("here", "there"), strict=True):
        expect(column.locator("li")).to_have_count(10)
        assert column.locator(".name").all_inner_texts() == [one["name"] for one in both[side]]
