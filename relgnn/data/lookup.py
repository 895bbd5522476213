"""Entities and relations as people write them: by id or by exact name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from relgnn.data.graph import KnowledgeGraph
from relgnn.errors import InputError

SHOWN = 5


def find_entity(graph: KnowledgeGraph, written: str) -> int:
    """The number of the entity that `written` is the id or the only name of.

    Raises:
        InputError: none has it, or several share the name.
    """
    return _find(written, graph.entities, graph.entity_names, "entity", "entities", graph.name)


def find_relation(graph: KnowledgeGraph, written: str) -> int:
    """The number of the relation that `written` is the id or the only name of.

    Raises:
        InputError: none has it, or several share the name.
    """
    return _find(
        written, graph.relations, graph.relation_names, "relation", "relations", graph.name
    )


def _find(
    written: str, ids: Sequence[str], names: Sequence[str], kind: str, many: str, where: str
) -> int:
    if written in ids:
        return ids.index(written)
    found = [number for number, name in enumerate(names) if name == written]
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(ids[number] for number in found[:SHOWN])
        more = ", …" if len(found) > SHOWN else ""
        raise InputError(
            f"{kind} {written!r}: {len(found)} {many} of {where} have this name; give one of their "
            f"ids: {shown}{more}"
        )
    raise InputError(f"{kind} {written!r} is not in {where}; {_nearest(written, ids, names, many)}")


def _nearest(written: str, ids: Sequence[str], names: Sequence[str], many: str) -> str:
    lower: dict[str, str] = {}
    for known in (*names, *ids):
        lower.setdefault(known.lower(), known)
    near = difflib.get_close_matches(written.lower(), list(lower), n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(repr(lower[one]) for one in near)}?"
    examples = ", ".join(repr(name or known) for name, known in zip(names, ids, strict=True))[:80]
    return f"give an id or an exact name; {many} here are such as {examples} …"
