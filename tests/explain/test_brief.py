"""What is told at once agrees with what is worked out slowly."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from relgnn.explain.brief import Briefing
from relgnn.explain.paths import PathFinder
from relgnn.explain.reading import Rereading, Triple
from relgnn.loop.opened import OpenRun, open_run


@pytest.fixture(scope="module")
def briefing(opened: OpenRun) -> Briefing:
    return Briefing(opened)


@pytest.fixture(scope="module")
def accepted(opened: OpenRun) -> Triple:
    table = opened.explainer.table
    assert table is not None
    head, relation, tail = table.triples[int(np.argmax(table.accepted))].tolist()
    return head, relation, tail


def test_a_judged_triple_has_the_ledgers_numbers_and_the_exact_shares(
    briefing: Briefing, opened: OpenRun, reading: Rereading, accepted: Triple
) -> None:
    table, judged = opened.explainer.table, briefing.brief(accepted).judged
    assert table is not None and judged is not None
    row = opened.explainer.rows[accepted]
    assert (judged.posterior, judged.accepted) == (table.p[row], True)
    assert {v.name: v.probability for v in judged.views} == {
        "text": table.p_text[row], "graph": table.p_graph[row],
    }  # fmt: skip
    exact = reading.views(accepted)
    assert [v.share for v in judged.views] == exact.shapley.values.tolist()
    assert [one.id for one in judged.sentences] == table.evidence[row]
    texts = {text.id: text.text for text in opened.graph.texts}
    for one in judged.sentences:
        assert one.text and one.text in texts[one.id.rpartition(":")[0]]
    assert len(briefing.brief(accepted, most=1).judged.sentences) == 1  # type: ignore[union-attr]


def test_paths_are_the_finders(briefing: Briefing, opened: OpenRun) -> None:
    finder, seen = PathFinder.of_run(opened), 0
    for head, relation, tail in opened.graph.train.tolist()[:10]:
        found = finder.paths(head, relation, tail)
        told = briefing.brief((head, relation, tail)).paths
        assert told == tuple(finder.line(path, named=True) for path in found)
        seen += len(told)
    assert seen


def test_a_triple_that_nobody_judged_has_paths_alone(briefing: Briefing, opened: OpenRun) -> None:
    judged = opened.explainer.rows
    size = opened.graph.num_entities
    triple = next((h, 0, h) for h in range(size) if (h, 0, h) not in judged)
    assert briefing.brief(triple).judged is None


def test_a_run_without_votes_has_no_shares(own_run: Path, tmp_path: Path, accepted: Triple) -> None:
    run = Path(shutil.copytree(own_run, tmp_path / "run"))
    (run / "rounds/1/votes.safetensors").unlink()
    judged = Briefing(open_run(run)).brief(accepted).judged
    assert judged is not None and {v.share for v in judged.views} == {None}
    assert judged.views[0].probability is not None
