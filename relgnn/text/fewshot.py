"""Relations that nothing was trained on: a few examples, or a description, and a frozen encoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from relgnn.config import FewShotConfig
from relgnn.data.relations import Example, RelationData, Relations, Span
from relgnn.errors import InputError
from relgnn.runtime import Runtime, cache_home
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
    hidden = encoder.encode([_hidden(x) for x in examples])
    return torch.cat([head, tail, normalize(head - tail), between, hidden], dim=1)


def describe(data: Relations, encoder: TextEncoder) -> Tensor:
    """Vectors [R, d] of the relations' names and descriptions."""
    parts = zip(data.label_names, data.descriptions, strict=True)
    return encoder.encode([": ".join(filter(None, part)) for part in parts])


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


def few_shot_accuracy(vectors: Tensor, drawn: Iterable[Episode]) -> np.ndarray:
    """Accuracy of each task: the nearest mean of a relation's examples wins (Snell et al., 2017).

    Similarity is the cosine. Nothing of the questions is used but the one that is asked.

    Args:
        vectors: [M, d] of the examples.
        drawn: the tasks.
    """
    unit = normalize(vectors).numpy()
    return _accuracies(unit, ((unit[support].mean(1), asked) for _, support, asked in drawn))


def zero_shot_accuracy(
    sentences: Tensor, descriptions: Tensor, drawn: Iterable[Episode]
) -> np.ndarray:
    """Accuracy of each task: the relation whose description is nearest to the sentence wins.

    Args:
        sentences: [M, d].
        descriptions: [R, d], of every relation that a task may have.
        drawn: the tasks.
    """
    unit, described = normalize(sentences).numpy(), descriptions.numpy()
    return _accuracies(unit, ((described[relations], asked) for relations, _, asked in drawn))


def _accuracies(unit: np.ndarray, tasks: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Of tasks: what stands for each relation [ways, d], and rows of the questions about it."""
    found = []
    for centre, asked in tasks:
        centre = centre / np.linalg.norm(centre, axis=1, keepdims=True).clip(min=1e-12)
        answers = (unit[asked] @ centre.T).argmax(-1)
        found.append((answers == np.arange(len(centre))[:, None]).mean())
    return np.array(found)


def measure(config: FewShotConfig, data: RelationData, runtime: Runtime) -> dict[str, Any]:
    """What a frozen encoder tells apart on valid and test examples; nothing is trained.

    Returns:
        accuracy, the mean over tasks, and its `standard_error`.
    """
    asked, tasks = [*data.valid, *data.test], config.few_shot
    dtype = runtime.dtype
    encoder = TextEncoder(
        config.text.model, max_tokens=config.text.max_tokens, device=runtime.device, dtype=dtype,
        cache=cache_home(),
    )  # fmt: skip
    labels = np.array([one.relation for one in asked])
    drawn = episodes(
        labels, tasks.ways, tasks.shots, tasks.queries, tasks.episodes, runtime.rng("episodes")
    )
    if tasks.shots:
        found = few_shot_accuracy(represent(asked, encoder), drawn)
    else:
        sentences = encoder.encode([one.text for one in asked])
        found = zero_shot_accuracy(sentences, describe(data, encoder), drawn)
    error = float(found.std() / len(found) ** 0.5)
    return {"accuracy": float(found.mean()), "standard_error": error}


def _between(one: Example) -> Span:
    return min(one.head[0], one.tail[0]), max(one.head[1], one.tail[1])


def _hidden(one: Example) -> str:
    """The sentence with the entities' roles in the place of their names."""
    (first, name), (second, other) = sorted(zip((one.head, one.tail), ROLES, strict=True))
    if second[0] < first[1]:  # one within the other: the outer one stands for both
        return one.text[: first[0]] + name + one.text[max(first[1], second[1]) :]
    middle = one.text[first[1] : second[0]]
    return one.text[: first[0]] + name + middle + other + one.text[second[1] :]
