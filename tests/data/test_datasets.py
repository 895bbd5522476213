"""The contract that every named data set keeps, on the real files."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from relgnn.data import KnowledgeGraph, list_datasets, load
from relgnn.data.graph import first_occurrence
from relgnn.data.leakage import cross_set, find_leakage
from relgnn.data.registry import find

NAMES = [entry.name for entry in list_datasets()]
cached = lru_cache(maxsize=None)(load)


@pytest.fixture
def graph(request: pytest.FixtureRequest, shared_data: Path) -> KnowledgeGraph:
    if find(request.param) is None:
        pytest.skip(f"{request.param} is not beside this checkout")
    return cached(request.param)


@pytest.mark.parametrize("graph", NAMES, indirect=True)
class TestEveryDataSet:
    """Sizes as published, ids in range, nothing repeated, nothing writeable."""

    def test_sizes(self, graph: KnowledgeGraph) -> None:
        (entry,) = (entry for entry in list_datasets() if entry.name == graph.name)
        assert (len(graph.train), len(graph.valid), len(graph.test)) == (
            entry.train,
            entry.valid,
            entry.test,
        )
        assert (graph.num_entities, graph.num_relations) == (entry.entities, entry.relations)

    def test_every_list_has_a_place_for_each_id(self, graph: KnowledgeGraph) -> None:
        for names in (graph.entity_names, graph.entity_descriptions, graph.types):
            assert len(names) == graph.num_entities
        for names in (graph.relation_names, graph.relation_descriptions):
            assert len(names) == graph.num_relations
        assert len(set(graph.entities)) == graph.num_entities
        assert len(set(graph.relations)) == graph.num_relations
        assert len(graph.node_texts()) == graph.num_entities

    def test_triples_are_in_range_frozen_and_not_repeated(self, graph: KnowledgeGraph) -> None:
        for split in ("train", "valid", "test", "hidden"):
            triples = getattr(graph, split)
            assert triples.dtype == np.int64 and triples.shape[1] == 3
            assert not triples.flags.writeable
            if len(triples):
                assert triples.min() >= 0
                assert triples[:, [0, 2]].max() < graph.num_entities
                assert triples[:, 1].max() < graph.num_relations
            times = None if graph.times is None else graph.times[split]
            assert times is None or len(times) == len(triples)
            assert (first_occurrence(triples, times) == np.arange(len(triples))).all()

    def test_strata_cover_every_split(self, graph: KnowledgeGraph) -> None:
        for split, codes in (graph.strata or {}).items():
            assert len(codes) == len(getattr(graph, split))
            assert set(np.unique(codes)) <= {0, 1, 2}

    def test_texts_have_ids_of_their_own(self, graph: KnowledgeGraph) -> None:
        assert len({text.id for text in graph.texts}) == len(graph.texts)
        assert all(text.text.strip() for text in graph.texts)


def test_checksums_stay(shared_data: Path) -> None:
    for name in ("codex_s", "nations"):
        assert load(name).checksum == cached(name).checksum


@pytest.mark.parametrize("graph", ["codex_s"], indirect=True)
class TestCodexS:
    """The main job's data: strata, fractions, texts."""

    def test_strata(self, graph: KnowledgeGraph) -> None:
        assert graph.strata is not None
        assert {
            split: np.bincount(graph.strata[split], minlength=3).tolist()
            for split in ("train", "valid", "test")
        } == {
            "train": [8709, 5852, 18327],
            "valid": [495, 300, 1032],
            "test": [499, 338, 991],
        }

    @pytest.mark.parametrize(
        ("fraction", "train", "valid"), [(0.03, 992, 55), (0.1, 3293, 182), (0.3, 9868, 551)]
    )
    @pytest.mark.parametrize("seed", range(5))
    def test_frozen_fractions(
        self, graph: KnowledgeGraph, fraction: float, train: int, valid: int, seed: int
    ) -> None:
        cut = graph.at_fraction(fraction, seed)
        assert (len(cut.train), len(cut.valid)) == (train, valid)
        assert len(cut.hidden) == 32888 + 1827 - train - valid
        assert set(cut.train[:, 1]) == set(range(42))
        assert cut.strata is not None and len(cut.strata["hidden"]) == len(cut.hidden)
        assert len(np.unique(cut.filter_triples("test"), axis=0)) == 32888 + 1827 + 1828

    def test_entities_that_a_tenth_never_shows(self, graph: KnowledgeGraph) -> None:
        cut = graph.at_fraction(0.1, 0)
        assert (~np.isin(cut.test[:, [0, 2]], cut.train[:, [0, 2]])).any(axis=1).sum() == 262

    def test_every_entity_has_its_page(self, graph: KnowledgeGraph) -> None:
        assert [text.entity for text in graph.texts] == list(range(2034))
        sentences = graph.sentences()
        assert 20_000 < len(sentences) < 25_000
        assert all(
            graph.texts[s.entity].text[s.start : s.end] == s.text
            for s in sentences[::50]
            if s.entity is not None
        )
        assert "Africa is the world's second-largest" in graph.node_texts()[0]

    def test_negatives_are_not_true(self, graph: KnowledgeGraph) -> None:
        known = {tuple(row) for row in graph.filter_triples("test").tolist()}
        assert {split: len(rows) for split, rows in graph.negatives.items()} == {
            "valid": 1827,
            "test": 1828,
        }
        assert not any(
            tuple(row) in known for rows in graph.negatives.values() for row in rows.tolist()
        )


@pytest.mark.parametrize(
    ("graph", "inverse", "unseen"),
    [("codex_s", 254, 0), ("wn18rr", 1086, 210), ("umls", 97, 0)],
    indirect=["graph"],
)
def test_published_leaks(graph: KnowledgeGraph, inverse: int, unseen: int) -> None:
    leakage = find_leakage(graph)
    assert (leakage.inverse_in_train, leakage.unseen_entity) == (inverse, unseen)
    assert leakage.test_in_train == leakage.duplicates_in_test == 0


def test_sets_that_hold_each_others_test(shared_data: Path) -> None:
    assert cross_set(cached("codex_s"), cached("codex_m")) == 1643
    assert cross_set(cached("codex_m"), cached("codex_s")) == 1558
    unseen = cached("grail_inductive/fb237_v1_ind")
    assert cross_set(unseen, cached("fb15k237")) == len(unseen.test)
    assert cross_set(cached("nations"), cached("umls")) == 0
