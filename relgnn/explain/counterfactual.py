"""Where an answer would stand without something: an edge, several of them, or another context."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from relgnn.explain.edges import EdgeImportance
from relgnn.explain.reading import Triple
from relgnn.explain.target import triples_of, without
from relgnn.linkpred.fit import Fitted
from relgnn.loop.calibrate import raw_scores
from relgnn.loop.opened import OpenRun

LIMIT = 10
"""Edges of a set that are taken away at most."""
CANDIDATES = 30
"""Edges, the most important first, that are tried at each step."""


@dataclass(frozen=True)
class Standing:
    """Where the tail of a triple stands among all answers to (head, relation, ?).

    Args:
        rank: realistic; given triples of train and valid are no wrong answers.
        probability: calibrated, of the triple; None in a run without valid triples.
    """

    rank: float
    probability: float | None


@dataclass(frozen=True)
class SmallestSet:
    """Edges without which an answer is no longer the first.

    Args:
        edges: int64 [S], rows of the context.
        triples: int64 [S, 3], which triples they are.
        fell: whether the answer falls; else these are the `LIMIT` that were tried in vain.
        standing: without them.
    """

    edges: np.ndarray
    triples: np.ndarray
    fell: bool
    standing: Standing


class Counterfactual:
    """What would become of one triple's standing.

    Args:
        run: an opened run.
        triple: head, relation and the tail whose standing it is.
    """

    def __init__(self, run: OpenRun, triple: Triple) -> None:
        self.run, self.triple = run, triple
        self._known = run.graph.filter_triples("valid")

    def standing(self, fitted: Fitted | None = None) -> Standing:
        """The tail's standing by a model and its context; the run's own where None."""
        run, row = self.run, np.array([self.triple], dtype=np.int64)
        fitted = fitted or run.fitted
        rank = float(fitted.ranks(row, self._known)["tail"].realistic[0])
        if run.calibrate is None:
            return Standing(rank, None)
        return Standing(rank, float(run.calibrate(raw_scores(fitted, row))[0]))

    def without_edges(self, edges: np.ndarray) -> Standing:
        """The standing in a context without some of its triples (rows, int64)."""
        fitted = self.run.fitted
        left = without(fitted.graph, torch.from_numpy(edges))
        return self.standing(replace(fitted, graph=left))

    def smallest_set(self, found: EdgeImportance) -> SmallestSet | None:
        """A small set of edges without which the tail is not the first answer; None: it is not now.

        Greedy: of the most important edges that which costs the tail most of its lead over the best
        other answer is taken away, then the next one beside it. In the end edges that the fall does
        not need are put back one by one, so that with any one of the rest the tail is first again;
        a smaller set of other edges may be enough.

        Args:
            found: which edges are important to it.
        """
        if self.standing().rank > 1:
            return None
        left = found.edges[found.order()[:CANDIDATES]].tolist()
        gone: list[int] = []
        fell = False
        while left and len(gone) < LIMIT and not fell:
            lead = [self._lead([*gone, edge]) for edge in left]
            gone.append(left.pop(int(np.argmin(lead))))
            fell = self._falls(gone)
        edges = np.array(self._needed(gone) if fell else gone, dtype=np.int64)
        triples = triples_of(self.run.fitted.graph).cpu().numpy()[edges]
        return SmallestSet(edges, triples, fell, self.without_edges(edges))

    def _needed(self, gone: list[int]) -> list[int]:
        """Some of the edges without which the tail falls, each of which the fall needs."""
        for edge in gone:
            fewer = [one for one in gone if one != edge]
            if self._falls(fewer):
                return self._needed(fewer)
        return gone

    def _falls(self, edges: list[int]) -> bool:
        return self.without_edges(np.array(edges, dtype=np.int64)).rank > 1

    @torch.no_grad()
    def _lead(self, edges: list[int]) -> float:
        """log P(tail) less that of the best answer that is not given, without edges."""
        model, graph = self.run.fitted.model, self.run.fitted.graph
        head, relation, tail = self.triple
        device = graph.target.device
        encoded = model.encode(without(graph, torch.tensor(edges)))
        scores = model.score_tails(
            encoded, torch.tensor([head], device=device), torch.tensor([relation], device=device)
        )[0]
        own = float(scores[tail])
        same = (self._known[:, :2] == (head, relation)).all(1)
        scores[torch.from_numpy(self._known[same, 2]).to(device)] = -torch.inf
        scores[tail] = -torch.inf
        return own - float(scores.max())
