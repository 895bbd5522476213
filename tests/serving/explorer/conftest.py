"""A service over a run with names that are HTML, and a browser that may ask nobody else."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

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

from relgnn.config import load_config
from relgnn.data.registry import load_graph
from relgnn.serving.app import create_app
from relgnn.serving.settings import Settings
from relgnn.serving.share import shared_vectors
from relgnn.serving.workers import listening
from tests.serving.explorer.site import CHROMIUM, EVIL, Site


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
