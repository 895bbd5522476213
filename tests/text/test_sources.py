"""Sources of metric learning: sentences of documents and graphs, and nothing of what is judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relgnn.data.documents import document, sentence_examples
from relgnn.data.graph import Text
from relgnn.data.relations import Example, RelationData, read_relations
from relgnn.errors import InputError
from relgnn.text.sources import distant_relations, gather
from tests.text.toy import toy_graph


def write(folder: Path, names: dict[str, str], sentences: Sequence[tuple[str, str]]) -> None:
    """A data set whose sentences are about Ada and Bonn."""
    folder.mkdir(parents=True)
    (folder / "relations.tsv").write_text("".join(f"{k}\t{v}\tsaid\n" for k, v in names.items()))
    lines = []
    for text, relation in sentences:
        spans = {
            side: {"span": [text.index(name), text.index(name) + len(name)]}
            for side, name in (("head", "Ada"), ("tail", "Bonn"))
        }
        lines.append(json.dumps({"text": text, **spans, "relation": relation}) + "\n")
    (folder / "train.jsonl").write_text("".join(lines))


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RELGNN_DATA", str(tmp_path))
    write(
        tmp_path / "judged", {"P1": "born in", "near": "is near"},
        [("Ada was born in Bonn.", "P1"), ("Ada is near Bonn.", "near")],
    )  # fmt: skip
    write(
        tmp_path / "first",
        {"P1": "birth", "P2": "home", "x": "Is Near", "Make(e1,e2)": "", "Other": "", "y": "saw"},
        [("Ada saw Bonn.", "P1"), ("Ada lives in Bonn.", "P2"), ("Ada left Bonn.", "x"),
         ("Ada made Bonn.", "Make(e1,e2)"), ("Ada or Bonn.", "Other"), ("Ada sees Bonn.", "y"),
         ("ADA  was born in Bonn.".replace("ADA", "Ada"), "y")],
    )  # fmt: skip
    write(
        tmp_path / "second", {"P2": "residence", "y": "looks at"},
        [(f"Ada lives now in Bonn {i}.", "P2") for i in range(9)] + [("Ada eyes Bonn.", "y")],
    )  # fmt: skip
    return tmp_path


def gathered(folder: Path, *names: str, **other: Any) -> tuple[RelationData, dict[str, int]]:
    judged = read_relations(folder / "judged", "judged", ("train",))
    settings = {"leave_out": ["make"], "most": 5, "generator": np.random.default_rng(0), **other}
    return gather(names, judged, **settings)


def test_nothing_of_the_judged_data_set_is_gathered(folders: Path) -> None:
    data, counts = gathered(folders, "first", "second")
    # P1 by its id, x by its name, Make by the configuration, and "no relation" are not there
    assert data.labels == ("P2", "first: y", "second: y")
    assert data.label_names == ("home", "saw", "looks at")
    texts = {one.text for one in data.train}
    assert "Ada  was born in Bonn." not in texts and "Ada sees Bonn." in texts
    assert counts == {"relation left out": 3, "sentence left out": 1, "first": 1, "second": 6} or (
        counts["first"] + counts["second"] == 5 + 2
    )
    assert [one.relation for one in data.train].count(0) == 5
    assert {one.group for one in data.train} <= {"first", "second"}


def test_a_judged_relation_is_left_out_whatever_its_direction(folders: Path) -> None:
    write(folders / "turned", {"y(e1,e2)": "", "y(e2,e1)": ""}, [("Ada hit Bonn.", "y(e1,e2)")])
    judged = read_relations(folders / "turned", "turned", ("train",))
    data, _ = gather(["first"], judged, [], 5, np.random.default_rng(0))
    assert "first: y" not in data.labels and "first: x" in data.labels


def test_what_cannot_be_gathered_is_told(folders: Path) -> None:
    with pytest.raises(InputError, match="take it out"):
        gathered(folders, "judged")
    with pytest.raises(InputError, match="'nowhere' was found in no data folder"):
        gathered(folders, "nowhere")
    with pytest.raises(InputError, match="no sentence is left"):
        gathered(folders, "second", leave_out=["P2", "y"])


def test_documents_give_the_sentence_that_is_evidence() -> None:
    def mention(sentence: int, start: int) -> dict[str, Any]:
        return {"sent_id": sentence, "pos": [start, start + 1], "type": "PER"}

    entry = {
        "title": "Ada",
        "sents": [["Ada", "saw", "Bonn", "."], ["Ada", "left", "Bonn", "for", "Cork", "."]],
        "vertexSet": [
            [mention(0, 0), mention(1, 0)], [mention(0, 2), mention(1, 2)], [mention(1, 4)],
        ],
        "labels": [
            {"h": 0, "t": 1, "r": "b", "evidence": [1]},
            {"h": 1, "t": 0, "r": "a", "evidence": []},
            {"h": 0, "t": 2, "r": "a", "evidence": [0]},
            {"h": 1, "t": 2, "r": "a"}, {"h": 1, "t": 2, "r": "b"},
        ],
    }  # fmt: skip
    found = list(sentence_examples([document(entry, {"a": 0, "b": 1})]))
    text = "Ada left Bonn for Cork ."
    assert found == [
        Example(text, (0, 3), (9, 13), 1, "PER", "PER", "Ada"),
        Example("Ada saw Bonn .", (8, 12), (0, 3), 0, "PER", "PER", "Ada"),
    ]


def test_a_graph_labels_the_sentences_that_name_both_ends() -> None:
    graph = toy_graph(
        (Text("0", "Ada was born in York . Then Ada saw York . Ben saw York .", None),)
    )
    found = distant_relations(graph)
    assert found.labels == graph.relations
    assert found.train == (Example("Ada was born in York .", (0, 3), (16, 20), 0),)
