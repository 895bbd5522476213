"""Readers of the data sets whose files differ, on small folders of the same layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from relgnn.data.formats import (
    read_findkg,
    read_grail,
    read_lastfm,
)
from relgnn.errors import InputError

WriteFiles = Callable[[dict[str, str]], Path]

GRAIL = {
    "fb15k237/entities.tsv": "".join(f"/m/{x}\tName {x}\tText {x}.\n" for x in "abcdz"),
    "fb15k237/relations.tsv": "/r/2\ttwo\ttwo\n/r/1\tone\tone\n/r/3\tthree\t\n",
    "grail_inductive/fb237_v9/train.txt.gz": "/m/a\t/r/1\t/m/b\n/m/b\t/r/2\t/m/a\n",
    "grail_inductive/fb237_v9/valid.txt": "/m/a\t/r/2\t/m/b\n",
    "grail_inductive/fb237_v9/test.txt": "/m/b\t/r/1\t/m/a\n",
    "grail_inductive/fb237_v9_ind/train.txt": "/m/d\t/r/1\t/m/c\n",
    "grail_inductive/fb237_v9_ind/valid.txt": "",
    "grail_inductive/fb237_v9_ind/test.txt": "/m/c\t/r/1\t/m/d\n",
}
FINDKG = {
    "train.txt": "1\t0\t0\t0\t0\n1\t0\t0\t0\t0\n1\t0\t0\t7\t0\n",
    "valid.txt": "0\t1\t1\t8\t0\n",
    "test.txt": "0\t1\t1\t9\t0\n0\t1\t1\t9\t0\n",
    "entity2id.txt": "Ann\t0\tPERSON\t0\nGold\t1\tPRODUCT\t0\n",
    "relation2id.txt": "Owns\t0\nSells\t1\n",
    "relations.tsv": "Owns\towns\tid 0\nSells\tsells\tid 1\n",
}
LASTFM = {
    "kg_indexed.tsv.gz": "head\trelation\ttail\n0\t1\t2\n1\t0\t3\n",
    "relations.tsv": "music.origin\torigin\tid 0\nfilm.film\tfilm\tid 1\n",
}


def test_grail_pairs_share_relations_but_not_entities(write_files: WriteFiles) -> None:
    root = write_files(GRAIL) / "grail_inductive"
    graph = read_grail(root / "fb237_v9", "fb237_v9")
    unseen = read_grail(root / "fb237_v9_ind", "fb237_v9_ind")
    assert graph.relations == unseen.relations == ("/r/2", "/r/1")
    assert graph.entity_names == ("Name a", "Name b")
    assert unseen.entity_names == ("Name d", "Name c")
    assert graph.train.tolist() == [[0, 1, 1], [1, 0, 0]]
    assert unseen.train.tolist() == [[0, 1, 1]] and unseen.test.tolist() == [[1, 1, 0]]


def test_grail_needs_its_source_beside_it(write_files: WriteFiles) -> None:
    root = write_files({k: v for k, v in GRAIL.items() if k.startswith("grail")})
    with pytest.raises(InputError, match="entities.tsv: no such file in .*fb15k237.*copy"):
        read_grail(root / "grail_inductive/fb237_v9", "fb237_v9")


def test_grail_with_a_relation_that_has_no_name(write_files: WriteFiles) -> None:
    root = write_files(GRAIL | {"fb15k237/relations.tsv": "/r/1\tone\t\n"})
    with pytest.raises(InputError, match="line 2 has a relation without a name"):
        read_grail(root / "grail_inductive/fb237_v9", "fb237_v9")


def test_grail_with_an_entity_that_has_no_name(write_files: WriteFiles) -> None:
    line = "/m/b\t/r/1\t/m/nobody\n"
    root = write_files({**GRAIL, "grail_inductive/fb237_v9/test.txt": line})
    with pytest.raises(InputError, match="entities.tsv has no entity '/m/nobody' of fb237_v9"):
        read_grail(root / "grail_inductive" / "fb237_v9", "fb237_v9")


def test_findkg_drops_and_counts_repeated_rows(write_files: WriteFiles) -> None:
    graph = read_findkg(write_files(FINDKG), "findkg")
    assert graph.train.tolist() == [[1, 0, 0], [1, 0, 0]]
    assert graph.times is not None and graph.times["train"].tolist() == ["0", "7"]
    assert dict(graph.dropped_duplicates) == {"train": 1, "valid": 0, "test": 1}
    assert graph.entities == ("Ann", "Gold") and graph.relation_names == ("owns", "sells")
    assert graph.types == (("PERSON",), ("PRODUCT",))


def test_findkg_with_a_word_for_an_id(write_files: WriteFiles) -> None:
    folder = write_files(FINDKG | {"valid.txt": "x\t1\t1\t8\t0\n"})
    with pytest.raises(InputError, match="valid: expected integer ids"):
        read_findkg(folder, "findkg")


def test_lastfm(write_files: WriteFiles) -> None:
    folder = write_files(LASTFM)
    graph = read_lastfm(folder, "lastfm_kg")
    assert graph.train.tolist() == [[0, 1, 2], [1, 0, 3]]
    assert graph.num_entities == 4 and graph.relation_names == ("origin", "film")
    assert not len(graph.valid) and not len(graph.test)
