"""A linear autoencoder of the adjacency matrix, in closed form: for few nodes with many edges."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from relgnn.config.ogb import AutoencoderSettings
from relgnn.data.ogb import OgbLinks
from relgnn.errors import InputError
from relgnn.linkpred.pairs import measure_links
from relgnn.ranking.ogb import OgbEvaluator

LARGEST = 30_000
"""Nodes that it is solved for at most: it holds several matrices of nodes times nodes."""


@dataclass(frozen=True)
class Chosen:
    """What valid chose.

    Args:
        damping, shrinkage, restored: see `AutoencoderSettings`.
        valid: its metric.
    """

    damping: float
    shrinkage: float
    restored: float
    valid: float


class LinearAutoencoder(nn.Module):
    """Scores pairs by how well their rows of the adjacency matrix are rebuilt from all others.

        M = D^{-α} A D^{-α},  B = argmin ‖M − M B‖² + λ m ‖B‖²  with B_jj = 0,  m = 1/N Σ_i ‖M_i‖²
        P = (M² + λ m I)^{-1},  B_ij = −P_ij / P_jj
        s(i, j) = (d_i d_j)^β ( (M B)_ij + (M B)_ji )

    The zero diagonal forbids a node to stand for itself, so that no edge explains itself. Steck,
    Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019, has it for users and items. Here
    both are the same nodes, and degrees are damped before and given back in part, as edges of
    popular nodes would else be all that is rebuilt.

    Args:
        pairs: int64 [E, 2], the edges of A; direction, multiplicity and loops do not count.
        num_nodes: N.
        damping: α.

    Raises:
        InputError: there are too many nodes for matrices of N² numbers.
    """

    degree: Tensor
    inputs: Tensor
    weight: Tensor

    def __init__(self, pairs: Tensor, num_nodes: int, damping: float) -> None:
        super().__init__()
        if num_nodes > LARGEST:
            raise InputError(
                f"{num_nodes:,} nodes are too many for an autoencoder of all pairs, which is for "
                f"{LARGEST:,} at most; train a model with a section `pairs` instead"
            )
        adjacency = torch.zeros(num_nodes, num_nodes, device=pairs.device)
        first, second = pairs.unbind(1)
        adjacency[first, second] = adjacency[second, first] = 1.0
        adjacency.fill_diagonal_(0.0)
        degree = adjacency.sum(1).clamp(min=1)
        scale = degree**-damping
        self.damping = damping
        self.register_buffer("degree", degree, persistent=False)
        self.register_buffer("inputs", scale[:, None] * adjacency * scale, persistent=False)
        self.register_buffer("weight", torch.zeros_like(adjacency))

    def squares(self) -> Tensor:
        """M², [N, N], which is the same for every λ."""
        return self.inputs @ self.inputs

    def solve(self, shrinkage: float, squares: Tensor | None = None) -> None:
        """Set B for a λ.

        Args:
            shrinkage: λ.
            squares: what `squares` gave, where it is at hand; it stays as it is.

        Raises:
            InputError: there is no edge, or λ is too small for the precision of the numbers.
        """
        squares = self.squares() if squares is None else squares.clone()
        squares.diagonal().add_(shrinkage * squares.diagonal().mean())
        factor, failed = torch.linalg.cholesky_ex(squares)
        if bool(failed):
            raise InputError(
                f"autoencoder.shrinkage={shrinkage:g} leaves equations of {len(squares):,} nodes "
                "without one solution; give a larger one, and a graph with edges"
            )
        inverse = torch.cholesky_inverse(factor)
        self.weight.copy_(-inverse / inverse.diagonal())
        self.weight.fill_diagonal_(0.0)

    def forward(self) -> Tensor:
        """(M B)_ij + (M B)_ji of all pairs, [N, N]; scores with β = 0."""
        rebuilt = self.inputs @ self.weight
        return rebuilt + rebuilt.t()

    def score(self, rebuilt: Tensor, pairs: Tensor, restored: float) -> Tensor:
        """Scores [B] on the CPU.

        Args:
            rebuilt: what `forward` gave.
            pairs: int64 [B, 2].
            restored: β / α.
        """
        first, second = pairs.to(rebuilt.device).unbind(1)
        popular = (self.degree[first] * self.degree[second]) ** (restored * self.damping)
        return (rebuilt[first, second] * popular).cpu()


def choose_autoencoder(
    links: OgbLinks,
    settings: AutoencoderSettings,
    evaluator: OgbEvaluator,
    device: torch.device,
) -> tuple[LinearAutoencoder, Chosen]:
    """Solve for every setting, and keep what is best on valid, the first of equals.

    Args:
        links: its test pairs are not looked at.
        settings: section `autoencoder`.
        evaluator: of the data set.
        device: where it is solved.

    Raises:
        InputError: there are too many nodes, no edge, or a shrinkage is too small.
    """
    best: Chosen | None = None
    for damping in settings.damping:
        model = autoencoder(links, damping, device)
        squares = model.squares()
        for shrinkage in settings.shrinkage:
            model.solve(shrinkage, squares)
            rebuilt = model()
            for restored in settings.restored:
                valid = measure_autoencoder(model, rebuilt, links, evaluator, "valid", restored)
                if best is None or valid > best.valid:
                    best = Chosen(damping, shrinkage, restored, valid)
    assert best is not None
    model = autoencoder(links, best.damping, device)
    model.solve(best.shrinkage)
    return model, best


def autoencoder(links: OgbLinks, damping: float, device: torch.device) -> LinearAutoencoder:
    """An unsolved one of the training edges."""
    pairs = torch.from_numpy(links.pairs["train"]).to(device)
    return LinearAutoencoder(pairs, links.num_nodes, damping)


def measure_autoencoder(
    model: LinearAutoencoder,
    rebuilt: Tensor,
    links: OgbLinks,
    evaluator: OgbEvaluator,
    split: str,
    restored: float,
) -> float:
    """OGB's metric of a split; `rebuilt` is what the model's `forward` gives."""
    score = partial(model.score, rebuilt, restored=restored)
    return measure_links(links, evaluator, split, score)
