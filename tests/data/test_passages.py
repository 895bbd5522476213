"""Passages from the formats that people have, and which of their pairs state no relation."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relgnn.data.passages import COLUMNS, Passage, drawn, read_passages, signatures, split_files
from relgnn.data.registry import find
from relgnn.data.relations import read_relations
from relgnn.errors import InputError

SENTENCE: dict[str, Any] = {
    "tokens": ["Ada", "of", "Bonn", "met", "Eve", "."],
    "entities": [
        {"span": [0, 1], "type": "PER"}, {"span": [2, 3], "type": "LOC"},
        {"span": [4, 5], "type": "PER"},
    ],
    "relations": [{"head": 0, "tail": 1, "type": "born"}],
}  # fmt: skip
PASSAGE = Passage(
    "Ada of Bonn met Eve .", ((0, 3), (7, 11), (16, 19)), ("PER", "LOC", "PER"), ((0, 1, "born"),)
)
DOCUMENT: dict[str, Any] = {
    "doc_key": "d1",
    "sentences": [["It", "rained", "."], SENTENCE["tokens"]],
    "ner": [[], [[3, 3, "PER"], [5, 5, "LOC"], [7, 7, "PER"]]],
    "relations": [[], [[3, 3, 5, 5, "born"]]],
}


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines))
    return path


def test_sentences_and_documents(tmp_path: Path) -> None:
    assert read_passages(write(tmp_path / "a", SENTENCE)) == [PASSAGE]
    rain, found = read_passages(write(tmp_path / "b", DOCUMENT)) or []
    assert found == PASSAGE._replace(group="d1")
    assert rain == Passage("It rained .", (), (), (), "d1")
    packed = tmp_path / "c.gz"
    packed.write_bytes(gzip.compress(json.dumps(SENTENCE).encode()))
    assert read_passages(packed) == [PASSAGE]


def test_examples_and_tables(tmp_path: Path) -> None:
    one = Passage("Ada of Bonn.", ((0, 3), (7, 11)), ("PER", ""), ((0, 1, "born"),), "7", False)
    line = {"text": one.text, "head": {"span": [0, 3], "type": "PER"}, "tail": "Bonn",
            "relation": "born", "doc": 7}  # fmt: skip
    assert read_passages(write(tmp_path / "a", line)) == [one]
    for delimiter in ",\t":
        rows = [["relation", "text", "tail", "head", "head_type", "doc"],
                ["born", '"Ada of Bonn."', "Bonn", "Ada", "PER", "7"]]  # fmt: skip
        path = write(tmp_path / "t", *(delimiter.join(row) for row in rows))
        assert read_passages(path) == [one]
    quoted = write(tmp_path / "q", "text,head,tail,relation", '"Ada, of Bonn",Ada,Bonn,born')
    [found] = read_passages(quoted) or []
    assert found.text == "Ada, of Bonn"
    assert read_passages(write(tmp_path / "p", "A plain text. It marks nothing.")) is None


@pytest.mark.parametrize(("line", "told"), [
    (SENTENCE | {"entities": [{"span": [0, 9]}]}, "span [0, 9) of entity 0 is outside of"),
    (SENTENCE | {"relations": [{"head": 0, "tail": 3, "type": "x"}]}, "between entities 0 and 3"),
    (SENTENCE | {"relations": [{"head": 0, "tail": 0, "type": "x"}]}, "between entities 0 and 0"),
    (SENTENCE | {"entities": [{"span": 3}]}, "expected tokens, entities and relations"),
    (DOCUMENT | {"relations": [[], [[3, 3, 6, 6, "x"]]]}, "a place is outside of its list"),
    (DOCUMENT | {"ner": [[]]}, "a place is outside of its list, or something is missing"),
    ({"text": "Ada", "head": "Ada", "tail": "Eve", "relation": "x"}, "does not name the tail"),
    ({"text": "Ada, Eve", "head": "Ada", "tail": "Eve"}, "the relation is missing"),
    ({"text": "Ada"}, "expected tokens (or text), head and tail"),
    ("{", "not JSON"),
])  # fmt: skip
def test_a_wrong_line_is_named(tmp_path: Path, line: Any, told: str) -> None:
    path = write(tmp_path / "a.jsonl", SENTENCE, line)
    with pytest.raises(InputError) as caught:
        read_passages(path)
    assert f"{path}:2: " in str(caught.value) and told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_who_has_no_document_stands_alone(tmp_path: Path) -> None:
    line = {"text": "Ada of Bonn.", "head": "Ada", "tail": "Bonn", "relation": "born"}
    for more in ({"doc": None}, {"doc": None, "sent": None}, {}):
        [found] = read_passages(write(tmp_path / "a", line | more)) or []
        assert found.group == ""
    [found] = read_passages(write(tmp_path / "a", line | {"doc": None, "sent": 0})) or []
    assert found.group == "0"
    [found] = read_passages(write(tmp_path / "a", SENTENCE | {"doc": None})) or []
    assert found.group == ""


@pytest.mark.parametrize("rows", [
    ['"Bonn is in Germany.\tBonn\tGermany\tin', '"Paris is in France.\tParis\tFrance\tin'],
    ['"' + "far " * 40_000 + "\tBonn\tGermany\tin"],
])  # fmt: skip
def test_a_lone_quotation_mark_swallows_no_row(tmp_path: Path, rows: list[str]) -> None:
    path = write(tmp_path / "t.tsv", "text\thead\ttail\trelation", *rows)
    with pytest.raises(InputError, match=r"t.tsv:[23]: .*quotation mark may have no") as caught:
        read_passages(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_blank_rows_and_blanks_around_a_table_are_left_out(tmp_path: Path, delimiter: str) -> None:
    header, row = (delimiter.join(x) for x in (COLUMNS, ("Ada of Bonn.", "Ada", "Bonn", "born")))
    plain = read_passages(write(tmp_path / "t", header, row))
    for lines in ([" ", header, row], [f" {header}", row], [header, delimiter * 3, row, "   "]):
        assert read_passages(write(tmp_path / "t", *lines)) == plain


def test_lines_are_counted_from_the_first(tmp_path: Path) -> None:
    path = write(tmp_path / "t", "", "", "text,head,tail,relation", "Ada of Bonn,Ada,Eve,born")
    with pytest.raises(InputError, match="t:4: "):
        read_passages(path)


def test_a_file_may_have_a_colon_in_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="11:30.jsonl:1: not JSON"):
        read_passages(write(tmp_path / "11:30.jsonl", *["{"] * 12))


def test_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_passages(tmp_path / "none")
    with pytest.raises(InputError, match="is empty"):
        read_passages(write(tmp_path / "a", " "))
    with pytest.raises(InputError, match="one JSON list"):
        read_passages(write(tmp_path / "a", "[1]"))
    with pytest.raises(InputError, match="does not name the columns text, head, tail, relation"):
        read_passages(write(tmp_path / "a.tsv", "Ada\tborn\tBonn"))


def test_unstated_pairs_have_the_types_of_a_relation() -> None:
    two = PASSAGE._replace(relations=((0, 1, "born"), (0, 2, "met")))
    allowed = signatures([two])
    assert allowed == {("PER", "LOC"), ("PER", "PER")}
    assert two.unstated(allowed) == [(2, 0), (2, 1)]
    assert two.unstated(allowed, {"met"}) == [(2, 1)]
    assert PASSAGE.unstated(signatures([PASSAGE])) == [(2, 1)]
    found = two.example((2, 1), 5)
    assert (found.text[slice(*found.head)], found.text[slice(*found.tail)]) == ("Eve", "Bonn")
    assert (found.head_type, found.tail_type, found.relation) == ("PER", "LOC", 5)


@given(
    st.lists(st.sampled_from("ABC"), min_size=2, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from("xy")), max_size=6),
)
def test_no_unstated_pair_is_stated(
    types: list[str], relations: list[tuple[int, int, str]]
) -> None:
    n = len(types)
    stated = tuple((h % n, t % n, label) for h, t, label in relations if h % n != t % n)
    spans = tuple((2 * i, 2 * i + 1) for i in range(n))
    one = Passage("a " * n, spans, tuple(types), stated)
    allowed = signatures([one])
    pairs = one.unstated(allowed, {"y"})
    assert not set(pairs) & {(h, t) for h, t, _ in stated}
    assert not set(pairs) & {(t, h) for h, t, label in stated if label == "y"}
    assert all((types[h], types[t]) in allowed and h != t for h, t in pairs)
    everything = {(h, t) for h in range(n) for t in range(n)
                  if h != t and (types[h], types[t]) in allowed}  # fmt: skip
    assert everything == set(one.unstated(allowed)) | {(h, t) for h, t, _ in stated}


def test_drawn_negatives_keep_their_order() -> None:
    candidates = [(PASSAGE, (0, i)) for i in range(9)]
    found = drawn(candidates, 4, np.random.default_rng(0))
    assert len(found) == 4 and found == [one for one in candidates if one in found]
    assert found != drawn(candidates, 4, np.random.default_rng(1))
    assert drawn(candidates, 20, np.random.default_rng(0)) == candidates


@pytest.mark.parametrize(("name", "ending"), [
    ("conll04", "sentences.jsonl"), ("scierc", "native_docs.jsonl"),
])  # fmt: skip
def test_real_sentences_state_what_the_examples_do(name: str, ending: str) -> None:
    folder = find(name)
    if folder is None:
        pytest.skip(f"{name} is not here")
    data = read_relations(folder)
    number = {label: i for i, label in enumerate(data.labels)}
    files = split_files(folder, [ending])
    assert list(files) == ["train", "valid", "test"]
    for split, path in files.items():
        passages = read_passages(path) or []
        found = [one._replace(group="") for p in passages for one in p.stated(number)]
        assert sorted(found) == sorted(one._replace(group="") for one in getattr(data, split))
