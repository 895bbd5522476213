"""Which pairs of entities the sentences speak of, and where: the text side's candidates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import numpy as np
import torch
from torch import Tensor

from relgnn.data import KnowledgeGraph, Sentence
from relgnn.data.mentions import Span
from relgnn.text.blocking import NO_SPAN, EvidenceRows, columns, joined, link_stream
from relgnn.text.coreference import Coreference
from relgnn.text.encoder import TextEncoder
from relgnn.text.linking import COREFERENT, IMPLIED, MentionLinker
from relgnn.text.means import Means
from relgnn.training.progress import track


@dataclass(frozen=True)
class Evidence:
    """Every sentence that speaks of a pair, in columns; one row a (sentence, head, tail).

    The head is the entity whose page the sentence is on, which the sentence need not name ("He
    was born in Bonn"), or the one of two names in one sentence with the smaller id.

    Args:
        head, tail: int64 [M], entities.
        sentence: int64 [M], sentence ids.
        head_span, tail_span: int64 [M, 2], characters in the sentence; (-1, -1) where unnamed.
        kind: int64 [M], how surely the tail is named; indexes `linking.KINDS`.
        pair: int64 [M], the row's pair.
        pair_head, pair_tail: int64 [P], each pair's entities.
        head_coreferent: bool [M], where the head's span is a pronoun or a description (of a tail
            its kind says so); None where coreference was not resolved.
    """

    head: np.ndarray
    tail: np.ndarray
    sentence: np.ndarray
    head_span: np.ndarray
    tail_span: np.ndarray
    kind: np.ndarray
    pair: np.ndarray
    pair_head: np.ndarray
    pair_tail: np.ndarray
    head_coreferent: np.ndarray | None = None

    @property
    def num_pairs(self) -> int:
        """P."""
        return len(self.pair_head)

    def taken(
        self,
        rows: np.ndarray,
        pair: np.ndarray | None = None,
        pair_head: np.ndarray | None = None,
        pair_tail: np.ndarray | None = None,
    ) -> Evidence:
        """Some of the rows, each as often as it is asked for.

        Args:
            rows: int64 [m].
            pair: int64 [m], whose rows they are; as it was where not given.
            pair_head, pair_tail: int64 [P], the pairs' entities; as they were where not given.
        """
        coreferent = self.head_coreferent
        return Evidence(
            self.head[rows], self.tail[rows], self.sentence[rows],
            self.head_span[rows], self.tail_span[rows], self.kind[rows],
            self.pair[rows] if pair is None else pair,
            self.pair_head if pair_head is None else pair_head,
            self.pair_tail if pair_tail is None else pair_tail,
            None if coreferent is None else coreferent[rows],
        )  # fmt: skip


def find_evidence(
    graph: KnowledgeGraph,
    sentences: Sequence[Sentence],
    linker: MentionLinker | None = None,
    *,
    coreference: bool = False,
) -> Evidence:
    """Link every sentence and list the pairs that it may speak of.

    Pairs are (page's entity, mention) for every mention of any kind, and (mention, mention) where
    both are named exactly and with a capital: common words that are entities ("actor") would pair
    with everything. A subject that coreference resolves is one more mention, of a kind of its own.

    Args:
        graph: names and aliases.
        sentences: the unlabelled corpus.
        linker: the default links `graph`'s names and aliases.
        coreference: resolve subjects that are pronouns or descriptions.
    """
    linker = linker or MentionLinker(graph.entity_names, graph.aliases or None)
    resolver = Coreference(graph) if coreference else None
    rows = joined(link_stream(track(sentences, "linking mentions"), linker, resolver))
    return _numbered(rows, graph.num_entities, coreference)


def _numbered(rows: EvidenceRows, num_entities: int, coreference: bool) -> Evidence:
    """Evidence of rows: those of the same head and tail are one pair."""
    keys, pair = np.unique(rows.head * num_entities + rows.tail, return_inverse=True)
    return Evidence(
        rows.head, rows.tail, rows.sentence, rows.head_span, rows.tail_span, rows.kind,
        pair, keys // num_entities, keys % num_entities,
        rows.head_coreferent if coreference else None,
    )  # fmt: skip


@dataclass(frozen=True)
class SentenceVectors:
    """Encodings of a corpus, made once and pooled for whatever pairs are asked for.

    Args:
        whole: [S, d], of the sentences; position = sentence id.
        spans: [T, d], of the spans that name entities.
        rows: for each sentence the row of each of its spans.
        node, name: [N, d], of the entities' node texts and of their names alone.
    """

    whole: Tensor
    spans: Tensor
    rows: list[dict[Span, int]]
    node: Tensor
    name: Tensor


def encode_entities(graph: KnowledgeGraph, encoder: TextEncoder) -> tuple[Tensor, Tensor]:
    """Encodings [N, d] of the entities' node texts, and of their names alone."""
    return (
        encoder.encode(graph.node_texts(), "encoding nodes"),
        encoder.encode(graph.entity_names, "encoding names"),
    )


def encode_corpus(
    graph: KnowledgeGraph,
    sentences: Sequence[Sentence],
    evidence: Evidence,
    encoder: TextEncoder,
    entities: tuple[Tensor, Tensor] | None = None,
) -> SentenceVectors:
    """Encode every sentence once, pooled whole and over each span that `evidence` names.

    Args:
        graph: node texts and names.
        sentences: the corpus that `evidence` was found in; position = id.
        evidence: who is where.
        encoder: the language model, frozen.
        entities: what `encode_entities` gives, where it is at hand.
    """
    rows: list[dict[Span, int]] = [{} for _ in sentences]
    for column in (evidence.head_span, evidence.tail_span):
        for sentence, span in zip(evidence.sentence.tolist(), column.tolist(), strict=True):
            if tuple(span) != NO_SPAN:
                rows[sentence].setdefault(tuple(span), 0)
    whole, spans = encoder.encode_spans(
        [(s.text, tuple(rows[s.id])) for s in sentences], "encoding sentences"
    )
    numbers = count()
    rows = [{span: next(numbers) for span in group} for group in rows]
    return SentenceVectors(whole, spans, rows, *(entities or encode_entities(graph, encoder)))


def add_implied(
    evidence: Evidence,
    graph: KnowledgeGraph,
    sentences: Sequence[Sentence],
    vectors: SentenceVectors,
    heads: np.ndarray,
    tails: np.ndarray,
) -> Evidence:
    """Let the text judge pairs that the graph proposes and no sentence names.

    Each pair gets the one sentence of the head's own page that is nearest to the tail's name
    (cosine of their encodings), with both ends unnamed. Pairs that are there already, in this
    order or the other, and heads without a page are left out.

    Args:
        evidence: what linking found.
        graph, sentences: names and corpus.
        vectors: their encodings, which compare sentence and name.
        heads, tails: int64 [Q], proposed pairs.
    """
    size = graph.num_entities
    known = np.concatenate(
        [
            evidence.pair_head * size + evidence.pair_tail,
            evidence.pair_tail * size + evidence.pair_head,
        ]
    )
    keys = np.unique(heads * size + tails)
    keys = keys[~np.isin(keys, known) & (keys // size != keys % size)]
    by_page: dict[int, list[int]] = {}
    for sentence in sentences:
        if sentence.entity is not None:
            by_page.setdefault(sentence.entity, []).append(sentence.id)
    rows = []
    for head, group in _groups(keys // size, keys % size):
        page = by_page.get(head)
        if page:
            nearest = (vectors.name[group] @ vectors.whole[page].T).argmax(1).tolist()
            for tail, best in zip(group.tolist(), nearest, strict=True):
                rows.append((head, tail, page[best], NO_SPAN, NO_SPAN, IMPLIED, False))
    coreferent = evidence.head_coreferent
    old = EvidenceRows(
        evidence.head, evidence.tail, evidence.sentence, evidence.head_span, evidence.tail_span,
        evidence.kind, np.zeros(len(evidence.head), bool) if coreferent is None else coreferent,
    )  # fmt: skip
    return _numbered(joined([old, columns(rows)]), size, coreferent is not None)


def _groups(keys: np.ndarray, values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(key, its values) for sorted keys."""
    cuts = np.flatnonzero(np.diff(keys)) + 1
    for group_keys, group in zip(np.split(keys, cuts), np.split(values, cuts), strict=True):
        if len(group):
            yield int(group_keys[0]), group


@dataclass(frozen=True)
class PairFeatures:
    """What a pair model reads of each pair, pooled over its sentences.

    Args:
        sentence: P groups, mean vector of the pair's sentences.
        head_mention, tail_mention: P groups, mean vectors of the spans; zero where unnamed.
        shape: [P, 2·kinds + 5], counts: kinds seen (flags and logs), number of sentences, whether
            the head is named, whether the pair is met in a page's first sentence, how early. Where
            coreference was resolved, four more: rows whose head, and whose tail, is coreferent
            (flags, then logs).
        head, tail: int64 [P].
        node, name: [N, d], encodings of node texts and of names alone.
    """

    sentence: Means
    head_mention: Means
    tail_mention: Means
    shape: Tensor
    head: Tensor
    tail: Tensor
    node: Tensor
    name: Tensor

    def __len__(self) -> int:
        return len(self.head)

    def rows_of(self, head: np.ndarray, tail: np.ndarray) -> np.ndarray:
        """Rows int64 [Q] of pairs (head, tail), both int64 [Q]; -1 for a pair that is not here."""
        order, keys = self._by_key
        asked = head * max(len(self.node), 1) + tail
        place = np.searchsorted(keys, asked)
        return np.where(np.append(keys, -1)[place] == asked, np.append(order, -1)[place], -1)

    @cached_property
    def _by_key(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows by the number of their pair, and these numbers, ascending."""
        keys = (self.head * max(len(self.node), 1) + self.tail).numpy()
        order = np.argsort(keys, kind="stable")
        return order, keys[order]


def pool_evidence(
    sentences: Sequence[Sentence], evidence: Evidence, vectors: SentenceVectors
) -> PairFeatures:
    """What there is to read of every pair; its vectors are pooled when they are asked for.

    Args:
        sentences: the corpus that `evidence` was found in; position = id.
        evidence: who is where; its spans are among those that were encoded.
        vectors: the corpus's encodings.
    """
    pair = torch.from_numpy(evidence.pair)
    pairs, sentence = evidence.num_pairs, torch.from_numpy(evidence.sentence)
    mentions = []
    for column in (evidence.head_span, evidence.tail_span):
        rows = torch.tensor(
            [
                -1 if (key := tuple(span)) == NO_SPAN else vectors.rows[sentence][key]
                for sentence, span in zip(evidence.sentence.tolist(), column.tolist(), strict=True)
            ],
            dtype=torch.long,
        )
        named = rows >= 0
        mentions.append(Means.over(vectors.spans, rows[named], pair[named], pairs))
    return PairFeatures(
        sentence=Means.over(vectors.whole, sentence, pair, pairs),
        head_mention=mentions[0],
        tail_mention=mentions[1],
        shape=_shape(sentences, evidence),
        head=torch.from_numpy(evidence.pair_head),
        tail=torch.from_numpy(evidence.pair_tail),
        node=vectors.node,
        name=vectors.name,
    )


def _shape(sentences: Sequence[Sentence], evidence: Evidence) -> Tensor:
    order: dict[str, int] = {}
    place = np.zeros(len(sentences))
    for s in sentences:
        place[s.id] = order[s.text_id] = order.get(s.text_id, -1) + 1
    on_page = np.array([s.entity is not None for s in sentences], dtype=bool)
    pairs = evidence.num_pairs
    seen = np.zeros((pairs, COREFERENT + 1))
    np.add.at(seen, (evidence.pair, evidence.kind), 1)
    # Coreferent tails stand last: without them a pair model's inputs are what they always were.
    kinds, tails = seen[:, :COREFERENT], seen[:, COREFERENT:]
    by_name = evidence.head_span[:, 0] >= 0
    coreferent = evidence.head_coreferent
    if coreferent is not None:
        by_name &= ~coreferent
    named = np.bincount(evidence.pair, by_name, minlength=pairs)
    earliest = np.full(pairs, np.inf)
    np.minimum.at(earliest, evidence.pair, place[evidence.sentence])
    paged = np.bincount(evidence.pair, on_page[evidence.sentence], minlength=pairs)
    counted = [
        kinds > 0,
        np.log1p(kinds),
        np.log1p(seen.sum(1, keepdims=True)),
        (named > 0)[:, None],
        (paged > 0)[:, None],
        (earliest == 0)[:, None],
        np.log1p(earliest)[:, None],
    ]
    if coreferent is not None:
        heads = np.bincount(evidence.pair, coreferent, minlength=pairs)
        spoken_of = np.column_stack([heads, tails])
        counted += [spoken_of > 0, np.log1p(spoken_of)]
    return torch.from_numpy(np.concatenate(counted, axis=1)).float()


def edge_evidence(features: PairFeatures, triples: np.ndarray) -> Tensor:
    """t_e [T, d_t]: mean vector of the sentences that name both ends; zero where none does.

    A pair that one page and the other speak of takes the sentences of the head's page.
    """
    head, tail = triples[:, 0], triples[:, 2]
    found = []
    for row in (features.rows_of(head, tail), features.rows_of(tail, head)):
        found.append(np.where(np.append(features.tail_mention.filled, False)[row], row, -1))
    row = np.where(found[0] >= 0, *found)
    out = torch.zeros(len(triples), features.sentence.width)
    out[row >= 0] = features.sentence[torch.from_numpy(row[row >= 0])]
    return out
