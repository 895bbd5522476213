"""Who belongs to which group: by a relation of the data, or by the pronouns of people's pages."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from relgnn.data import KnowledgeGraph
from relgnn.data.lookup import find_relation
from relgnn.errors import InputError
from relgnn.text.coreference import Coreference

PRONOUN = "pronoun"
USUAL = ("P21", "P27", "sex or gender", "country of citizenship", "gender", "citizenship")
"""Relations by which groups are made where nobody says by which."""


@dataclass(frozen=True)
class Grouping:
    """Entities by group; an entity may be in several.

    Args:
        name: id of the relation, or `PRONOUN`.
        title: in words.
        relation: its number; None for pronouns.
        members: label of a group, with its id where several share a name -> its entities, int64,
            ascending.
    """

    name: str
    title: str
    relation: int | None
    members: dict[str, np.ndarray]

    @cached_property
    def everybody(self) -> np.ndarray:
        """Entities that are in some group, int64, ascending."""
        return np.unique(np.concatenate(list(self.members.values())))


def grouping(graph: KnowledgeGraph, written: str) -> Grouping:
    """Groups by a relation (id or exact name), or by `pronoun`.

    Membership is what the whole data set knows, hidden and test triples as well: it says whom an
    error was made about, and no model sees it.

    Raises:
        InputError: there is no such relation, or nobody is in any group.
    """
    found = _groups(graph, written)
    if not found.members:
        raise InputError(
            f"--group {written}: nobody in {graph.name} is in such a group; give another relation, "
            "see `relgnn data show`"
        )
    return found


def usual_groupings(graph: KnowledgeGraph) -> list[Grouping]:
    """Gender and citizenship as far as the data have them, and pronouns.

    Raises:
        InputError: the data have none of them.
    """
    known = dict(zip(graph.relations, graph.relation_names, strict=True))
    names = [one for one, name in known.items() if one in USUAL or name.casefold() in USUAL]
    every = [_groups(graph, one) for one in (*names, PRONOUN)]
    # one pronoun alone has nobody to stand beside
    found = [one for one in every if len(one.members) > (one.name == PRONOUN)]
    if not found:
        raise InputError(
            f"{graph.name} has neither gender, nor citizenship, nor pages with pronouns; give the "
            "relation to group by: --group RELATION"
        )
    return found


def _groups(graph: KnowledgeGraph, written: str) -> Grouping:
    """Groups by a relation or by `pronoun`, of which there may be none."""
    if written == PRONOUN:
        return Grouping(PRONOUN, "pronoun of the page", None, _by_pronoun(graph))
    relation = find_relation(graph, written)
    title = graph.relation_label(relation)
    return Grouping(graph.relations[relation], title, relation, _by_relation(graph, relation))


def _by_relation(graph: KnowledgeGraph, relation: int) -> dict[str, np.ndarray]:
    known = graph.filter_triples("test")
    members: dict[int, set[int]] = defaultdict(set)
    for head, _, tail in known[known[:, 1] == relation].tolist():
        members[tail].add(head)
    names = {tail: graph.entity_label(tail) for tail in sorted(members)}
    often = Counter(names.values())
    return {
        name if often[name] == 1 else f"{name} ({graph.entities[tail]})": _sorted(members[tail])
        for tail, name in names.items()
    }


def _by_pronoun(graph: KnowledgeGraph) -> dict[str, np.ndarray]:
    pages: dict[int, str] = defaultdict(str)
    for text in graph.texts:
        if text.entity is not None:
            pages[text.entity] += text.text + "\n"
    who = Coreference(graph)
    found = defaultdict(list)
    for person in who.persons:
        if pronoun := who.pronoun(person, pages[person]):
            found[pronoun].append(person)
    return {pronoun: _sorted(found[pronoun]) for pronoun in sorted(found)}


def _sorted(entities: Iterable[int]) -> np.ndarray:
    return np.array(sorted(entities), dtype=np.int64)
