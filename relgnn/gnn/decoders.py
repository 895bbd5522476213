"""Decoders: from the vectors of a head, a relation and a tail to a score. Higher is more plausible.

Only tails are scored: a head is predicted as the tail of the inverse relation r + R.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from relgnn.dropout import Dropout
from relgnn.errors import InputError
from relgnn.gnn.distances import modulus_distance
from relgnn.gnn.precision import widen


class Decoder(nn.Module, ABC):
    """Scores of triples from vectors.

    Args:
        dim: d, the width of entities.
        dropout: share of the head's and the relation's vector that is dropped in training.

    Attributes:
        bilinear: whether a score is the inner product of `query` and the tail.
    """

    bilinear = True

    def __init__(self, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dim = dim
        self.dropout = Dropout(dropout)

    @property
    def relation_dim(self) -> int:
        """Width of a relation's vector."""
        return self.dim

    def score(self, h: Tensor, r: Tensor, t: Tensor) -> Tensor:
        """Scores [...] of h [..., d], r [..., relation_dim], t [..., d] that broadcast."""
        return self._match(self.query(h, r), t)

    def score_all(self, h: Tensor, r: Tensor, candidates: Tensor) -> Tensor:
        """Scores [B, N] of all candidate tails [N, d] for h [B, d], r [B, relation_dim]."""
        return self._match_all(self.query(h, r), candidates)

    def score_relations(self, h: Tensor, relations: Tensor, t: Tensor) -> Tensor:
        """Scores [B, K] of all relations [K, relation_dim] between h [B, d] and t [B, d]."""
        return self.score(h[:, None], relations[None], t[:, None])

    def query(self, h: Tensor, r: Tensor) -> Tensor:
        """The vector [..., d] that a tail of (h, r, ?) should match."""
        return self._query(self.dropout(h), self.dropout(r))

    def factors(self, h: Tensor, r: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        """The moduli that a regulariser such as N3 shrinks, one tensor [B, ·] for each vector."""
        return h.abs(), r.abs(), t.abs()

    @abstractmethod
    def _query(self, h: Tensor, r: Tensor) -> Tensor: ...

    def _match(self, query: Tensor, t: Tensor) -> Tensor:
        return (query * t).sum(-1)

    def _match_all(self, query: Tensor, candidates: Tensor) -> Tensor:
        return query @ candidates.t()


class DistMult(Decoder):
    """score = Σ_i h_i r_i t_i.

    Yang et al., Embedding Entities and Relations for Learning and Inference in Knowledge Bases,
    ICLR 2015.
    """

    def score_relations(self, h: Tensor, relations: Tensor, t: Tensor) -> Tensor:
        return (self.dropout(h) * t) @ self.dropout(relations).t()

    def _query(self, h: Tensor, r: Tensor) -> Tensor:
        return h * r


class ComplEx(Decoder):
    """score = Re Σ_i h_i r_i conj(t_i), the first half of each vector real, the second imaginary.

    Trouillon et al., Complex Embeddings for Simple Link Prediction, ICML 2016.
    """

    def __init__(self, dim: int, dropout: float = 0.0) -> None:
        super().__init__(_even(dim, "ComplEx"), dropout)

    def score_relations(self, h: Tensor, relations: Tensor, t: Tensor) -> Tensor:
        # conj(h) t is to the relation what the query is to a tail
        (h_re, h_im), (t_re, t_im) = self.dropout(h).chunk(2, -1), t.chunk(2, -1)
        pair = torch.cat([h_re * t_re + h_im * t_im, h_re * t_im - h_im * t_re], -1)
        return pair @ self.dropout(relations).t()

    def _query(self, h: Tensor, r: Tensor) -> Tensor:
        (h_re, h_im), (r_re, r_im) = h.chunk(2, -1), r.chunk(2, -1)
        return torch.cat([h_re * r_re - h_im * r_im, h_re * r_im + h_im * r_re], -1)

    def factors(self, h: Tensor, r: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        return _modulus(h), _modulus(r), _modulus(t)


class ConvE(Decoder):
    """score = ⟨relu(vec(relu(ω * [h̄; r̄])) W), t⟩, with h̄, r̄ the vectors as images and ω 3 × 3
    filters.

    Dettmers et al., Convolutional 2D Knowledge Graph Embeddings, AAAI 2018. Layer normalisation
    stands in for the paper's batch normalisation, so that a score does not depend on the batch it
    is in, and there is no bias by entity, so that entities never seen can be scored.

    Args:
        channels: number of filters.
    """

    def __init__(self, dim: int, dropout: float = 0.0, channels: int = 32) -> None:
        super().__init__(dim, dropout)
        self.height = _image_height(dim)
        width = dim // self.height
        self.convolution = nn.Conv2d(1, channels, 3, padding=1)
        self.image_norm = nn.GroupNorm(1, 1)
        self.feature_norm = nn.GroupNorm(1, channels)
        self.project = nn.Linear(channels * 2 * self.height * width, dim)
        self.hidden_norm = nn.LayerNorm(dim)

    def _query(self, h: Tensor, r: Tensor) -> Tensor:
        h, r = torch.broadcast_tensors(h, r)
        shape = (-1, 1, self.height, self.dim // self.height)
        image = torch.cat([h.reshape(shape), r.reshape(shape)], 2)
        features = functional.relu(self.feature_norm(self.convolution(self.image_norm(image))))
        hidden = self.dropout(self.project(self.dropout(features).flatten(1)))
        return functional.relu(self.hidden_norm(hidden)).view(h.shape)


class TransE(Decoder):
    """score = −‖h + r − t‖_p.

    Bordes et al., Translating Embeddings for Modeling Multi-relational Data, NIPS 2013.

    Args:
        p: 1 or 2.
    """

    bilinear = False

    def __init__(self, dim: int, dropout: float = 0.0, p: int = 1) -> None:
        super().__init__(dim, dropout)
        self.p = p

    def _query(self, h: Tensor, r: Tensor) -> Tensor:
        return h + r

    def _match(self, query: Tensor, t: Tensor) -> Tensor:
        return -torch.linalg.vector_norm(query - t, ord=self.p, dim=-1)

    def _match_all(self, query: Tensor, candidates: Tensor) -> Tensor:
        # The matrix-multiply form of the Euclidean distance loses half its digits where a tail fits
        # best.
        exact = "donot_use_mm_for_euclid_dist"
        return -torch.cdist(widen(query), widen(candidates), p=self.p, compute_mode=exact)


class RotatE(Decoder):
    """score = −Σ_i |h_i e^{iθ_i} − t_i|, h and t complex (first half real), r the phases θ in
    radians.

    Sun et al., RotatE: Knowledge Graph Embedding by Relational Rotation in Complex Space, ICLR
    2019, which starts the phases uniform in [−π, π].
    """

    bilinear = False

    def __init__(self, dim: int, dropout: float = 0.0) -> None:
        super().__init__(_even(dim, "RotatE"), dropout)

    @property
    def relation_dim(self) -> int:
        """Half the width of an entity: one phase for each complex number."""
        return self.dim // 2

    def query(self, h: Tensor, r: Tensor) -> Tensor:
        """See `Decoder.query`; phases are whole: one that is made larger turns by another angle."""
        return self._query(self.dropout(h), r)

    def _query(self, h: Tensor, r: Tensor) -> Tensor:
        (h_re, h_im), cos, sin = h.chunk(2, -1), r.cos(), r.sin()
        return torch.cat([h_re * cos - h_im * sin, h_re * sin + h_im * cos], -1)

    def _match(self, query: Tensor, t: Tensor) -> Tensor:
        return -_modulus(query - t).sum(-1)

    def _match_all(self, query: Tensor, candidates: Tensor) -> Tensor:
        return -modulus_distance(widen(query), widen(candidates))

    def factors(self, h: Tensor, r: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        """The moduli of the entities; a rotation has modulus 1."""
        return _modulus(h), _modulus(t)


class Beside(Decoder):
    """score = score of `first` + score of `second`, each on its own part of every vector.

    Args:
        first, second: decoders; a vector is the first one's, then the second one's.
    """

    def __init__(self, first: Decoder, second: Decoder) -> None:
        super().__init__(first.dim + second.dim)
        self.first, self.second = first, second
        self.bilinear = first.bilinear and second.bilinear

    @property
    def relation_dim(self) -> int:
        """The sum of both."""
        return self.first.relation_dim + self.second.relation_dim

    def score(self, h: Tensor, r: Tensor, t: Tensor) -> Tensor:
        first, second = self._parts(h, r, t)
        return self.first.score(*first) + self.second.score(*second)

    def score_all(self, h: Tensor, r: Tensor, candidates: Tensor) -> Tensor:
        first, second = self._parts(h, r, candidates)
        return self.first.score_all(*first) + self.second.score_all(*second)

    def factors(self, h: Tensor, r: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        first, second = self._parts(h, r, t)
        return self.first.factors(*first) + self.second.factors(*second)

    def _query(self, h: Tensor, r: Tensor) -> Tensor:
        (h1, r1, _), (h2, r2, _) = self._parts(h, r, h)
        return torch.cat([self.first.query(h1, r1), self.second.query(h2, r2)], -1)

    def _parts(self, h: Tensor, r: Tensor, t: Tensor) -> tuple[tuple[Tensor, ...], ...]:
        first, second = self.first, self.second
        entity, relation = [first.dim, second.dim], [first.relation_dim, second.relation_dim]
        split = (h.split(entity, -1), r.split(relation, -1), t.split(entity, -1))
        return tuple(zip(*split, strict=True))


def _modulus(value: Tensor) -> Tensor:
    # The modulus of a complex tensor has gradient 0, not NaN, at 0.
    return torch.complex(*widen(value).chunk(2, -1)).abs()


def _even(dim: int, name: str) -> int:
    if dim % 2:
        raise InputError(
            f"dim {dim} for the decoder {name}: expected an even number; use {dim + 1}"
        )
    return dim


def _image_height(dim: int) -> int:
    """The divisor of dim that makes the image [2 · height, width] nearest to a square."""
    divisors = [height for height in range(1, dim + 1) if dim % height == 0]
    return min(divisors, key=lambda height: abs(2 * height - dim // height))


DECODERS: dict[str, type[Decoder]] = {
    "distmult": DistMult,
    "complex": ComplEx,
    "conve": ConvE,
    "transe": TransE,
    "rotate": RotatE,
}


def make_decoder(kind: str, dim: int, dropout: float = 0.0, **options: Any) -> Decoder:
    """Build a decoder by name.

    Args:
        kind: a key of DECODERS.
        dim: width of entities.
        dropout: share of head and relation vectors that is dropped in training.
        options: the decoder's own arguments.

    Raises:
        InputError: no decoder has that name, or dim does not suit it.
    """
    if kind not in DECODERS:
        raise InputError(f"decoder '{kind}': expected one of {', '.join(DECODERS)}")
    return DECODERS[kind](dim, dropout, **options)
