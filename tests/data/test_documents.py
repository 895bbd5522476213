from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from relgnn.data.documents import Entity, Fact, Place, read_documents
from relgnn.errors import InputError
from tests.experiments.tiny import write_tiny_documents


def test_it_is_read(tmp_path: Path) -> None:
    data = read_documents(write_tiny_documents(tmp_path / "tiny"))
    assert [len(x) for x in (data.train, data.valid, data.test)] == [0, 24, 16]
    one = data.valid[0]
    assert one.entities[0] == Entity((Place(0, 0, 1), Place(1, 0, 1)), "PER")
    assert one.facts == {Fact(0, 1, 0), Fact(0, 2, 1)}
    assert one.pairs == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]


@pytest.mark.parametrize(("key", "value", "told"), [
    ("sents", 3, "expected sents, vertexSet"),
    ("vertexSet", [[]], "expected sents, vertexSet"),
    ("vertexSet", [[{"sent_id": 0, "pos": [4, 9], "type": "LOC"}]], r"words \[4, 9\) of sentence"),
    ("vertexSet", [[{"sent_id": 7, "pos": [0, 1], "type": "LOC"}]], "of sentence 7"),
    ("labels", [{"h": 0, "t": 1, "r": "P9"}], "'P9' is not in relations.tsv"),
    ("labels", [{"h": 0, "t": 3, "r": "P1"}], "between entities 0 and 3"),
])  # fmt: skip
def test_what_cannot_be(tmp_path: Path, key: str, value: Any, told: str) -> None:
    folder = write_tiny_documents(tmp_path / "tiny")
    path = folder / "dev_revised.json"
    content = json.loads(path.read_text())
    content[1][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=told) as caught:
        read_documents(folder)
    assert "document 1" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_missing_or_no_list(tmp_path: Path) -> None:
    folder = write_tiny_documents(tmp_path / "tiny")
    (folder / "test_revised.json").write_text("{}")
    with pytest.raises(InputError, match="holds no list of documents"):
        read_documents(folder)
    (folder / "test_revised.json").unlink()
    with pytest.raises(InputError, match="no such file"):
        read_documents(folder)
    (folder / "relations.tsv").unlink()
    with pytest.raises(InputError, match="no relations.tsv"):
        read_documents(folder)
