from __future__ import annotations

import re
import shutil
import struct
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from relgnn.data import KnowledgeGraph
from relgnn.errors import InputError
from relgnn.loop import figures
from relgnn.loop.examples import Judged, highlight
from relgnn.loop.figures import short
from relgnn.loop.report import ordered_rows, signed, write_report
from relgnn.training import load_json, save_json
from tests.loop.fake_run import NASTY, fake_graph, write_fake_run


@pytest.fixture(scope="module")
def graph() -> KnowledgeGraph:
    return fake_graph()


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory, graph: KnowledgeGraph) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_fake_run(folder, graph)
    return folder


@pytest.fixture(scope="module")
def html(run_folder: Path, graph: KnowledgeGraph) -> str:
    report = write_report(run_folder, graph, f"atlas, because {NASTY}")
    return report.read_text(encoding="utf-8")


class Page(HTMLParser):
    """Counts tags and collects what they point to."""

    VOID = {"meta", "img", "source", "br", "link"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_whole_and_needs_nothing_else(html: str) -> None:
    page = Page(html)
    assert page.open == []
    assert page.tags.count("img") == 4
    assert all(link.startswith("data:image/svg+xml;base64,") for link in page.links)
    assert not {"link", "script", "iframe"} & set(page.tags)
    outside = re.sub(r"data:[^\"]+", "", html)
    assert not re.search(r"https?:|url\(|@import|//", outside)
    assert "prefers-color-scheme: dark" in html and "width=device-width" in html


def test_what_users_wrote_is_escaped(html: str) -> None:
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_twenty_accepted_and_ten_rejected_with_votes_and_reasons(html: str) -> None:
    before, rejected = html.split("10 rejected ones")
    assert Page(before).tags.count("article") == 20
    assert rejected.count("<article>") == 10
    assert rejected.count("rejected: ") == 10
    assert html.count("<span>posterior</span>") == 30
    assert html.count("<b>silent</b>") >= 30  # nobody mines rules yet
    assert "<mark class=" in html
    assert "true: was hidden" in html and "not in the data set: unknown" in html


def test_every_row_and_round_is_in_a_table(html: str, run_folder: Path) -> None:
    metrics = load_json(run_folder / "metrics.json")
    for name, row in metrics["rows"].items():
        line = html.split(f"<th>{name.replace('_', ' ').replace('+', ' + ')}<")[1]
        assert short(row["all"]["both"]["realistic"]["mrr"]) in line.split("</tr>")[0]
    assert "before reading" in html
    assert "12 min 14 s" in html


def test_examples_are_evenly_spaced_and_of_every_reason(
    run_folder: Path, graph: KnowledgeGraph
) -> None:
    judged = Judged(run_folder, graph, 2)
    accepted, rejected = judged.accepted(20), judged.rejected(10)
    p = [event["p"] for event in judged.events if event["decision"] == "accepted"]
    assert (accepted[0].p, accepted[-1].p) == (max(p), min(p))
    reasons = {e["reason"] for e in judged.events if e["decision"] == "rejected"}
    assert {one.reason for one in rejected} == reasons
    assert any(one.sentence and '<mark class="tail">' in one.sentence for one in accepted)
    assert len(judged.accepted(10**6)) == len(p)


def test_a_loop_that_kept_round_0_has_a_report(
    tmp_path: Path, run_folder: Path, graph: KnowledgeGraph
) -> None:
    shutil.copytree(run_folder, tmp_path, dirs_exist_ok=True)
    metrics = load_json(tmp_path / "metrics.json")
    metrics["rounds"] = metrics["rounds"][:1]
    metrics["calibration"] = {}
    save_json(tmp_path / "metrics.json", metrics)
    page = write_report(tmp_path, graph).read_text(encoding="utf-8")
    assert "the loop kept that model" in page
    assert "accepted triples</h2>" not in page


def test_strata_are_explained_where_there_are_some(
    html: str, run_folder: Path, graph: KnowledgeGraph, tmp_path: Path
) -> None:
    assert "Strata say where" in html and "each stratum" in html
    folder = Path(shutil.copytree(run_folder, tmp_path / "run"))
    metrics = load_json(folder / "metrics.json")
    for one in (*metrics["rows"].values(), *(entry["test"] for entry in metrics["rounds"])):
        for name in one.keys() - {"all"}:
            del one[name]
    save_json(folder / "metrics.json", metrics)
    plain = write_report(folder, replace(graph, strata=None)).read_text(encoding="utf-8")
    assert not re.search(
        "strat", re.sub(r"data:[^\"]+|<style>.*?</style>", "", plain, flags=re.S), re.I
    )


def test_a_run_without_a_loop_is_refused(tmp_path: Path) -> None:
    save_json(tmp_path / "metrics.json", {"rows": {"final": {}}})
    with pytest.raises(InputError, match="needs a run with a loop"):
        write_report(tmp_path)


def test_picture_is_a_whole_png(html: str, run_folder: Path) -> None:
    data = (run_folder / "report.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    position, kinds = 8, []
    while position < len(data):
        (size,) = struct.unpack(">I", data[position : position + 4])
        chunk = data[position + 4 : position + 8 + size]
        (check,) = struct.unpack(">I", data[position + 8 + size : position + 12 + size])
        assert zlib.crc32(chunk) == check
        kinds.append(chunk[:4])
        position += 12 + size
    assert kinds[0] == b"IHDR" and kinds[-1] == b"IEND"


def test_figures_repeat_to_the_byte() -> None:
    draw = figures.draw_rounds([0, 1], {"all": [0.2, 0.25], "none": [0.2, 0.2501]})
    assert figures.svg(draw, figures.LIGHT) == figures.svg(draw, figures.LIGHT)


@pytest.mark.parametrize(
    ("limits", "labels"),
    [
        ((-0.05, 0.05), ["−.04", "−.02", "0", ".02", ".04"]),
        # two digits would tell .015 as .01 or .02
        ((0.012, 0.03), [".015", ".020", ".025", ".030"]),
        ((0.0, 1.0), ["0", ".20", ".40", ".60", ".80", "1.00"]),
    ],
)
def test_ticks_tell_where_they_are(limits: tuple[float, float], labels: list[str]) -> None:
    axes = Figure().subplots()
    axes.set_xlim(*limits)
    figures.short_ticks(axes.xaxis)
    places = [place for place in axes.get_xticks() if limits[0] <= place <= limits[1] + 1e-9]
    assert axes.xaxis.get_major_formatter().format_ticks(places) == labels


def test_highlight_escapes_and_skips_overlaps() -> None:
    marked = highlight("A <b> & Bo", [(8, 10, "tail"), (0, 1, "head"), (9, 10, "head")])
    assert marked == ('<mark class="head">A</mark> &lt;b&gt; &amp; <mark class="tail">Bo</mark>')
    assert highlight("x", [(0, 5, "head")]) == "x"


def test_numbers_and_rows_as_readers_know_them() -> None:
    assert [short(v) for v in (0.2514, 1.0, None)] == [".251", "1.000", "–"]
    assert [signed(v) for v in (0.05, -0.001)] == ["+.050", "−.001"]
    rows = ["oracle", "own", "loop+read", "loop", "round0"]
    assert ordered_rows(rows) == ["round0", "loop", "loop+read", "oracle", "own"]
