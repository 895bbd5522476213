"""Entities and relations as people write them: by id or by exact name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from relgnn.data.graph import KnowledgeGraph
from relgnn.errors import InputError

SHOWN = 5


@dataclass(frozen=True)
class _Kind:
    """The entities or the relations of a graph, and the numbers of each id and each name."""

    one: str
    many: str
    ids: Sequence[str]
    names: Sequence[str]
    numbers: Mapping[str, Sequence[int]]

    @classmethod
    def of(cls, one: str, many: str, ids: Sequence[str], names: Sequence[str]) -> _Kind:
        numbers: dict[str, list[int]] = {}
        for number, name in enumerate(names):
            if name:
                numbers.setdefault(name, []).append(number)
        numbers |= {known: [number] for number, known in enumerate(ids)}  # ids go before names
        return cls(one, many, ids, names, numbers)

    def find(self, written: str, where: str, hint: str | None) -> int:
        found = self.numbers.get(written, ())
        if len(found) == 1:
            return found[0]
        if found:
            shown = ", ".join(self.ids[number] for number in found[:SHOWN])
            more = ", …" if len(found) > SHOWN else ""
            raise InputError(
                f"{self.one} {written!r}: {len(found)} {self.many} of {where} have this name; give "
                f"one of their ids: {shown}{more}"
            )
        told = hint or _nearest(written, self.ids, self.names, self.many)
        raise InputError(f"{self.one} {written!r} is not in {where}; {told}")


_KINDS: WeakKeyDictionary[KnowledgeGraph, tuple[_Kind, _Kind]] = WeakKeyDictionary()


def find_entity(graph: KnowledgeGraph, written: str, hint: str | None = None) -> int:
    """The number of the entity that `written` is the id or the only name of.

    Args:
        graph: where to look.
        written: an id or a name.
        hint: told where it is unknown; by default the nearest names are, which takes a while.

    Raises:
        InputError: none has it, or several share the name.
    """
    return _kinds(graph)[0].find(written, graph.name, hint)


def find_relation(graph: KnowledgeGraph, written: str, hint: str | None = None) -> int:
    """The same for a relation."""
    return _kinds(graph)[1].find(written, graph.name, hint)


def find_triples(
    graph: KnowledgeGraph, written: Iterable[tuple[str, Sequence[str]]], hint: str | None = None
) -> np.ndarray:
    """Numbers [C, 3] of written triples.

    Args:
        graph: where to look.
        written: the place of each, for the error, and its head, relation and tail.
        hint: as of `find_entity`.

    Raises:
        InputError: an id or name is unknown, with its place.
    """
    rows = []
    for place, (head, relation, tail) in written:
        try:
            rows.append(
                (
                    find_entity(graph, head, hint),
                    find_relation(graph, relation, hint),
                    find_entity(graph, tail, hint),
                )
            )
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def _kinds(graph: KnowledgeGraph) -> tuple[_Kind, _Kind]:
    if graph not in _KINDS:
        _KINDS[graph] = (
            _Kind.of("entity", "entities", graph.entities, graph.entity_names),
            _Kind.of("relation", "relations", graph.relations, graph.relation_names),
        )
    return _KINDS[graph]


def _nearest(written: str, ids: Sequence[str], names: Sequence[str], many: str) -> str:
    lower: dict[str, str] = {}
    for known in (*names, *ids):
        lower.setdefault(known.lower(), known)
    near = difflib.get_close_matches(written.lower(), list(lower), n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(repr(lower[one]) for one in near)}?"
    examples = ", ".join(repr(name or known) for name, known in zip(names, ids, strict=True))[:80]
    return f"give an id or an exact name; {many} here are such as {examples} …"
