from __future__ import annotations

from pathlib import Path

import pytest

from relgnn.data.corpus import MarkedText, read_corpus, texts_of
from relgnn.data.relations import Example, RelationData
from relgnn.errors import InputError
from tests.experiments.tiny import write_tiny, write_tiny_relations


def example(text: str, head: tuple[int, int], tail: tuple[int, int]) -> Example:
    return Example(text, head, tail, 0)


def test_texts_of_train_and_of_no_label_once_with_all_their_mentions() -> None:
    shared = "Ada saw Bonn and Cork."
    data = RelationData(
        "toy", ("saw",), ("",), ("",),
        train=(example(shared, (0, 3), (8, 12)), example("Both.", (0, 4), (0, 4))),
        valid=(example("Held back.", (0, 4), (5, 9)),),
        test=(example("Both.", (0, 4), (0, 4)),),
        unlabelled=(example(shared, (0, 3), (17, 21)), example("Free.", (0, 4), (0, 4))),
    )  # fmt: skip
    assert texts_of(data) == [
        MarkedText(shared, ((0, 3), (8, 12), (17, 21))), MarkedText("Free.", ((0, 4),)),
    ]  # fmt: skip


def test_every_kind_of_folder_has_texts(tmp_path: Path) -> None:
    folder = write_tiny_relations(tmp_path / "marked")
    marked = read_corpus(None, folder).texts
    parts = [(folder / f"{part}.jsonl").read_text() for part in ("train", "unlabelled")]
    assert len(marked) == sum(len(part.splitlines()) for part in parts)
    assert all(len(one.mentions) == 2 for one in marked)
    graph = read_corpus(None, write_tiny(tmp_path / "graph")).texts
    assert graph[0] == MarkedText("Ada was born in Bonn. Today the home is Cork.")
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "texts.jsonl").write_text('{"id": "a", "text": "One."}\n{"text": "Two."}\n')
    assert read_corpus(None, plain).texts == (MarkedText("One."), MarkedText("Two."))
    assert len(read_corpus("atlas", None).texts) > 10


@pytest.mark.parametrize(("lines", "told"), [
    ('{"id": "a", "text": " "}\n', "texts.jsonl:1: \"text\" is missing or empty"),
    ("", "has no texts"), (None, "has neither train.jsonl, train.tsv nor texts.jsonl"),
])  # fmt: skip
def test_a_folder_without_texts(tmp_path: Path, lines: str | None, told: str) -> None:
    if lines is not None:
        (tmp_path / "texts.jsonl").write_text(lines)
    with pytest.raises(InputError) as caught:
        read_corpus(None, tmp_path)
    assert told in str(caught.value)
    with pytest.raises(InputError, match="neither a named data set"):
        read_corpus("nothing_of_that_name", None)
