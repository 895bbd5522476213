"""Questions as people write them and answers as they read them; the command line and the service
share these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from relgnn.data import KnowledgeGraph
from relgnn.data.lookup import find_entity, find_relation
from relgnn.errors import InputError
from relgnn.loop.opened import ONE_END, OpenRun, Question
from relgnn.loop.textmodel import Extraction

COLUMNS = ("head", "relation", "tail")


def written_question(
    graph: KnowledgeGraph,
    relation: str,
    head: str | None,
    tail: str | None,
    k: int = 10,
    why: bool = True,
    hint: str | None = None,
) -> Question:
    """The query that ids or exact names ask.

    Args:
        graph: numbers names.
        relation, head, tail: as written; exactly one of head and tail is given.
        k, why: as of `Question`.
        hint: as of `find_entity`.

    Raises:
        InputError: both ends or none is given, or an id or name is unknown.
    """
    known = head if head is not None else tail
    if known is None or (head is not None and tail is not None):
        raise InputError(ONE_END)
    return Question(
        find_relation(graph, relation, hint), find_entity(graph, known, hint), head is None, k, why
    )


def score_rows(
    scores: Sequence[tuple[float, float | None]], written: Sequence[Sequence[str]]
) -> list[dict[str, Any]]:
    """head, relation and tail as written, score and probability of each triple.

    Args:
        scores: C scores and probabilities; see `OpenRun.score`.
        written: C heads, relations and tails.
    """
    return [
        {**dict(zip(COLUMNS, cells, strict=True)), "score": value, "probability": p}
        for cells, (value, p) in zip(written, scores, strict=True)
    ]


def least_probability(opened: OpenRun, at_least: float | None) -> float:
    """What is asked for, or else the run's loop.min_probability."""
    loop = opened.world.config.loop
    if at_least is None:
        return loop.min_probability if loop is not None else 0.0
    return at_least


def stated(
    opened: OpenRun, text: str, about: int | None = None, at_least: float | None = None
) -> list[Extraction]:
    """Triples that a text states, surest first, from `least_probability` up.

    Args:
        opened: the run.
        text: any text.
        about: the entity that it is about; see `TextModel.read`.
        at_least: the least probability.

    Raises:
        InputError: the text is empty, or the run has no text model.
    """
    least = least_probability(opened, at_least)
    return [one for one in opened.extract(text, about) if one.probability >= least]
