"""Tasks of telling apart relations that nothing was trained on, by a few examples or in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from relgnn.data.mentions import Span
from relgnn.data.relations import Example, Relations
from relgnn.errors import InputError
from relgnn.text.encoder import TextEncoder

ROLES = ("subject", "object")
Episode = tuple[np.ndarray, np.ndarray, np.ndarray]
"""A task's relations [ways], rows of its examples [ways, shots] and questions [ways, queries]."""


def represent(examples: Sequence[Example], encoder: TextEncoder) -> Tensor:
    """What a sentence says of its two entities, [len(examples), 5 d].

    Side by side, each of length one: the mentions in their context, h and t, their difference, what
    stands between them (both included), and the sentence with "subject" and "object" in the
    entities' places, which says the relation without saying who. The parts were chosen on
    SemEval-2010's training relations; each adds to the others there.
    """
    _, spans = encoder.encode_spans([(x.text, (x.head, x.tail, _between(x))) for x in examples])
    head, tail, between = spans.view(len(examples), 3, encoder.dim).unbind(1)
    hidden = encoder.encode([hide_names(x).text for x in examples])
    return torch.cat([head, tail, normalize(head - tail), between, hidden], dim=1)


def describe(data: Relations, encoder: TextEncoder) -> Tensor:
    """Vectors [R, d] of the relations' names and descriptions."""
    return encoder.encode(described_as(data))


def described_as(data: Relations) -> list[str]:
    """What a relation is called and is, in words; its label where there are none."""
    parts = zip(data.labels, data.label_names, data.descriptions, strict=True)
    return [": ".join(filter(None, told)) or label for label, *told in parts]


def episodes(
    labels: np.ndarray,
    ways: int,
    shots: int,
    queries: int,
    count: int,
    generator: np.random.Generator,
) -> Iterator[Episode]:
    """Tasks of telling `ways` relations apart, drawn without replacement.

    Args:
        labels: int [M], each example's relation.
        ways, shots, queries: relations of a task, and examples and questions of each.
        count: tasks.
        generator: of the draws.

    Yields:
        relations [ways], rows of the examples [ways, shots] and of the questions [ways, queries].

    Raises:
        InputError: too few relations have enough examples.
    """
    members = {int(r): np.flatnonzero(labels == r) for r in np.unique(labels)}
    usable = [r for r, rows in members.items() if len(rows) >= shots + queries]
    if len(usable) < ways:
        raise InputError(
            f"few_shot: {len(usable)} relations have {shots} + {queries} examples, and a task has "
            f"{ways}; lower few_shot.ways, shots or queries"
        )
    for _ in range(count):
        relations = generator.choice(usable, ways, replace=False)
        drawn = np.stack(
            [generator.choice(members[int(r)], shots + queries, replace=False) for r in relations]
        )
        yield relations, drawn[:, :shots], drawn[:, shots:]


class TaskVectors(NamedTuple):
    """Sentences as tasks read them.

    Args:
        vectors: [M, D], compared with those of examples.
        whole: [M, d], compared with those of descriptions.
    """

    vectors: Tensor
    whole: Tensor


def accuracies(
    sentences: TaskVectors, described: Tensor, drawn: Iterable[Episode], weight: float = 0.0
) -> np.ndarray:
    """Accuracy of each task: the relation that is nearest to the question wins.

        s(q, r) = cos(x_q, mean of r's examples) + weight · cos(w_q, d_r)

    (Snell et al., 2017); without examples cos(w_q, d_r) alone. Nothing of the questions is used
    but the one that is asked.

    Args:
        sentences: x and w.
        described: d, [R, d], of every relation that a task may have.
        drawn: the tasks.
        weight: of the description beside examples.
    """
    unit, whole = (normalize(part).numpy() for part in sentences)
    found = []
    for relations, support, asked in drawn:
        score = np.zeros((*asked.shape, len(relations)))
        if support.size:
            score += unit[asked] @ _unit(unit[support].mean(1)).T
        if weight or not support.size:
            score += (weight or 1.0) * (whole[asked] @ _unit(described[relations].numpy()).T)
        found.append((score.argmax(-1) == np.arange(len(relations))[:, None]).mean())
    return np.array(found)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)


def _between(one: Example) -> Span:
    return min(one.head[0], one.tail[0]), max(one.head[1], one.tail[1])


def hide_names(one: Example) -> Example:
    """The sentence with the entities' roles in the place of their names."""
    (first, name), (second, other) = sorted(zip((one.head, one.tail), ROLES, strict=True))
    start = first[0]
    if second[0] < first[1]:  # one within the other: the outer one stands for both
        text = one.text[:start] + name + one.text[max(first[1], second[1]) :]
        return one._replace(
            text=text, head=(start, start + len(name)), tail=(start, start + len(name))
        )
    middle = one.text[first[1] : second[0]]
    text = one.text[:start] + name + middle + other + one.text[second[1] :]
    at = start + len(name) + len(middle)
    spans = {name: (start, start + len(name)), other: (at, at + len(other))}
    return one._replace(text=text, head=spans[ROLES[0]], tail=spans[ROLES[1]])
