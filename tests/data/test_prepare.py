"""Prepared folders are read back, keep relations' shares and documents, add fitting negatives."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relgnn.data.passages import Passage
from relgnn.data.prepare import (
    Preparation,
    files_of,
    prepare,
    prepared,
    subsets,
    to_data,
    with_negatives,
)
from relgnn.data.relations import RelationData, read_relations
from relgnn.data.shares import few_labels
from relgnn.errors import InputError
from tests.data.test_passages import SENTENCE, write

SPLITS = ("train", "valid", "test")


def passages(count: int, group: bool = False) -> list[Passage]:
    """Three of four say born, one says Live_In; two passages share a document."""
    return [
        Passage(
            f"Ada{i:03} of Bonn met Eve .", ((0, 6), (10, 14), (19, 22)), ("PER", "LOC", "PER"),
            ((0, 1, "born" if i % 4 else "Live_In"),), f"d{i // 2}" if group else "",
        )
        for i in range(count)
    ]  # fmt: skip


def put(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def test_splits_keep_the_shares_of_relations_and_are_drawn_anew() -> None:
    data = to_data("d", {"train": passages(200)}, Preparation(valid=0.1, test=0.2))
    assert data.labels == ("Live_In", "born") and data.label_names == ("live in", "born")
    for split, count in (("train", 140), ("valid", 20), ("test", 40)):
        found = Counter(one.relation for one in getattr(data, split))
        assert found == {0: count / 4, 1: 3 * count / 4}
    again = to_data("d", {"train": passages(200)}, Preparation(valid=0.1, test=0.2))
    other = to_data("d", {"train": passages(200)}, Preparation(valid=0.1, test=0.2, seed=1))
    assert data == again and data.test != other.test
    whole = to_data("d", {"train": passages(20)}, Preparation(valid=0, test=0))
    assert (len(whole.train), len(whole.valid), len(whole.test)) == (20, 0, 0)


def test_documents_and_equal_texts_are_not_divided() -> None:
    one = to_data("d", {"train": passages(100, group=True)}, Preparation(valid=0.2, test=0.2))
    groups = [{x.group for x in getattr(one, split)} for split in SPLITS]
    assert all(groups) and not groups[0] & groups[1] and not (groups[0] | groups[1]) & groups[2]
    same = [
        x._replace(text=f"Ada{i // 3:03} of Bonn met Eve .") for i, x in enumerate(passages(60))
    ]
    two = to_data("d", {"train": same}, Preparation(valid=0.2, test=0.2))
    texts = [{x.text for x in getattr(two, split)} for split in SPLITS]
    assert all(texts) and not texts[0] & texts[1] and not (texts[0] | texts[1]) & texts[2]


def test_parts_that_are_given_stay() -> None:
    parts = {"train": passages(40), "test": passages(8)}
    data = to_data("d", parts, Preparation(valid=0.25, negatives=1.0))
    assert data.labels == ("Live_In", "born", "NA") and data.label_names[2] == "no relation"
    assert len(data.test) == 16 and len(data.train) + len(data.valid) == 80
    assert data.negative == 2
    for split in SPLITS:
        part = getattr(data, split)
        # of each passage the one other pair of a person and a town
        assert sum(one.relation == 2 for one in part) == len(part) / 2
        for one in part:
            said = one.text[slice(*one.head)][:3], one.text[slice(*one.tail)]
            assert said == (("Eve", "Bonn") if one.relation == 2 else ("Ada", "Bonn"))
    half = to_data("d", parts, Preparation(valid=0.25, negatives=0.5))
    assert sum(one.relation == 2 for one in (*half.train, *half.valid)) == 20


def test_a_prepared_folder_is_read_back(tmp_path: Path) -> None:
    data = to_data("made", {"train": passages(60)}, Preparation(negatives=1.0))
    folder = put(tmp_path / "made", files_of(data))
    assert read_relations(folder) == data


def test_subsets_are_those_that_few_labels_reads(tmp_path: Path) -> None:
    data = to_data("made", {"train": passages(200)}, Preparation())
    files = files_of(data) | {"subsets.json": json.dumps(subsets(data.train, (10, 30), 2, 0))}
    folder = put(tmp_path / "made", files)
    for percent in (10, 30):
        first, second = (few_labels(data, folder, percent, draw) for draw in (0, 1))
        assert first.train != second.train
        count = len(data.train) * percent / 100
        found = Counter(one.relation for one in first.train)
        assert found[0] == pytest.approx(count / 4, abs=1)
        assert found[1] == pytest.approx(3 * count / 4, abs=1)
        assert len(first.train) + len(first.unlabelled) == len(data.train)
    with pytest.raises(InputError, match=r"there are \[10, 30\]"):
        few_labels(data, folder, 50, 0)


def test_a_source_of_one_pair_a_line(tmp_path: Path) -> None:
    rows = [
        f"It rained. Ada{i} \u200b saw  the house. They left.,Ada{i},house,saw" for i in range(20)
    ]
    source = write(tmp_path / "notes.csv", "text,head,tail,relation", *rows)
    (tmp_path / "relations.tsv").write_text("saw\thas seen\twith own eyes\n")
    how = Preparation(stop_words=frozenset({"the"}), percents=(50,))
    files = prepare(source, how)
    assert set(files) == {"relations.tsv", "subsets.json", *(f"{s}.jsonl" for s in SPLITS)}
    data = read_relations(put(tmp_path / "out", files))
    assert (len(data.train), len(data.valid), len(data.test)) == (16, 2, 2)
    assert {one.text[slice(*one.tail)] for one in data.train} == {"house"}
    assert all(one.text == f"{one.text[slice(*one.head)]} saw house." for one in data.train)
    assert (data.label_names, data.descriptions) == (("has seen",), ("with own eyes",))
    with pytest.raises(InputError, match="needs all mentions of a sentence"):
        prepare(source, Preparation(negatives=1.0))
    (tmp_path / "relations.tsv").write_text("saw\thas seen\twith own eyes\tfar\n")
    with pytest.raises(InputError, match=r"relations.tsv:1: .*4 columns"):
        prepare(source, how)


def test_a_plain_text_becomes_a_corpus(tmp_path: Path) -> None:
    source = write(tmp_path / "a.txt", "Ada  was born.\n\nShe met Dr. Eve. \u200b\nHe", "left.")
    [file] = prepare(source, Preparation()).items()
    assert file[0] == "texts.jsonl"
    lines = [json.loads(line) for line in file[1].splitlines()]
    assert lines == [
        {"id": "s1", "text": "Ada was born."}, {"id": "s2", "text": "She met Dr. Eve."},
        {"id": "s3", "text": "He left."},
    ]  # fmt: skip


def test_negatives_stand_beside_no_other_label_that_says_so() -> None:
    other = [one._replace(relations=((0, 1, "Other"),)) for one in passages(4)]
    parts = {"train": [*passages(40), *other]}
    assert "Other" in to_data("d", parts, Preparation()).labels
    with pytest.raises(InputError, match="d: 'Other' and 'NA' both say that no relation holds"):
        to_data("d", parts, Preparation(negatives=1.0))


def test_nothing_left_to_train_on_is_refused(tmp_path: Path) -> None:
    source, header = tmp_path / "s.csv", "text,head,tail,relation\n"
    source.write_text(header + "".join(f"Ada{i} is in Bonn.,Ada{i},Bonn,in\n" for i in range(8)))
    with pytest.raises(InputError, match=r"left to train on \(4 for valid, 4 for test\)"):
        prepare(source, Preparation(valid=0.5, test=0.5))
    source.write_text(header)
    with pytest.raises(InputError, match=r"left to train on \(0 for valid, 0 for test\)"):
        prepare(source, Preparation())


def test_sources_that_cannot_be_prepared(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no train file"):
        prepare(tmp_path, Preparation())
    unseen = passages(1)[0]._replace(text="\u200b\u200b\u200b of Bonn", mentions=((0, 3), (7, 11)))
    with pytest.raises(InputError, match="a mention holds no letter that can be seen"):
        prepared(unseen)


def sentences(folder: Path, **lines: list[dict[str, Any]]) -> RelationData:
    folder.mkdir()
    for split, own in lines.items():
        write(folder / f"{split}.sentences.jsonl", *own)
    return RelationData("d", ("born",), ("born in",), ("",), (), (), ())


def test_negatives_of_a_configuration(tmp_path: Path) -> None:
    other = SENTENCE | {"entities": [*SENTENCE["entities"], {"span": [5, 6], "type": "DAY"}]}
    data = sentences(tmp_path / "d", train=[SENTENCE] * 8, dev=[other], test=[other])
    found = with_negatives(data, tmp_path / "d", 0.5, np.random.default_rng(0))
    assert found.labels == ("born", "NA") and found.label_names == ("born in", "no relation")
    assert Counter(one.relation for one in found.train) == {0: 8, 1: 4}
    # a day relates to nothing in train
    for part in (found.valid, found.test):
        assert [one.text[slice(*one.head)] for one in part] == ["Ada", "Eve"]
        assert [one.relation for one in part] == [0, 1]
    unknown = SENTENCE | {"relations": [{"head": 0, "tail": 1, "type": "eats"}]}
    with pytest.raises(InputError, match="'eats' is not in relations.tsv"):
        with_negatives(
            sentences(tmp_path / "e", train=[unknown], dev=[other], test=[other]),
            tmp_path / "e", 1.0, np.random.default_rng(0),
        )  # fmt: skip
    with pytest.raises(InputError, match="data.negatives needs train, valid and test.sentences"):
        with_negatives(data, tmp_path, 1.0, np.random.default_rng(0))
    named = replace(data, labels=("born", "Other"))
    with pytest.raises(InputError, match="with data.negatives 'Other' and 'NA' both say"):
        with_negatives(named, tmp_path / "d", 1.0, np.random.default_rng(0))
