"""Poisoned texts: sentences planted in a corpus so that the loop accepts false triples."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np

from relgnn.data import KnowledgeGraph, Sentence, Text, sentences_of
from relgnn.data.mentions import Span, overlap
from relgnn.data.sentences import split_sentences
from relgnn.errors import InputError
from relgnn.text.blocking import NO_SPAN
from relgnn.text.encoder import TextEncoder
from relgnn.text.evidence import Evidence, encode_corpus, find_evidence, pool_evidence
from relgnn.text.linking import EXACT, MentionLinker, plain_name
from relgnn.text.pairs import PairModel, score_pairs

Style = Literal["repeated", "one_text", "paraphrased"]
STYLES: tuple[Style, ...] = get_args(Style)
POOL = 30
"""Real sentences that an attacker chooses from for one target."""
PART_OF_NAME = re.compile(r"\b[A-Z][\w.'’-]*[ -]\||\|[ -][A-Z]")
"""A name, cut out at `|`, with a capital beside it."""
TRIES = 2000
"""Draws of a target before there is held to be none."""

Conviction = Callable[[np.ndarray, Sequence[str]], np.ndarray]
"""Triples [n, 3] and a sentence for each -> how convincing each is, float [n]."""


class Statement(NamedTuple):
    """A real sentence that names both ends of a true triple, and where."""

    text: str
    head: Span
    tail: Span

    def about(self, head: str, tail: str) -> str:
        """The sentence with other names in those places, a capital first."""
        cuts = sorted([(self.head, head), (self.tail, tail)])
        out, position = "", 0
        for (start, end), name in cuts:
            out += self.text[position:start] + name
            position = end
        out += self.text[position:]
        return out[:1].upper() + out[1:]


@dataclass(frozen=True)
class Poison:
    """False triples and the texts that are planted for them.

    Args:
        triples: int64 [N, 3], which the data set does not hold.
        copies: int64 [N], sentences planted for each.
        style: of each, a `Style`.
        texts: all that is planted, each text about the head of its triple.
    """

    triples: np.ndarray
    copies: np.ndarray
    style: tuple[Style, ...]
    texts: tuple[Text, ...]

    def __len__(self) -> int:
        return len(self.triples)

    def into(self, graph: KnowledgeGraph) -> KnowledgeGraph:
        """The graph with the planted texts behind its own, as a user's would be."""
        return replace(graph, texts=(*graph.texts, *self.texts))


def statements(
    graph: KnowledgeGraph, sentences: Sequence[Sentence], evidence: Evidence
) -> dict[int, list[Statement]]:
    """Of each relation the sentences that name both ends of a true triple, in the corpus's order.

    The attacker is taken to know all that is true, hidden and test triples too.

    Args:
        graph: its triples.
        sentences: the corpus that `evidence` was found in; position = id.
        evidence: who is where.
    """
    relations: dict[tuple[int, int], list[tuple[int, bool]]] = defaultdict(list)
    for h, r, t in np.unique(graph.filter_triples("test"), axis=0).tolist():
        relations[h, t].append((r, True))
        relations[t, h].append((r, False))
    found: dict[int, dict[Statement, None]] = defaultdict(dict)
    for row in np.flatnonzero(evidence.kind == EXACT).tolist():
        pair = int(evidence.head[row]), int(evidence.tail[row])
        if pair not in relations:
            continue
        first, second = (tuple(x[row].tolist()) for x in (evidence.head_span, evidence.tail_span))
        if first == NO_SPAN or overlap(first, second):
            continue
        text = sentences[evidence.sentence[row]].text
        if PART_OF_NAME.search(text[: first[0]] + "|" + text[first[1] :]):
            continue  # the other half of the name would stay
        for relation, forward in relations[pair]:
            ends = (first, second) if forward else (second, first)
            found[relation][Statement(text, *ends)] = None
    return {relation: list(own) for relation, own in found.items()}


def plant(
    graph: KnowledgeGraph,
    evidence: Evidence,
    known: Mapping[int, Sequence[Statement]],
    targets: int,
    copies: Sequence[int],
    rng: np.random.Generator,
    convincing: Conviction | None = None,
) -> Poison:
    """Draw false triples and write the sentences that are to insert them.

    A target's head is a head of its relation among the given triples, and its tail the tail of a
    head that shares a type with it; no triple of the data set joins the two, no sentence of the
    corpus names them together, and each entity is the head of one target at most. For each, `POOL`
    real sentences about the relation are given the target's names. Styles take turns:

        repeated      the first of them again and again, each in a text of its own
        one_text      different ones, all in one text
        paraphrased   different ones, each in a text of its own

    Args:
        graph: where they shall get in.
        evidence: of its corpus.
        known: of each relation real sentences, see `statements`.
        targets: how many for each number of copies.
        copies: numbers of sentences planted for a target.
        rng: of all draws.
        convincing: what puts the most misleading sentences first; None leaves them as drawn.

    Raises:
        InputError: there are not so many.
    """
    draws = _Draws(graph, evidence, known, max(copies), rng)
    drawn = [draws.target() for _ in range(targets * len(copies))]
    triples = np.array([triple for triple, _ in drawn], dtype=np.int64).reshape(-1, 3)
    pools = [pool for _, pool in drawn]
    if convincing is not None:
        sizes = [len(pool) for pool in pools]
        said = [sentence for pool in pools for sentence in pool]
        values = np.split(convincing(triples.repeat(sizes, axis=0), said), np.cumsum(sizes)[:-1])
        pools = [
            [pool[i] for i in np.argsort(-value, kind="stable")]
            for pool, value in zip(pools, values, strict=True)
        ]
    counts = np.repeat(np.array(copies, dtype=np.int64), targets)
    styles = tuple(STYLES[i % targets % len(STYLES)] for i in range(len(triples)))
    texts = [
        Text(f"planted-{i}-{j}", text, head)
        for i, head in enumerate(triples[:, 0].tolist())
        for j, text in enumerate(_texts(pools[i], int(counts[i]), styles[i]))
    ]
    return Poison(triples, counts, styles, tuple(texts))


def _texts(pool: list[str], count: int, style: Style) -> list[str]:
    if style == "repeated":
        return [pool[0]] * count
    return [" ".join(pool[:count])] if style == "one_text" else pool[:count]


def pair_conviction(model: PairModel, graph: KnowledgeGraph, encoder: TextEncoder) -> Conviction:
    """What a pair model makes of a sentence alone, as a text about the triple's head.

    Args:
        model: that has read the corpus which is poisoned: the attacker has a copy.
        graph: its graph.
        encoder: its language model.
    """

    def logits(triples: np.ndarray, said: Sequence[str]) -> np.ndarray:
        sentences = list(
            sentences_of(
                Text(str(i), text, head)
                for i, (text, head) in enumerate(zip(said, triples[:, 0].tolist(), strict=True))
            )
        )
        linked = find_evidence(graph, sentences)
        about = triples[linked.sentence]
        own = np.flatnonzero((linked.head == about[:, 0]) & (linked.tail == about[:, 2]))
        # each sentence for itself, as if no other spoke of the two
        each = linked.taken(own, np.arange(len(own)), linked.head[own], linked.tail[own])
        features = pool_evidence(sentences, each, encode_corpus(graph, sentences, each, encoder))
        found = score_pairs(model, features, each.pair)[each.pair, about[own, 1]]
        values = np.full(len(said), -np.inf)
        np.maximum.at(values, each.sentence, found)
        return values

    return logits


class _Draws:
    """Targets one after another, each with real sentences about it."""

    def __init__(
        self,
        graph: KnowledgeGraph,
        evidence: Evidence,
        known: Mapping[int, Sequence[Statement]],
        most: int,
        rng: np.random.Generator,
    ) -> None:
        self.graph, self.known, self.most, self.rng = graph, known, most, rng
        linker = MentionLinker(graph.entity_names, graph.aliases or None)
        self.names = [plain_name(name) for name in graph.entity_names]
        self._linked = [_names_itself(linker, name, e) for e, name in enumerate(self.names)]
        joined = np.concatenate([
            graph.filter_triples("test")[:, [0, 2]],
            np.column_stack([evidence.pair_head, evidence.pair_tail]),
        ])  # fmt: skip
        self._joined = {(min(a, b), max(a, b)) for a, b in joined.tolist()}
        self._given = graph.train[[len(known.get(int(r), ())) >= most for r in graph.train[:, 1]]]
        self._targets = self._draw()

    def target(self) -> tuple[tuple[int, int, int], list[str]]:
        """The next target, and at least `most` different sentences that state it."""
        return next(self._targets)

    def _draw(self) -> Iterator[tuple[tuple[int, int, int], list[str]]]:
        given, failed = self._given, 0
        taken: set[int] = set()
        while failed < TRIES and len(given):
            relation = int(given[self.rng.integers(len(given)), 1])
            own = given[given[:, 1] == relation]
            head = int(self.rng.choice(np.unique(own[:, 0])))
            own = own[[self._alike(head, other) for other in own[:, 0].tolist()]]
            tail = int(self.rng.choice(np.unique(own[:, 2])))
            sentences = [] if head in taken else self._stated(head, relation, tail)
            if len(sentences) < self.most:
                failed += 1
                continue
            taken.add(head)
            failed = 0
            yield (head, relation, tail), sentences
        raise InputError(
            f"{self.graph.name}: has no more false triples to plant {self.most} different "
            "sentences for; give fewer targets or fewer copies"
        )

    def _alike(self, head: int, other: int) -> bool:
        """Whether two heads share a type, as far as types are known."""
        types = self.graph.types
        return head == other or not types[head] or not set(types[head]).isdisjoint(types[other])

    def _stated(self, head: int, relation: int, tail: int) -> list[str]:
        pair = min(head, tail), max(head, tail)
        if head == tail or pair in self._joined or not (self._linked[head] and self._linked[tail]):
            return []
        real = self.known[relation]
        found: dict[str, None] = {}
        for i in self.rng.permutation(len(real)).tolist():
            text = real[i].about(self.names[head], self.names[tail])
            if split_sentences(text) == [(0, len(text))]:
                found[text] = None
            if len(found) == max(POOL, self.most):
                break
        return list(found)


def _names_itself(linker: MentionLinker, name: str, entity: int) -> bool:
    """Whether a sentence with this name is linked to the entity."""
    return any(
        m.entity == entity and m.kind == EXACT and (m.start, m.end) == (0, len(name))
        for m in linker.link(name)
    )
