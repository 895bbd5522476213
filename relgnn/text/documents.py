"""Relations of documents' entities by what they are called: nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from relgnn.data.documents import Document, DocumentData
from relgnn.data.mentions import Span
from relgnn.data.relations import place_tokens
from relgnn.text.encoder import TextEncoder
from relgnn.text.fewshot import describe
from relgnn.text.pooling import group_logsumexp

KIND_WORDS = {
    "PER": "person", "LOC": "place", "ORG": "organization", "TIME": "date", "NUM": "number",
    "MISC": "work, event or other thing",
}  # fmt: skip


@dataclass(frozen=True)
class Matches:
    """How well pairs of mentions match each of R relations.

    Args:
        pair: int64 [N], the pair of entities that a pair of mentions speaks of.
        between: float [N, R], the words from one mention to the other against the description.
        ends: float [N, R], the tail's mention less the head's against the description.
        kinds: int64 [N], the types of head and tail, as a row of what `match_types` gives.
        pairs: number of pairs of entities.
    """

    pair: Tensor
    between: Tensor
    ends: Tensor
    kinds: Tensor
    pairs: int


@dataclass(frozen=True)
class _Window:
    """Mentions that are read together: a text, their characters and their entities."""

    text: str
    spans: list[Span]
    entity: list[int]
    crossing: list[tuple[int, int]]
    """Pairs of mentions, each once, that are of two entities and of this window alone."""


def match(
    documents: Sequence[Document],
    data: DocumentData,
    kinds: Sequence[str],
    encoder: TextEncoder,
    distance: int,
) -> Matches:
    """Compare every two mentions that are near each other with every relation's description.

    The vector of a stretch of text is the mean of its states in the context of its sentences. That
    the words from mention to mention are compared with "name: description", and how the direction
    is told, was chosen on FewRel's validation relations.

    Args:
        documents: what to read.
        data: names and descriptions of the relations.
        kinds: every type of entity.
        encoder: any; frozen.
        distance: sentences between two mentions that are read together.
    """
    described = describe(data, encoder)
    windows = [(i, w) for i, one in enumerate(documents) for w in _windows(one, distance)]
    _, vectors = encoder.encode_spans(
        [
            (w.text, [*w.spans, *(_stretch(w.spans[a], w.spans[b]) for a, b in w.crossing)])
            for _, w in windows
        ]
    )
    likeness = vectors @ described.T
    first_pair = [0]
    for one in documents:
        first_pair.append(first_pair[-1] + len(one.entities) * (len(one.entities) - 1))
    rows: list[tuple[int, int, int, int, int]] = []
    number = {kind: i for i, kind in enumerate(kinds)}
    start = 0
    for i, window in windows:
        entities = documents[i].entities
        for j, (a, b) in enumerate(window.crossing):
            for head, tail in ((a, b), (b, a)):
                h, t = window.entity[head], window.entity[tail]
                pair = first_pair[i] + h * (len(entities) - 1) + t - (t > h)
                types = number[entities[h].kind] * len(kinds) + number[entities[t].kind]
                middle = start + len(window.spans) + j
                rows.append((pair, middle, start + head, start + tail, types))
        start += len(window.spans) + len(window.crossing)
    places = torch.tensor(rows, dtype=torch.long).reshape(-1, 5)
    pairs, between, heads, tails, typed = places.unbind(1)
    ends = likeness[tails] - likeness[heads]
    return Matches(pairs, likeness[between], ends, typed, first_pair[-1])


def match_types(data: DocumentData, kinds: Sequence[str], encoder: TextEncoder) -> Tensor:
    """How well two types fit each relation, [kinds², R], by its description alone.

    "place of birth of a person is a place" is nearer to the description of the place of birth than
    "place of birth of a number is a date" is. Standardised over the pairs of types.
    """
    words = [KIND_WORDS.get(kind, kind.lower()) for kind in kinds]
    names = [name or x for name, x in zip(data.label_names, data.labels, strict=True)]
    said = [
        f"{name} of a {head} is a {tail}"
        for name, (head, tail) in product(names, product(words, words))
    ]
    vectors = encoder.encode(said).view(len(data.labels), len(words) ** 2, encoder.dim)
    fitting = (vectors @ describe(data, encoder)[:, :, None])[:, :, 0].T
    return _standardised(fitting, fitting)


def standardised(matches: Matches, like: Matches, types: Tensor, weight: float) -> Tensor:
    """One score [N, R] of each pair of mentions: the sum of its parts, each with deviation one.

    Descriptions differ in how near they are to any text; this takes it away, without labels.

    Args:
        matches: what to score.
        like: whose means and deviations are taken.
        types: see `match_types`.
        weight: of the types.
    """
    text = _standardised(matches.between, like.between) + _standardised(matches.ends, like.ends)
    return text + weight * types[matches.kinds]


def pool(scores: Tensor, matches: Matches, temperature: float) -> Tensor:
    """Scores [pairs, R] of pairs of entities: T · log Σ exp(s / T) over their pairs of mentions.

    As Jia et al. (2019) pool mentions; -inf where no two mentions are near each other.
    """
    return temperature * group_logsumexp(scores / temperature, matches.pair, matches.pairs)


def compete(scores: Tensor) -> Tensor:
    """Scores [pairs, R] less the log of the sum of their exponentials over the relations, added.

    A pair has few relations: where many fit equally well, none is stated. On Re-DocRED's dev this
    lifts micro-F1 from .037 to .042. -inf where no two mentions are near each other.
    """
    return scores + scores.log_softmax(1).nan_to_num(nan=float("-inf"))


def _standardised(values: Tensor, like: Tensor) -> Tensor:
    return (values - like.mean(0)) / like.std(0, correction=0).clamp(min=1e-6)


def _stretch(left: Span, right: Span) -> Span:
    return left[0], max(left[1], right[1])


def _windows(document: Document, distance: int) -> list[_Window]:
    """Every run of 1 to 1 + `distance` sentences in which two entities stand."""
    found = []
    mentions = [
        (place, i) for i, entity in enumerate(document.entities) for place in entity.mentions
    ]
    for first in range(len(document.sentences)):
        for last in range(first, min(first + distance + 1, len(document.sentences))):
            inside = sorted(m for m in mentions if first <= m[0].sentence <= last)
            crossing = [
                (a, b)
                for b, (right, tail) in enumerate(inside)
                for a, (left, head) in enumerate(inside[:b])
                # what fits into a shorter window is in that one
                if (left.sentence, right.sentence) == (first, last) and head != tail
            ]
            if not crossing:
                continue
            words = [word for one in document.sentences[first : last + 1] for word in one]
            text, starts, ends = place_tokens(words)
            offset = {first: 0}
            for sentence in range(first, last):
                offset[sentence + 1] = offset[sentence] + len(document.sentences[sentence])
            spans = [
                (starts[offset[p.sentence] + p.start], ends[offset[p.sentence] + p.end - 1])
                for p, _ in inside
            ]
            found.append(_Window(text, spans, [i for _, i in inside], crossing))
    return found
