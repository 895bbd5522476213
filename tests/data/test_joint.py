from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from relgnn.data.joint import Mention, Stated, read_joint
from relgnn.errors import InputError
from tests.experiments.tiny import write_tiny_joint

GOOD: dict[str, Any] = {
    "tokens": ["Ada", "was", "born", "in", "Bonn"],
    "entities": [{"span": [0, 1], "type": "PER"}, {"span": [4, 5], "type": "LOC"}],
    "relations": [{"head": 0, "tail": 1, "type": "born"}],
}


def test_it_is_read(tmp_path: Path) -> None:
    data = read_joint(write_tiny_joint(tmp_path / "tiny"))
    assert (data.kinds, data.labels, data.label_names[0]) == (
        ("LOC", "PER"), ("born", "lives"), "born in",
    )  # fmt: skip
    assert [len(x) for x in (data.train, data.valid, data.test)] == [48, 8, 8]
    one = data.train[0]
    assert one.words[:5] == ("Ada", "was", "born", "in", "Bonn")
    assert one.mentions[:2] == (Mention(0, 1, 1), Mention(4, 5, 0))
    assert one.relations == (Stated(0, 1, 0), Stated(2, 3, 1))


@pytest.mark.parametrize(("change", "told"), [
    ({"tokens": []}, "the list of tokens is empty"),
    ({"tokens": ["Ada", "was"]}, r"span \[4, 5\) of entity 1 is outside of the 2 tokens"),
    ({"entities": [*GOOD["entities"], GOOD["entities"][0]]}, "is there twice"),
    ({"entities": [{"span": [0, 1], "type": "DOG"}] * 1, "relations": []}, "never occurs in train"),
    ({"relations": [{"head": 0, "tail": 1, "type": "ate"}]}, "'ate' is not in relations.tsv"),
    ({"relations": [{"head": 0, "tail": 2, "type": "born"}]}, "between entities 0 and 2"),
    ({"relations": [{"head": 1, "tail": 1, "type": "born"}]}, "between entities 1 and 1"),
    ({"entities": [{"span": [0], "type": "PER"}]}, "expected tokens, entities with a span"),
    ({"entities": [7]}, "expected tokens, entities with a span"),
])  # fmt: skip
def test_what_cannot_be(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    folder = write_tiny_joint(tmp_path / "tiny")
    path = folder / "dev.sentences.jsonl"
    path.write_text(path.read_text() + json.dumps({**GOOD, **change}) + "\n")
    with pytest.raises(InputError, match=told) as caught:
        read_joint(folder)
    assert "dev.sentences.jsonl:9" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_missing_and_labels_in_test_alone(tmp_path: Path) -> None:
    folder = write_tiny_joint(tmp_path / "tiny")
    with (folder / "relations.tsv").open("a") as file:
        file.write("ate\n")
    test = folder / "test.sentences.jsonl"
    line = {**GOOD, "relations": [{"head": 0, "tail": 1, "type": "ate"}]}
    test.write_text(test.read_text() + json.dumps(line) + "\n")
    with pytest.raises(InputError, match="ate occurs here alone"):
        read_joint(folder)
    test.unlink()
    with pytest.raises(InputError, match="no such file"):
        read_joint(folder)
    (folder / "relations.tsv").unlink()
    with pytest.raises(InputError, match="no relations.tsv"):
        read_joint(folder)
