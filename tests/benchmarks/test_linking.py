"""The benchmark of linking, on a tiny size: what it counts, and against what."""

from __future__ import annotations

import json
import re
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import linking
from experiments import results
from experiments.speed import render_speed
from relgnn.data import load, sentences_of
from relgnn.data.graph import Text
from relgnn.text.evidence import find_evidence
from tests.text.toy import toy_graph


@given(
    st.lists(st.text("aB é-", max_size=4), max_size=4),
    st.lists(st.text("aB é-.", max_size=12), max_size=5),
)
def test_whole_words_are_found_as_by_a_regular_expression(
    names: list[str], sentences: list[str]
) -> None:
    found = linking.sentences_naming(names, sentences)
    for name, held in zip(names, found, strict=True):
        pattern = rf"(?<![^\W_]){re.escape(name)}(?![^\W_])"
        expected = {i for i, s in enumerate(sentences) if name and re.search(pattern, s)}
        assert held == expected


def test_texts_are_drawn_the_same_and_only_when_asked_for() -> None:
    graph = load("atlas")
    one, other = (list(islice(linking.synthetic_texts(graph), 5)) for _ in range(2))
    assert one == other != list(islice(linking.synthetic_texts(graph, seed=1), 5))
    assert len({text.id for text in one}) == 5
    assert any(name in text.text for text in one for name in graph.entity_names)


def test_a_size_counts_what_the_whole_corpus_holds() -> None:
    found = linking.measure_size(200, chunk=7, data="atlas")
    graph = load("atlas")
    sentences = list(islice(sentences_of(linking.synthetic_texts(graph)), 200))
    assert found.sentences == 200
    assert found.candidates == len(find_evidence(graph, sentences).head) > 200
    resolved = linking.measure_size(200, coreference=True, data="atlas")
    assert resolved.candidates >= found.candidates
    assert found.link_s > 0 and found.build_s > 0


def test_recall_counts_given_triples_whose_ends_a_sentence_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = (Text("t", "Ada was here. Bonn is old.", None), Text("u", "Cork saw bonn.", 0))
    monkeypatch.setattr(linking, "load", lambda data: toy_graph(texts, ("Ada", "Bonn", "Cork")))
    # (Ada, Cork) is the one given triple: on Ada's page, which does not name her.
    found = linking.recall()
    assert (found.given, found.named, found.found, found.reached) == (1, 0, 0, 1)
    texts = (Text("t", "Ada was in Cork.", None),)
    found = linking.recall()
    assert (found.named, found.found, found.reached) == (1, 1, 1)
    # A sentence that names both, and a linker that finds neither.
    monkeypatch.setattr(linking.MentionLinker, "link", lambda self, sentence: [])
    found = linking.recall()
    assert (found.named, found.found, found.reached) == (1, 0, 0)


def test_the_command_prints_and_records(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(linking, "apart", lambda function, *asked: function(*asked))
    kept: list[results.Line] = []
    monkeypatch.setattr("benchmarks.speed.append", lambda table, lines: kept.extend(lines))
    asked = ["--data", "atlas", "--sizes", "50", "100", "--encoded", "9", "--json", "--record"]
    assert linking.main(asked) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["row"] for row in rows] == [
        "linking_50", "linking_100", "linking_encoded_9", "linking_recall",
    ]  # fmt: skip
    assert rows[2]["sentences_s"] == pytest.approx(9 / rows[2]["ours_s"])
    assert 0 < rows[-1]["recall"] <= 1 and 0 < rows[-1]["reached"] <= 1
    results.append("speed", kept, tmp_path)
    lines = results.read_lines("speed", tmp_path)
    command = "python -m benchmarks.linking --data atlas --sizes 50 100 --encoded 9"
    assert {line.command for line in lines} == {command}
    text = render_speed(lines)
    assert "| `linking_100` |" in text and "are candidate pairs" in text
    few = ["--data", "atlas", "--sizes", "50", "--encoded"]
    assert linking.main([*few, "0"]) == 0
    said = capsys.readouterr().out
    assert "sentences/s" in said and "encoding" not in said
    assert linking.main([*few, "5"]) == 0
    assert "encoding 5 sentences" in capsys.readouterr().out


def test_what_cannot_be_measured_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert linking.main(["--data", "no-such-set"]) == 2
    assert "neither a named data set" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        linking.main(["--sizes", "0"])
    assert "expected numbers from 1" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        linking.main(["--encoded", "-1"])
    assert "expected a number from 0" in capsys.readouterr().err
