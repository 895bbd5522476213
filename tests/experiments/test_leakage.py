"""The document of leaks says what the data say."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import leakage
from experiments.leakage import ACROSS, GRAPHS, OUTPUT, leak_row, main, overlap_rows, strata_row
from relgnn.data import list_datasets, load
from relgnn.data.leakage import cross_set, find_leakage

SMALL = ("atlas", "codex_s", "nations", "umls", "grail_inductive/WN18RR_v1_ind")


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def written() -> set[str]:
    return set(OUTPUT.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.usefixtures("shared_data")
def test_the_committed_rows_are_those_of_the_data(name: str) -> None:
    graph = load(name)
    found = find_leakage(graph)
    assert line(leak_row(graph, found)) in written()
    if graph.strata is not None:
        assert line(strata_row(graph)) in written()
    if "/" not in name:
        assert {line(row) for row in overlap_rows(graph, found)} <= written()


@pytest.mark.usefixtures("shared_data")
def test_the_committed_rows_across_sets_are_those_of_the_data() -> None:
    tested, trained = ACROSS[0]
    one, held = load(tested), cross_set(load(tested), load(trained))
    row = [f"`{tested}`", f"`{trained}`", f"{len(one.test):,}", f"{held:,}"]
    assert held > 0 and line(row) in written()


def test_every_set_that_promises_a_test_is_told_of() -> None:
    dated_or_untested = {"litwd1k", "icews14", "findkg", "lastfm_kg"}
    named = {entry.name for entry in list_datasets()} - dated_or_untested
    assert set(GRAPHS) == named | {"atlas"}
    assert all(any(f"`{name}`" in row for row in written()) for name in GRAPHS)


def test_a_document_that_differs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(leakage, "OUTPUT", tmp_path / "leakage.md")
    monkeypatch.setattr(leakage, "GRAPHS", ("atlas",))
    monkeypatch.setattr(leakage, "ACROSS", ())
    assert main(["--check"]) == 1
    assert "differs; run python -m experiments.leakage" in capsys.readouterr().out
    assert main([]) == main(["--check"]) == 0
    text = leakage.OUTPUT.read_text(encoding="utf-8")
    assert "| `atlas` | symmetric | borders | itself | 1.00 |" in text
    leakage.OUTPUT.write_text(text.replace("| 302 |", "| 301 |"), encoding="utf-8")
    assert main(["--check"]) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("shared_data")
def test_the_committed_document_is_that_of_the_data() -> None:
    assert main(["--check"]) == 0
