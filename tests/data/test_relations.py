"""Data sets of relation extraction: real ones, a small one, splits, and what can be wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relgnn.data.registry import find
from relgnn.data.relations import (
    Example,
    RelationData,
    check_relations,
    is_relations,
    read_relations,
)
from relgnn.data.shares import few_labels
from relgnn.errors import InputError

SIZES = {
    "semeval2010": (8000, 0, 2717, 19),
    "semeval2010_fewlabel": (7200, 800, 2717, 19),
    "scierc": (3219, 455, 974, 7),
    "chemprot": (4169, 2427, 3469, 13),
    "conll04": (1283, 343, 422, 5),
    "finre": (13486, 1489, 3727, 44),
}
LINE: dict[str, Any] = {
    "tokens": ["Ada", "was", "born", "in", "Bonn", "."],
    "head": {"span": [0, 1], "type": "PER"},
    "tail": {"span": [4, 5], "type": None},
    "relation": "born",
}


def write(folder: Path, **splits: list[dict[str, Any] | str]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "relations.tsv").write_text("born\tborn in\t\nlives\nOther\n")
    for split, lines in {"train": [LINE], "test": [LINE], **splits}.items():
        text = "".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines)
        (folder / f"{split}.jsonl").write_text(text)
    return folder


@pytest.mark.parametrize("name", SIZES)
def test_real_data_sets(name: str) -> None:
    folder = find(name)
    if folder is None:
        pytest.skip(f"{name} is not here")
    data = read_relations(folder)
    assert (*map(len, (data.train, data.valid, data.test)), len(data.labels)) == SIZES[name]
    lines = [json.loads(line) for line in _lines(folder, "test")]
    for one, line in zip(data.test, lines, strict=True):
        assert data.labels[one.relation] == line["relation"]
        for (start, end), side in ((one.head, "head"), (one.tail, "tail")):
            said = one.text[start:end]
            assert said.replace(" ", "") == line[side]["text"].replace(" ", "")


def _lines(folder: Path, split: str) -> list[str]:
    import gzip

    return gzip.decompress((folder / f"{split}.jsonl.gz").read_bytes()).decode().splitlines()


def test_semeval_has_nine_relations_and_other() -> None:
    folder = find("semeval2010")
    if folder is None:
        pytest.skip("semeval2010 is not here")
    data = read_relations(folder)
    assert data.negative == data.labels.index("Other")
    assert len({data.families[i] for i in data.positive}) == 9
    assert len(data.positive) == 18


def test_tokens_and_text(tmp_path: Path) -> None:
    raw = LINE | {"text": "Ada was  born in Bonn."}
    plain = {k: v for k, v in raw.items() if k != "tokens"} | {
        "head": {"span": [0, 3]}, "tail": {"span": [17, 21]},
    }  # fmt: skip
    chinese = LINE | {
        "tokens": ["东", "方", "A", "H", "股"],
        "head": {"span": [0, 2]},
        "tail": {"span": [4, 5]},
    }
    data = read_relations(write(tmp_path / "d", train=[LINE, raw, plain, chinese]))
    joined, found, direct, other = data.train
    assert joined.text == "Ada was born in Bonn ."
    assert found[:3] == direct[:3] == (raw["text"], (0, 3), (17, 21))
    assert other.text == "东方 A H 股"
    assert (other.text[slice(*other.head)], other.text[slice(*other.tail)]) == ("东方", "股")
    assert (joined.head_type, joined.tail_type, joined.group) == ("PER", "", "")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"head": {"span": [0, 9]}}, "train.jsonl:1: head span [0, 9) is outside of the 6 tokens"),
        ({"tail": {"span": [3, 3]}}, "tail span [3, 3) is outside"),
        ({"tail": {"span": [-1, 2]}}, "tail span [-1, 2) is outside"),
        ({"tokens": []}, "the list of tokens is empty"),
        ({"tokens": [" ", ""]}, "the list of tokens is empty"),
        ({"tokens": "Ada was born"}, "the list of tokens is empty"),
        ({"tokens": None, "text": " "}, "the text is empty"),
        ({"tokens": ["Ada", "", "in", "Bonn"], "tail": {"span": [1, 2]}}, "holds white space"),
        ({"relation": None}, "expected a relation"),
        ({"relation": ["born"]}, "expected a relation"),
        ({"head": {"span": [0, 1, 2]}}, "expected tokens (or text), head and tail with a span"),
        ({"head": "Eve"}, "the text does not name the head 'Eve'; write it as the text does"),
        ({"head": "Bonn", "tail": "Bonn"}, "does not name the tail 'Bonn' a second time"),
        ({"head": ""}, "the head is empty"),
        ({"relation": "eats"}, "label 'eats' is not in relations.tsv"),
        ({"head": None}, "expected tokens (or text), head and tail with a span"),
        ({"head": {"span": "x"}}, "expected tokens (or text), head and tail with a span"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        read_relations(write(tmp_path / "d", train=[LINE | change]))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mentions_may_be_given_by_name(tmp_path: Path) -> None:
    named = LINE | {"head": "Ada", "tail": "Bonn"}
    [one, other] = read_relations(write(tmp_path / "d", train=[LINE, named])).train
    assert other == one._replace(head_type="", tail_type="")


def test_wrong_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train.jsonl:1: not JSON"):
        read_relations(write(tmp_path / "d", train=["{"]))
    with pytest.raises(InputError, match="test.jsonl: lives occurs here alone"):
        read_relations(write(tmp_path / "d", test=[LINE | {"relation": "lives"}]))
    (tmp_path / "d" / "test.jsonl").unlink()
    with pytest.raises(InputError, match="no such file"):
        read_relations(tmp_path / "d")
    with pytest.raises(InputError, match="no relations.tsv"):
        read_relations(tmp_path)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        read_relations(tmp_path / "nowhere")


def test_a_check_lists_everything(tmp_path: Path) -> None:
    good = check_relations(write(tmp_path / "good", valid=[LINE]))
    assert good.ok
    assert good.sizes == {
        "train sentences": 1, "valid sentences": 1, "test sentences": 1, "relations": 3,
    }  # fmt: skip
    assert good.labels["born"] == {"train": 1, "valid": 1, "test": 1}
    assert good.labels["lives"] == {"train": 0, "valid": 0, "test": 0}
    assert [str(one) for one in good.warnings] == [
        f"warning: {split}.jsonl: 1 of its 1 sentences are in {other}.jsonl, too, with the same "
        "mentions: leave them in one of the two"
        for split, other in (("valid", "train"), ("test", "train"), ("test", "valid"))
    ]
    turned = LINE | {"head": LINE["tail"], "tail": LINE["head"]}
    apart = check_relations(write(tmp_path / "apart", valid=[turned], test=[turned, LINE]))
    assert [one.place for one in apart.warnings] == ["test.jsonl", "test.jsonl"]
    bad = check_relations(write(tmp_path / "bad", train=["{", LINE | {"tokens": []}, LINE]))
    assert [(one.place, one.code) for one in bad.errors] == [
        ("train.jsonl:1", "json"), ("train.jsonl:2", "example"), ("valid.jsonl", "missing"),
    ]  # fmt: skip
    assert is_relations(tmp_path / "bad")
    assert not is_relations(tmp_path)


def test_no_relation_is_said_by_one_label(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", valid=[LINE])
    (folder / "relations.tsv").write_text("born\nOther\nunknown\n")
    with pytest.raises(InputError, match=r"relations.tsv: 'Other' and 'unknown' both .* rename"):
        read_relations(folder)
    assert [(one.place, one.code) for one in check_relations(folder).errors] == [
        ("relations.tsv", "no_relation")
    ]


@pytest.mark.parametrize(("content", "code", "place", "told"), [
    ("label\tname\nborn\nlives\n", "header", "relations.tsv:1", "looks like a header"),
    ("born\n \tx\nlives\n", "empty_cell", "relations.tsv:2", "the label is empty"),
    ("born\nlives\nborn\n", "duplicate_id", "relations.tsv:3", "label 'born' was listed before"),
])  # fmt: skip
def test_labels_are_looked_at(
    content: str, code: str, place: str, told: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "d", valid=[LINE])
    (folder / "relations.tsv").write_text(content)
    [found] = [one for one in check_relations(folder).problems if one.place == place]
    assert found.code == code and told in found.message


def test_unlabelled_lines_need_no_relation(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", valid=[LINE])
    bare = {key: value for key, value in LINE.items() if key != "relation"}
    path = folder / "unlabelled.jsonl"
    path.write_text("".join(json.dumps(x) + "\n" for x in (bare, LINE, LINE | {"relation": "?"})))
    data = read_relations(folder)
    assert data.unlabelled == (data.train[0]._replace(relation=-1),) * 3
    assert check_relations(folder).sizes["unlabelled sentences"] == 3
    (folder / "subsets.json").write_text('{"seed0_label50": {"labelled": [0], "unlabelled": [0]}}')
    assert len(few_labels(data, folder, 50, 0).unlabelled) == 4
    path.write_text(json.dumps(bare | {"head": {"span": [0, 9]}}) + "\n" + json.dumps({}))
    first, second = check_relations(folder).errors
    assert (first.place, second.place) == ("unlabelled.jsonl:1", "unlabelled.jsonl:2")
    assert "head span [0, 9) is outside" in first.message
    assert second.message.endswith("with a span [start, end)")


def test_a_checksum_is_of_all_content_but_the_name() -> None:
    def data(**changes: Any) -> RelationData:
        one = Example("Ann met Bo", (0, 3), (8, 10), 0)
        content = dict.fromkeys(("train", "valid", "test"), (one,)) | changes
        return RelationData("name", ("met",), ("",), ("",), **content)

    whole = data().checksum
    assert replace(data(), name="other").checksum == whole
    other = data().train[0]._replace(head=(0, 2))
    changed = [data(train=(other,)), data(test=()), data(unlabelled=(other,))]
    # what moves from one split to another is no longer the same data
    moved = data(train=(*data().train, *data().valid), valid=())
    assert len({whole, moved.checksum, *(one.checksum for one in changed)}) == 5
