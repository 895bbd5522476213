"""What a link predictor is taught, and how sure each triple of it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from relgnn.data.graph import is_in
from relgnn.gnn.graph import MessageGraph
from relgnn.spans import spread


def drawn(triples: np.ndarray, p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Triples int64 [K, 3] of [A, 3], each kept with its probability p [A] of being true.

    They filter ranks at valid, where most true answers are hidden: a model that found them must
    not be punished, nor one rewarded for believing what is false.
    """
    return triples[rng.random(len(triples)) < p]


@dataclass(frozen=True)
class Supervision:
    """What a link predictor is trained on and what it passes messages over.

    Args:
        targets: int64 [T, 3], triples to be predicted.
        target_weight: float [T]; gold weighs 1.
        context: int64 [E, 3], triples that carry messages.
        context_weight: float [E] in (0, 1].
        evidence: float [E, d_t], the encoding of each context triple's sentences, zero where it
            has none; None where no triple has any.
        pseudo: bool [T], which targets the loop accepted; None where all are given.
        p_text: float [T], the text's probability of each target, nan where it has none; None
            where it has no say.
        p: float [T], the probability that each target is true; None where all are given.
        told: int64 [S, 3], triples whose probabilities a memory learns; None where there are none.
        told_p: float [S], these probabilities.
    """

    targets: Tensor
    target_weight: Tensor
    context: Tensor
    context_weight: Tensor
    evidence: Tensor | None = None
    pseudo: Tensor | None = None
    p_text: Tensor | None = None
    p: Tensor | None = None
    told: Tensor | None = None
    told_p: Tensor | None = None

    @classmethod
    def gold(cls, triples: np.ndarray) -> Supervision:
        """Given triples only, as targets and as context."""
        rows = torch.from_numpy(np.array(triples, dtype=np.int64))
        return cls(rows, torch.ones(len(rows)), rows, torch.ones(len(rows)))

    def given(self) -> Supervision:
        """Given targets alone, in the same context."""
        if self.pseudo is None:
            return self
        kept = ~self.pseudo
        return replace(
            self,
            targets=self.targets[kept],
            target_weight=self.target_weight[kept],
            pseudo=None,
            p_text=None,
            p=None,
        )

    def drawn(self, rng: np.random.Generator) -> np.ndarray:
        """Targets and what else is told, int64 [K, 3], each with the probability that it is true.

        What filters ranks at valid. All of them would hide every false triple that a model
        remembers, none of them would punish it for every true one.
        """
        p = torch.ones(len(self.targets)) if self.p is None else self.p
        targets = drawn(self.targets.numpy(), p.numpy(), rng)
        if self.told is None or self.told_p is None:
            return targets
        other = ~is_in(self.told.numpy(), self.targets.numpy())
        told = drawn(self.told.numpy()[other], self.told_p.numpy()[other], rng)
        return np.concatenate([targets, told])

    def message_graph(self, num_entities: int, num_relations: int) -> MessageGraph:
        """The context as a message graph."""
        return MessageGraph.build(
            self.context, num_entities, num_relations, self.context_weight, self.evidence
        )

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Numbers from 0 of the pair of nodes that each edge of the context [E] and each target [T]
        connects, in whichever direction."""
        head, _, tail = torch.cat([self.context, self.targets]).unbind(1)
        size = int(torch.cat([head, tail]).max()) + 1 if len(head) else 1
        key = torch.minimum(head, tail) * size + torch.maximum(head, tail)
        number = key.unique(return_inverse=True)[1]
        return number[: len(self.context)], number[len(self.context) :]

    def triples(self) -> tuple[Tensor, Tensor]:
        """Numbers from 0 of the triple that each edge of the context [E] and each target [T] is."""
        both = torch.cat([self.context, self.targets])
        if not len(both):
            return both.new_empty(0), both.new_empty(0)
        head, relation, tail = both.unbind(1)
        key = (head * (relation.max() + 1) + relation) * (tail.max() + 1) + tail
        number = key.unique(return_inverse=True)[1]
        return number[: len(self.context)], number[len(self.context) :]


class SameNumber:
    """Edges of the context that have something in common with targets, by its number.

    Edges are kept in the order of their numbers, so that a batch costs its own size and not that
    of the context.

    Args:
        edges: int64 [E], number of each edge.
        targets: int64 [T], number of each target.
        device: where they are asked for.
    """

    def __init__(self, edges: Tensor, targets: Tensor, device: torch.device) -> None:
        count = int(torch.cat([edges, targets]).max()) + 1 if len(edges) + len(targets) else 0
        copies = torch.bincount(edges, minlength=count)
        self.edges = edges.to(device)
        self.targets = targets.to(device).repeat(2)  # each is asked both ways
        self.order = edges.argsort(stable=True).to(device)
        self.start = torch.cat([copies.new_zeros(1), copies.cumsum(0)]).to(device)
        self.repeats = bool((copies > 1).any())

    def of_batch(self, batch: Tensor, rows: Tensor | None) -> Tensor:
        """Which edges have a number of a batch's targets.

        Args:
            batch: int64 [B], places in `targets`.
            rows: int64 [e], edges that are asked of; all where None.

        Returns:
            bool [E] or [e].
        """
        number = self.targets[batch].unique()
        first = self.start[number]
        found = self.order[spread(first, self.start[number + 1] - first)[1]]
        if rows is not None:
            return torch.isin(rows, found)
        mask = torch.zeros(len(self.edges), dtype=torch.bool, device=self.edges.device)
        mask[found] = True
        return mask

    def shared(self, draws: Tensor, rows: Tensor | None) -> Tensor:
        """A draw of each edge [E], or of those asked of [e]: copies take that of the first."""
        if not self.repeats:
            return draws
        if rows is None:
            return draws[self.order[self.start[self.edges]]]
        _, copy = self.edges[rows].unique(return_inverse=True)
        place = torch.arange(len(copy), device=copy.device)
        first = torch.full_like(copy, len(copy)).scatter_reduce(0, copy, place, "amin")
        return draws[first[copy]]
