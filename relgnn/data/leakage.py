"""What a test set gives away: triples that training already holds, outright or turned round.

Counts only; nothing is removed. Published splits keep their leaks; results report them apart.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from relgnn.data.graph import KnowledgeGraph, Triples

OVERLAP = 0.8
"""From which share of common pairs two relations overlap; as in Akrami et al., "Realistic
re-evaluation of knowledge graph completion methods", SIGMOD 2020."""
WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class RelationOverlap:
    """Two relations whose pairs of entities mostly coincide.

    `share` is the smaller of the two containments |A ∩ B| / |A| and |A ∩ B| / |B|, with B's pairs
    turned round where `inverse` is true. A relation that is its own inverse is symmetric.
    """

    first: str
    second: str
    inverse: bool
    share: float


@dataclass(frozen=True)
class Leakage:
    """Leaks of a graph's test set; every count but the last two is a number of test triples.

    Attributes:
        test: number of test triples.
        test_in_train: (h, r, t) is in train as well.
        inverse_in_train: (t, r, h), with the same relation, is in train; self loops left out.
        pair_in_train: h and t are linked in train, in this direction, by another relation.
        reversed_pair_in_train: t and h are linked in train, in that direction, by any relation.
        overlap_in_train: a train triple of an overlapping relation states it, in either direction.
        unseen_entity: h or t has no train triple.
        self_loops: h = t.
        duplicates_in_test: rows that repeat another row of test.
        overlapping_relations: the duplicate, inverse and symmetric relations of train.
    """

    test: int
    test_in_train: int
    inverse_in_train: int
    pair_in_train: int
    reversed_pair_in_train: int
    overlap_in_train: int
    unseen_entity: int
    self_loops: int
    duplicates_in_test: int
    overlapping_relations: tuple[RelationOverlap, ...]

    def to_dict(self) -> dict[str, Any]:
        """The counts as plain values for JSON."""
        return {
            **asdict(self),
            "overlapping_relations": [asdict(overlap) for overlap in self.overlapping_relations],
        }


def find_leakage(graph: KnowledgeGraph, least_pairs: int = 10) -> Leakage:
    """Count the leaks of a graph's test set.

    Args:
        graph: the graph; only given triples of train count as known.
        least_pairs: relations with fewer train pairs are not compared.
    """
    train = {tuple(row) for row in graph.train.tolist()}
    relations_of: dict[tuple[int, int], set[int]] = defaultdict(set)
    for head, relation, tail in train:
        relations_of[head, tail].add(relation)
    overlaps = _overlapping_relations(graph, least_pairs)
    partners = _partners(graph, overlaps)
    seen = set(graph.train[:, [0, 2]].ravel().tolist())
    test = [tuple(row) for row in graph.test.tolist()]
    none: frozenset[int] = frozenset()
    return Leakage(
        test=len(test),
        test_in_train=sum(row in train for row in test),
        inverse_in_train=sum(h != t and (t, r, h) in train for h, r, t in test),
        pair_in_train=sum(bool(relations_of.get((h, t), none) - {r}) for h, r, t in test),
        reversed_pair_in_train=sum(h != t and (t, h) in relations_of for h, _, t in test),
        overlap_in_train=sum(
            any(
                other in relations_of.get((t, h) if inverse else (h, t), none)
                for other, inverse in partners[r]
            )
            for h, r, t in test
        ),
        unseen_entity=sum(h not in seen or t not in seen for h, _, t in test),
        self_loops=sum(h == t for h, _, t in test),
        duplicates_in_test=len(test) - len(set(test)),
        overlapping_relations=overlaps,
    )


def cross_set(tested: KnowledgeGraph, trained: KnowledgeGraph) -> int:
    """Number of test triples of one graph that the train set of another holds, matched by id.

    Never start a model on `tested` from anything learned on `trained` where this is not 0.
    """
    known = _named(trained, trained.train)
    return sum(row in known for row in _named(tested, tested.test).elements())


def named_in_text(graph: KnowledgeGraph) -> int:
    """Number of test triples of which an end's own text names the other end, word by word.

    The text is what a node is described by, without its name: description and first sentence of its
    page. Case counts for nothing, and a name inside a longer one is named. That is what a model
    with text can look up; whether the text also says how the two are related is another matter
    (`strata.tsv` says it where a data set has one).
    """
    texts, tested = graph.node_texts(), np.unique(graph.test[:, [0, 2]]).tolist()
    names = {entity: _words(graph.entity_names[entity]) for entity in tested}
    about = {
        entity: _words(texts[entity].removeprefix(graph.entity_names[entity])) for entity in tested
    }

    def names_in(name: int, text: int) -> bool:
        return names[name].strip() != "" and names[name] in about[text]

    return sum(h != t and (names_in(h, t) or names_in(t, h)) for h, _, t in graph.test.tolist())


def _words(text: str) -> str:
    """The words of a text in lower case, each between spaces."""
    return f" {' '.join(WORD.findall(text.lower()))} "


def _named(graph: KnowledgeGraph, triples: Triples) -> Counter[tuple[str, str, str]]:
    return Counter(map(graph.ids, triples.tolist()))


def _overlapping_relations(graph: KnowledgeGraph, least_pairs: int) -> tuple[RelationOverlap, ...]:
    # A self loop is its own inverse and says nothing about what the relation means.
    pairs = np.unique(graph.train[graph.train[:, 0] != graph.train[:, 2]], axis=0)
    forward = pairs[:, 0] * graph.num_entities + pairs[:, 2]
    backward = pairs[:, 2] * graph.num_entities + pairs[:, 0]
    sizes = np.bincount(pairs[:, 1], minlength=graph.num_relations)
    found = []
    for inverse, other in ((False, forward), (True, backward)):
        for (first, second), common in _shared_pairs(pairs[:, 1], forward, other).items():
            is_self = first == second and not inverse
            if is_self or first > second or min(sizes[first], sizes[second]) < least_pairs:
                continue
            share = common / max(sizes[first], sizes[second])
            if share >= OVERLAP:
                names = graph.relations[first], graph.relations[second]
                found.append(RelationOverlap(*names, inverse, round(float(share), 4)))
    return tuple(sorted(found, key=lambda overlap: -overlap.share))


def _shared_pairs(
    relations: np.ndarray, left: np.ndarray, right: np.ndarray
) -> Counter[tuple[int, int]]:
    """How many pairs each two relations share, one read by `left` and the other by `right`."""
    by_pair: dict[int, list[int]] = defaultdict(list)
    for relation, pair in zip(relations.tolist(), right.tolist(), strict=True):
        by_pair[pair].append(relation)
    return Counter(
        (relation, other)
        for relation, pair in zip(relations.tolist(), left.tolist(), strict=True)
        for other in by_pair.get(pair, ())
    )


def _partners(
    graph: KnowledgeGraph, overlaps: tuple[RelationOverlap, ...]
) -> dict[int, set[tuple[int, bool]]]:
    """Relation -> the relations, and directions, that overlap with it."""
    number = {relation: place for place, relation in enumerate(graph.relations)}
    partners: dict[int, set[tuple[int, bool]]] = defaultdict(set)
    for overlap in overlaps:
        first, second = number[overlap.first], number[overlap.second]
        partners[first].add((second, overlap.inverse))
        partners[second].add((first, overlap.inverse))
    return partners
