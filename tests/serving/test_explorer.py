"""The explorer as people meet it: in Chromium, with the mouse, with the keyboard, on a phone."""

from __future__ import annotations

import json
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import torch
import uvicorn
import yaml
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Request,
    Route,
    expect,
    sync_playwright,
)

from benchmarks.explorer import BROWSERS
from relgnn.config import load_config
from relgnn.data.registry import load_graph
from relgnn.loop.ledger import Ledger
from relgnn.serving.app import create_app
from relgnn.serving.settings import Settings
from relgnn.serving.share import shared_vectors
from relgnn.serving.workers import listening

CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium on the PATH (Debian: apt-get install chromium)"
)

EVIL = '<img src=x onerror="window.caught=1">'
VIEWS = ("explore", "ask", "read", "ledger", "compare")
PHONE = {"width": 390, "height": 844}


@dataclass
class Site:
    """A service that runs, and what its page asked for."""

    port: int
    run: Path
    requests: list[str] = field(default_factory=list)

    @property
    def home(self) -> str:
        return f"http://localhost:{self.port}/"

    def get(self, path: str, **params: object) -> Any:
        address = f"{self.home}v1/{path}?{urlencode(params)}"
        with urllib.request.urlopen(address, timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, body: object) -> Any:
        request = urllib.request.Request(
            f"{self.home}v1/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def judged_answer(self) -> tuple[dict[str, str], int, dict[str, Any]]:
        """A query, the place of an answer that the loop judged, and what speaks for that one."""
        for event in self.get("ledger", limit=100)["events"]:
            asked = {"head": event["head"], "relation": event["relation"]}
            answers = self.post("predict", asked)["answers"]
            places = [i for i, one in enumerate(answers) if one["entity"] == event["tail"]]
            told = self.get("explain", **asked, tail=event["tail"])
            if places and told["judged"]["sentences"] and told["paths"]:
                return asked, places[0], told
        raise AssertionError("no answer was judged")


@pytest.fixture(scope="module")
def run(own_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, over data in which a town and a relation have names that are HTML."""
    folder = tmp_path_factory.mktemp("explored")
    run = Path(shutil.copytree(own_run, folder / "run"))
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text())
    data = Path(shutil.copytree(config["data"]["path"], folder / "data"))
    for name, old, new in (
        ("entities.tsv", "\tCork\ta town\n", f"\t{EVIL}\t{EVIL}\n"),
        ("relations.tsv", "\tfriend of\t", f"\tfriend of {EVIL}\t"),
    ):
        text = (data / name).read_text()
        assert old in text
        (data / name).write_text(text.replace(old, new))
    config["data"]["path"], config["loop"]["min_probability"] = str(data), 0.02
    path.write_text(yaml.safe_dump(config))
    environment = json.loads((run / "environment.json").read_text())
    [known] = environment["data"]
    environment["data"][known] = load_graph(load_config(path).data).checksum
    (run / "environment.json").write_text(json.dumps(environment))
    return run


@pytest.fixture(scope="module")
def site(run: Path, own_run: Path) -> Iterator[Site]:
    before = torch.get_num_threads()
    settings = Settings(
        run=run, vectors=shared_vectors(run), port=0, rate=1e6, burst=10**6,
        compare=own_run, compare_vectors=shared_vectors(own_run),
    )  # fmt: skip
    with listening(settings) as listener:
        config = uvicorn.Config(create_app(settings), http="h11", ws="none", log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield Site(listener.getsockname()[1], run)
        server.should_exit = True
        thread.join()
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    context = browser.new_context(**getattr(request, "param", {}))
    context.set_default_timeout(60_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, site: Site) -> Iterator[Page]:
    """A page that may ask nobody but the service, and at whose end nothing was complained of."""
    page, wrong = context.new_page(), []
    site.requests.clear()

    def seen(route: Route, request: Request) -> None:
        site.requests.append(request.url)
        if request.url.startswith(site.home):
            route.continue_()
        else:
            route.abort()

    context.route("**/*", seen)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    yield page
    assert wrong == [] and page.evaluate("window.caught") is None


def opened(page: Page, site: Site, view: str, **params: object) -> None:
    page.goto(f"{site.home}#/{view}?{urlencode(params)}")
    expect(page.locator(f'[data-view="{view}"] h1')).to_be_visible()


def nodes(page: Page) -> list[str]:
    """Ids in the drawing, once it is there."""
    # of one element: a graph that is drawn now may give way to another one at the next step
    drawn = page.locator(".graph[data-drawn]")
    found: list[str] = drawn.evaluate("(graph) => graph.cy.nodes().map((n) => n.id())")
    return found


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
    page.reload()
    page.get_by_label("Verdict").select_option("reject")
    page.get_by_role("button", name="Filter").click()
    only = page.locator("[data-view=ledger] .ranked > li")
    expect(only).to_have_count(1)
    expect(only.get_by_role("button", name="reject")).to_have_attribute("aria-pressed", "true")


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
