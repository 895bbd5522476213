"""Corruptions of true triples, drawn from an explicit generator."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from relgnn.errors import InputError

RESAMPLES = 8


class NegativeSampler(ABC):
    """Draws triples with another head or tail.

    Args:
        triples: int64 [T, 3], the triples known to be true.
        num_entities: N.
        num_relations: R.
        filtered: True draws no triple that is in `triples`; False may draw any, even the given one.
    """

    def __init__(
        self, triples: Tensor, num_entities: int, num_relations: int, filtered: bool = False
    ) -> None:
        self.num_entities, self.num_relations = num_entities, num_relations
        self.known = self._key(triples).unique() if filtered else None

    def sample(self, triples: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Draw corruptions.

        Args:
            triples: int64 [B, 3].
            count: K, how many for each triple.
            generator: the only source of chance.

        Returns:
            int64 [B, K, 3].

        Raises:
            InputError: filtered, and every corruption that can be drawn of a triple is known.
        """
        flat = triples.repeat_interleave(count, 0)
        out = self._corrupt(flat, generator)
        if self.known is not None:
            self._replace_known(flat, out, generator)
        return out.view(triples.shape[0], count, 3)

    @abstractmethod
    def head_probability(self, relations: Tensor) -> Tensor:
        """Chance [B] that the head is what is replaced, for relations [B]."""

    @abstractmethod
    def candidates(self, relation: int, column: int) -> Tensor:
        """Every entity [M] that may stand at `column` (0 head, 2 tail) of a relation."""

    @abstractmethod
    def draw(self, relations: Tensor, at_head: Tensor, generator: torch.Generator) -> Tensor:
        """One entity [B] from the candidates of each relation's head or tail, uniformly."""

    def _corrupt(self, triples: Tensor, generator: torch.Generator) -> Tensor:
        chance = self.head_probability(triples[:, 1])
        at_head = _uniform(triples.shape[0], generator, chance.device) < chance
        entity = self.draw(triples[:, 1], at_head, generator).to(triples.device)
        out = triples.clone()
        out[:, 0] = torch.where(at_head, entity, out[:, 0])
        out[:, 2] = torch.where(at_head, out[:, 2], entity)
        return out

    def _replace_known(self, triples: Tensor, out: Tensor, generator: torch.Generator) -> None:
        wrong = self._is_known(out).nonzero().squeeze(1)
        for _ in range(RESAMPLES):
            if not wrong.numel():
                return
            out[wrong] = self._corrupt(triples[wrong], generator)
            wrong = wrong[self._is_known(out[wrong])]
        for row in wrong.tolist():
            out[row] = self._draw_from_all(triples[row], generator)

    def _draw_from_all(self, triple: Tensor, generator: torch.Generator) -> Tensor:
        """A corruption drawn from the list of all unknown ones, the side by its probability."""
        lists = []
        for column in (0, 2):
            entities = self.candidates(int(triple[1]), column)
            corrupted = triple.repeat(entities.shape[0], 1)
            corrupted[:, column] = entities
            lists.append(corrupted[~self._is_known(corrupted)])
        chance = float(self.head_probability(triple[None, 1])[0])
        head_first = float(_uniform(1, generator, "cpu")[0]) < chance
        choices = lists[0] if (head_first and len(lists[0])) or not len(lists[1]) else lists[1]
        if not len(choices):
            raise InputError(
                f"negatives of triple {tuple(triple.tolist())}: every corruption of it is a known "
                "triple; use more candidates or unfiltered negatives"
            )
        return choices[int(_uniform(1, generator, "cpu")[0] * len(choices))]

    def _key(self, triples: Tensor) -> Tensor:
        head, relation, tail = triples.unbind(-1)
        return (head * self.num_relations + relation) * self.num_entities + tail

    def _is_known(self, triples: Tensor) -> Tensor:
        assert self.known is not None
        return torch.isin(self._key(triples), self.known)


class UniformSampler(NegativeSampler):
    """Replaces the head or the tail, at even odds, by any entity.

    Bordes et al., Translating Embeddings for Modeling Multi-relational Data, NIPS 2013.
    """

    def head_probability(self, relations: Tensor) -> Tensor:
        return torch.full(relations.shape, 0.5, device=relations.device)

    def candidates(self, relation: int, column: int) -> Tensor:
        return torch.arange(self.num_entities)

    def draw(self, relations: Tensor, at_head: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randint(
            self.num_entities, relations.shape, generator=generator, device=generator.device
        )


class BernoulliSampler(UniformSampler):
    """Replaces the head with probability tph / (tph + hpt), so that fewer corruptions are true.

    tph is the mean number of tails of a head, hpt of heads of a tail, by relation; even odds for a
    relation without triples. Wang et al., Knowledge Graph Embedding by Translating on Hyperplanes,
    AAAI 2014.
    """

    def __init__(
        self, triples: Tensor, num_entities: int, num_relations: int, filtered: bool = False
    ) -> None:
        super().__init__(triples, num_entities, num_relations, filtered)
        relation = triples[:, 1]
        heads = _distinct(relation, triples[:, 0], num_entities, num_relations)
        tails = _distinct(relation, triples[:, 2], num_entities, num_relations)
        # tph : hpt = (T / heads) : (T / tails) = tails : heads.
        total = (heads + tails).clamp(min=1)
        self.by_relation = torch.where(heads > 0, tails / total, 0.5)

    def head_probability(self, relations: Tensor) -> Tensor:
        return self.by_relation[relations]


class TypeConstrainedSampler(NegativeSampler):
    """Replaces the head or the tail, at even odds, by an entity seen there with the same relation.

    A position that was never seen, or that had one entity only, takes any entity. Krompaß et al.,
    Type-Constrained Representation Learning in Knowledge Graphs, ISWC 2015.
    """

    def __init__(
        self, triples: Tensor, num_entities: int, num_relations: int, filtered: bool = False
    ) -> None:
        super().__init__(triples, num_entities, num_relations, filtered)
        head, relation, tail = triples.unbind(1)
        position = torch.cat([relation, relation + num_relations])
        seen = (position * num_entities + torch.cat([head, tail])).unique()
        count = torch.bincount(seen // max(num_entities, 1), minlength=2 * num_relations)
        # all entities, once for every position that takes any, stand behind those seen
        anything = count < 2
        self.sizes = torch.where(anything, num_entities, count)
        self.starts = torch.where(anything, len(seen), count.cumsum(0) - count)
        self.entities = torch.cat([seen % max(num_entities, 1), torch.arange(num_entities)])

    def head_probability(self, relations: Tensor) -> Tensor:
        return torch.full(relations.shape, 0.5, device=relations.device)

    def candidates(self, relation: int, column: int) -> Tensor:
        position = relation + self.num_relations * (column // 2)
        start = int(self.starts[position])
        return self.entities[start : start + int(self.sizes[position])]

    def draw(self, relations: Tensor, at_head: Tensor, generator: torch.Generator) -> Tensor:
        position = relations + self.num_relations * (~at_head).long()
        chance = _uniform(relations.shape[0], generator, relations.device)
        offset = (chance * self.sizes[position]).long()
        return self.entities[self.starts[position] + offset]


class PairSampler:
    """Draws pairs of different nodes that no edge connects, in either direction.

    Wang et al., Pairwise Learning for Neural Link Prediction, 2021, draw them like this: from all
    pairs, not around the ends of true ones.

    Args:
        pairs: int64 [E, 2], the edges.
        num_nodes: N.
    """

    def __init__(self, pairs: Tensor, num_nodes: int) -> None:
        self.num_nodes = num_nodes
        self.known = self._key(pairs).unique()

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw pairs, int64 [count, 2].

        What is an edge after some draws stays: of a graph that lacks few edges some pairs are true.
        """
        out = self._draw(count, generator)
        wrong = self._is_known(out).nonzero().squeeze(1)
        for _ in range(RESAMPLES):
            if not wrong.numel():
                break
            out[wrong] = self._draw(len(wrong), generator)
            wrong = wrong[self._is_known(out[wrong])]
        return out

    def _draw(self, count: int, generator: torch.Generator) -> Tensor:
        size = (count, 2)
        return torch.randint(self.num_nodes, size, generator=generator, device=generator.device)

    def _key(self, pairs: Tensor) -> Tensor:
        return pairs.amin(1) * self.num_nodes + pairs.amax(1)

    def _is_known(self, pairs: Tensor) -> Tensor:
        key = self._key(pairs)
        place = torch.searchsorted(self.known, key).clamp(max=max(len(self.known) - 1, 0))
        there = self.known[place] == key if len(self.known) else torch.zeros_like(key).bool()
        return there | (pairs[:, 0] == pairs[:, 1])


def _uniform(size: int, generator: torch.Generator, device: torch.device | str) -> Tensor:
    """Numbers in [0, 1), float64 [size], drawn where the generator is."""
    drawn = torch.rand(size, generator=generator, device=generator.device, dtype=torch.float64)
    return drawn.to(device)


def _distinct(relation: Tensor, entity: Tensor, num_entities: int, num_relations: int) -> Tensor:
    pairs = (relation * num_entities + entity).unique()
    return torch.bincount(pairs // num_entities, minlength=num_relations)


NEGATIVE_SAMPLERS: dict[str, type[NegativeSampler]] = {
    "uniform": UniformSampler,
    "bernoulli": BernoulliSampler,
    "typed": TypeConstrainedSampler,
}
