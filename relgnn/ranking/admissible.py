"""Candidates by type: which entities may stand at the head or the tail of a relation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from relgnn.errors import InputError


@dataclass(frozen=True)
class Admissible:
    """The entities that may be the tail of each relation and, as relation + R, its head.

    Attributes:
        entities: bool [2R, N], sparse by rows.
    """

    entities: csr_array

    @classmethod
    def build(
        cls,
        triples: np.ndarray,
        num_entities: int,
        num_relations: int,
        types: Sequence[Sequence[str]] | None = None,
    ) -> Admissible:
        """Take the entities seen in a place, or those too that share a type with one of them.

        A place that no triple fills admits every entity. Krompaß et al., Type-Constrained
        Representation Learning in Knowledge Graphs, ISWC 2015 (closed-world domains and ranges).

        Args:
            triples: int64 [M, 3], of the training split.
            num_entities, num_relations: N and R.
            types: N lists of type ids, `KnowledgeGraph.types`; None: only entities that were seen.

        Raises:
            InputError: there is not one list of types for each entity.
        """
        head, relation, tail = np.asarray(triples, dtype=np.int64).reshape(-1, 3).T
        places = np.concatenate([relation, relation + num_relations])
        shape = 2 * num_relations, num_entities
        seen = _matrix(places, np.concatenate([tail, head]), shape)
        if types is not None:
            if len(types) != num_entities:
                raise InputError(
                    f"types are given for {len(types)} entities; expected one list for each of "
                    f"the {num_entities}"
                )
            has_type = _type_matrix(types)
            seen = seen + (seen @ has_type) @ has_type.T
        empty = np.flatnonzero(np.diff(seen.indptr) == 0)
        anything = np.repeat(empty, num_entities), np.tile(np.arange(num_entities), len(empty))
        return cls(seen + _matrix(*anything, shape))

    def mask(self, relations: Tensor, block: slice) -> Tensor:
        """bool [B, n]: which entities of a block may answer relations [B] in [0, 2R)."""
        place, row = torch.unique(relations.cpu(), return_inverse=True)
        dense = self.entities[place.numpy()][:, block].toarray()
        return torch.from_numpy(dense)[row]


def _matrix(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> csr_array:
    return csr_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=shape)


def _type_matrix(types: Sequence[Sequence[str]]) -> csr_array:
    """bool [N, T], which types each entity has."""
    number: dict[str, int] = {}
    pairs = [(e, number.setdefault(t, len(number))) for e, own in enumerate(types) for t in own]
    entity, kind = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return _matrix(entity, kind, (len(types), max(1, len(number))))
