"""How soon the explorer shows its first answer, in a browser.

    python -m benchmarks.explorer RUN [--repeats N] [--json] [--record]

`open`: from the request of the page, at the address of a question and with nothing in the browser's
cache, to its first answer on the screen. `ask`: the same from pressing Ask, on an open page. Each
question is another held-out triple's; the median and the range are told. Needs Chromium on the
PATH and the extra `dev`. `--record` adds the figures to experiments/results/speed.jsonl.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser, sync_playwright

from benchmarks.serving import bodies_of, service
from benchmarks.speed import Row, record
from experiments.command import make_parser, tells_errors, told_options
from experiments.commit import provenance
from relgnn.errors import MachineError

BROWSERS = ("chromium", "chromium-browser")
SEEN = """() => new Promise((done) => {
  const look = () => requestAnimationFrame(() => {
    const first = document.querySelector("[data-view=ask] .ranked .name");
    if (first?.getClientRects().length) requestAnimationFrame(() => done(performance.now()));
    else look();
  });
  look();
})"""
"""Milliseconds of the page's clock when the frame with the first answer is on the screen."""
PRESSED = """() => {
  document.querySelector("[data-view=ask] .answers").replaceChildren();
  document.querySelector("[data-view=ask] form").requestSubmit();
  return performance.now();
}"""


def first_answers(browser: Browser, home: str, question: dict[str, str]) -> dict[str, float]:
    """Milliseconds to the first answer: `open` and `ask`, see above.

    Args:
        browser: in which a new context is opened.
        home: address of the service, with the / at its end.
        question: `head` and `relation`.
    """
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{home}#/ask?{urlencode(question)}", wait_until="commit")
    opened = page.evaluate(SEEN)
    pressed = page.evaluate(PRESSED)
    asked = page.evaluate(SEEN) - pressed
    context.close()
    return {"open": opened, "ask": asked}


def chromium() -> str:
    """Chromium's path.

    Raises:
        MachineError: it is not there.
    """
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise MachineError("no Chromium is on the PATH; install it (Debian: package chromium)")
    return found


def measure(run: Path, repeats: int) -> dict[str, list[float]]:
    """Milliseconds of every repeat, after one that is not counted.

    Raises:
        MachineError: there is no Chromium, or the service did not start.
    """
    path, questions = chromium(), [json.loads(body) for body in bodies_of(run)]
    with service(run, workers=1) as (port, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        home = f"http://localhost:{port}/"
        found = [
            first_answers(browser, home, questions[i % len(questions)]) for i in range(repeats + 1)
        ]
        browser.close()
    return {name: [one[name] for one in found[1:]] for name in ("open", "ask")}


def rows_of(found: Mapping[str, Sequence[float]]) -> list[Row]:
    """A row for `open` and one for `ask`, in seconds: the median and the range."""
    return [
        {
            "row": f"explorer_{name}", "ours": name, "peer": None, "ours_mb": None,
            "ours_s": statistics.median(times) / 1000, "repeats": len(times),
            "least_s": min(times) / 1000, "most_s": max(times) / 1000,
        }
        for name, times in found.items()
    ]  # fmt: skip


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("benchmarks.explorer", __doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="a finished run folder")
    parser.add_argument("--repeats", type=int, default=15, help="15")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    parser.add_argument("--record", action="store_true", help="append to the results")
    given = parser.parse_args(arguments)
    began = provenance()
    found = measure(given.run, max(1, given.repeats))
    if given.record:
        command = f"python -m benchmarks.explorer RUN{told_options(parser, given, 'repeats')}"
        record("explorer", rows_of(found), {"repeats": given.repeats}, began, command)
    if given.json:
        print(json.dumps(found))
        return 0
    for name, times in found.items():
        median = statistics.median(times)
        print(f"{name}: median {median:.0f} ms, {min(times):.0f} to {max(times):.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
