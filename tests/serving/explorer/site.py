"""A service with its page, and how a test looks at it."""

from __future__ import annotations

import json
import shutil
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from benchmarks.explorer import BROWSERS

CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium on the PATH (Debian: apt-get install chromium)"
)

EVIL = '<img src=x onerror="window.caught=1">'
VIEWS = ("explore", "ask", "read", "ledger", "compare")


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


def opened(page: Page, site: Site, view: str, **params: object) -> None:
    page.goto(f"{site.home}#/{view}?{urlencode(params)}")
    expect(page.locator(f'[data-view="{view}"] h1')).to_be_visible()


def nodes(page: Page) -> list[str]:
    """Ids in the drawing, once it is there."""
    # of one element: a graph that is drawn now may give way to another one at the next step
    drawn = page.locator(".graph[data-drawn]")
    found: list[str] = drawn.evaluate("(graph) => graph.cy.nodes().map((n) => n.id())")
    return found
