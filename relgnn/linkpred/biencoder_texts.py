"""Texts of queries and entities as rows of tokens, put together of parts that are read once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from relgnn.data import KnowledgeGraph
from relgnn.spans import spread
from relgnn.text.rows import special_tokens

NAME_TOKENS = 8
"""Of a neighbour's name at most."""
NONE = -1
"""Where a row has no further part."""


@dataclass(frozen=True)
class PackedRows:
    """Rows of tokens without padding; rows of one length are neighbours, the longest first.

    Args:
        place: int64 [T], where each row's tokens are among those of all parts.
        shapes: rows and tokens of each length.
        back: int64 [B], where each row that was asked for now stands; equal ones are one row.
    """

    place: Tensor
    shapes: list[tuple[int, int]]
    back: Tensor


@dataclass(frozen=True)
class Parts:
    """Token ids of the texts that rows are put together of.

    Args:
        ids: int64 [S], all tokens.
        offsets: int64 [P + 1], where each part begins and ends.
    """

    ids: Tensor
    offsets: Tensor

    def lengths(self, rows: Tensor) -> Tensor:
        """Tokens int64 [B] of rows of parts int64 [B, K]."""
        return self.offsets.diff()[rows.clamp(min=0)].masked_fill(rows < 0, 0).sum(1)

    def pack(self, rows: Tensor) -> PackedRows:
        """Rows of parts int64 [B, K], `NONE` where a row has fewer; every row has one at least."""
        rows, same = rows.unique(dim=0, return_inverse=True)
        kept = rows >= 0
        row, part = kept.nonzero()[:, 0], rows[kept]
        length = self.offsets.diff()[part]
        place = spread(self.offsets[part], length)[1]
        lengths = torch.zeros(len(rows), dtype=torch.int64).index_add(0, row, length)
        order = torch.argsort(lengths, descending=True, stable=True)
        place = place[spread((lengths.cumsum(0) - lengths)[order], lengths[order])[1]]
        sizes, counts = lengths[order].unique_consecutive(return_counts=True)
        shapes = list(zip(counts.tolist(), sizes.tolist(), strict=True))
        return PackedRows(place, shapes, torch.argsort(order)[same])

    def matrices(self, rows: PackedRows, device: torch.device) -> list[Tensor]:
        """Token ids [n, l] of the rows of each length."""
        flat = self.ids[rows.place].to(device)
        parts = flat.split([n * length for n, length in rows.shapes])
        return [part.view(shape) for part, shape in zip(parts, rows.shapes, strict=True)]


def mean_states(states: Tensor, rows: PackedRows) -> Tensor:
    """Means [B, d], float32, of the states [T, d] of each row's tokens."""
    lengths = torch.cat([torch.full((n,), length) for n, length in rows.shapes]).to(states.device)
    means = torch.segment_reduce(states.float(), "mean", lengths=lengths, unsafe=True)
    return means[rows.back.to(means.device)]


class QueryTexts:
    """What the bi-encoder reads of queries and of entities.

    A query is its head's text, the names of some neighbours of the head, and the relation's name,
    "inverse of …" where a head is asked for; an answer is an entity's text: name, description and
    first sentence. An entity without any is read by its id. (Wang et al., SimKGC, ACL 2022.)

    Args:
        graph: names, texts, and given triples, whose ends are neighbours.
        tokenizer: of the language model.
        max_tokens: of an entity's text, special tokens included.
        neighbours: names in a query at most.
        pairs: answers are read behind their queries too.
    """

    def __init__(
        self,
        graph: KnowledgeGraph,
        tokenizer: Any,
        max_tokens: int,
        neighbours: int,
        pairs: bool = False,
    ) -> None:
        self.num_entities, self.num_relations = graph.num_entities, graph.num_relations
        before, after = special_tokens(tokenizer)
        room = max(1, max_tokens - len(before) - len(after))

        def tokens(texts: list[str], most: int) -> list[list[int]]:
            found = tokenizer(
                texts, add_special_tokens=False, truncation=True, max_length=most,
                return_attention_mask=False, return_token_type_ids=False,
            )["input_ids"]  # fmt: skip
            return [[*ids, *after] for ids in found]

        texts = [
            text or entity for text, entity in zip(graph.node_texts(), graph.entities, strict=True)
        ]
        relations = [graph.relation_label(i) for i in range(graph.num_relations)]
        relations += [f"inverse of {name}" for name in relations]
        own = tokens(texts, room)
        parts = [[*before, *ids] for ids in own] + tokens(relations, room)
        if neighbours:
            names = [graph.entity_label(i) for i in range(graph.num_entities)]
            parts += tokens(names, NAME_TOKENS)
        self._behind = len(parts)
        if pairs:
            parts += own
        offsets = np.cumsum([0, *map(len, parts)])
        self.parts = Parts(torch.tensor([i for ids in parts for i in ids]), torch.tensor(offsets))
        self.neighbours = neighbours
        # more than are shown, as one may be the answer, and one the candidate
        self._near = nearest(graph, neighbours + 2) if neighbours else None

    def __deepcopy__(self, memo: Any) -> Self:
        """Itself: it never changes, and every copy of a model reads the same texts."""
        return self

    def entities(self, nodes: Tensor) -> PackedRows:
        """Rows of entities int64 [B]."""
        return self.parts.pack(nodes[:, None])

    def lengths(self, nodes: Tensor) -> Tensor:
        """Tokens of entities' texts, int64 [B]."""
        return self.parts.offsets.diff()[nodes]

    def queries(
        self, heads: Tensor, relations: Tensor, answers: Tensor | None = None
    ) -> PackedRows:
        """Rows of queries.

        Args:
            heads: int64 [B].
            relations: int64 [B] in [0, 2R).
            answers: int64 [B], left out of the neighbours, which would give them away.
        """
        hidden = None if answers is None else answers[:, None]
        return self.parts.pack(self._query(heads, relations, hidden))

    def pairs(
        self, heads: Tensor, relations: Tensor, nodes: Tensor, answers: Tensor | None = None
    ) -> Tensor:
        """Queries [B] with a candidate [B] behind each, as rows of parts for `Parts.pack`.

        Neither the candidate nor, in training, the answer [B] is among the neighbours: else one
        would be told by where the other's name is missing.
        """
        hidden = torch.stack([nodes, nodes if answers is None else answers], 1)
        query = self._query(heads, relations, hidden)
        return torch.cat([query, nodes[:, None] + self._behind], 1)

    def _query(self, heads: Tensor, relations: Tensor, answers: Tensor | None) -> Tensor:
        columns = [heads[:, None], self.num_entities + relations[:, None]]
        if self._near is not None:
            near = self._near[heads]
            hidden = near < 0
            if answers is not None:
                hidden = hidden | (near[:, :, None] == answers[:, None]).any(2)
            # what is hidden goes to the end, the others keep their order
            order = torch.argsort(hidden.long(), dim=1, stable=True)
            shown = (near + self.num_entities + 2 * self.num_relations).masked_fill(hidden, NONE)
            columns.insert(1, shown.gather(1, order)[:, : self.neighbours])
        return torch.cat(columns, 1)


def nearest(graph: KnowledgeGraph, count: int) -> Tensor:
    """The given neighbours of each entity, int64 [N, count], `NONE` where there are fewer.

    Those of fewest triples come first: they say more than what many entities share.
    """
    head, tail = graph.train[:, 0], graph.train[:, 2]
    pairs = np.concatenate([np.stack([head, tail], 1), np.stack([tail, head], 1)])
    pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
    degree = np.bincount(pairs[:, 0], minlength=graph.num_entities)
    pairs = pairs[np.lexsort((pairs[:, 1], degree[pairs[:, 1]], pairs[:, 0]))]
    place = np.arange(len(pairs)) - (np.cumsum(degree) - degree)[pairs[:, 0]]
    kept = place < count
    found = np.full((graph.num_entities, count), NONE, dtype=np.int64)
    found[pairs[kept, 0], place[kept]] = pairs[kept, 1]
    return torch.from_numpy(found)
