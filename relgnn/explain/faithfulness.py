"""Whether an explanation is faithful: what its most important edges do when they go, or come."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from relgnn.data import KnowledgeGraph
from relgnn.errors import InputError
from relgnn.explain.edges import EdgeExplainer
from relgnn.explain.target import AnswerScore, Query, WholeScore, whole_score
from relgnn.linkpred.fit import Fitted
from relgnn.ranking.statistics import paired_bootstrap
from relgnn.training.progress import track

STEPS = 10
"""Parts that the edges of an explanation are taken away, or put back, in."""
ORDERS = 5
"""Random orders that an explanation is compared with, on average."""
FEWEST = 2
"""With fewer edges every order is the same."""
RANDOM = "random"


class Prediction(NamedTuple):
    """What a model answers to an open query."""

    query: Query
    answer: int


class Areas(NamedTuple):
    """Areas under P(answer), between 0 and 1: of deletion, the lower the better; of insertion."""

    deletion: float
    insertion: float


@dataclass(frozen=True)
class Faithfulness:
    """Areas of every method on the same predictions.

    Args:
        deletion, insertion: method -> float [P]; of `RANDOM` the mean over `ORDERS` orders.
    """

    deletion: dict[str, np.ndarray]
    insertion: dict[str, np.ndarray]

    def metrics(self, method: str) -> dict[str, float]:
        """Mean areas, and how much better than random they are, with 95 % intervals.

        The intervals are of a paired bootstrap over predictions. `RANDOM` has no gain over itself.
        """
        found = {
            "deletion_auc": float(self.deletion[method].mean()),
            "insertion_auc": float(self.insertion[method].mean()),
        }
        # a good order lowers the area of deletion and raises that of insertion
        pairs = {
            "deletion_gain": (self.deletion[RANDOM], self.deletion[method]),
            "insertion_gain": (self.insertion[method], self.insertion[RANDOM]),
        }
        for name, (better, worse) in pairs.items() if method != RANDOM else ():
            gain = paired_bootstrap(better[None], worse[None])
            found |= {name: gain.mean, f"{name}_low": gain.low, f"{name}_high": gain.high}
        return found | {"predictions": float(len(self.deletion[method]))}


def draw_predictions(
    fitted: Fitted, graph: KnowledgeGraph, split: str, count: int, rng: np.random.Generator
) -> list[Prediction]:
    """What a model answers to queries drawn from a split, asked for tail and head in turn.

    An answer is the likeliest entity that no given triple of train or valid has in that place:
    right or wrong, it is what the model predicts. Those that have fewer than `FEWEST` edges near
    are passed over.

    Args:
        fitted: the model and its context.
        graph: its data.
        split: "valid" or "test".
        count: how many at most.
        rng: draws the triples.

    Raises:
        InputError: the split is empty, or the model passes no messages.
    """
    triples = getattr(graph, split)
    if not len(triples):
        raise InputError(f"{graph.name} has no {split} triples; nothing is asked, so explain none")
    model = fitted.model.eval()
    found: list[Prediction] = []
    known = graph.filter_triples("valid")
    with torch.no_grad():
        encoded = model.encode(fitted.graph)
    for row in rng.permutation(len(triples)).tolist():
        if len(found) == count:
            break
        head, relation, tail = triples[row].tolist()
        backward = len(found) % 2 == 1
        start, end = (2, 0) if backward else (0, 2)
        query = Query((head, tail)[backward], relation + model.num_relations * backward)
        same = (known[:, 1] == relation) & (known[:, start] == query.node)
        device = model.entity.device
        with torch.no_grad():
            scores = model.score_tails(
                encoded, torch.tensor([query.node], device=device),
                torch.tensor([query.relation], device=device),
            )[0]  # fmt: skip
        scores[torch.from_numpy(known[same, end])] = -math.inf
        answer = int(scores.argmax())
        if len(AnswerScore.of(model, fitted.graph, query, answer).edges) >= FEWEST:
            found.append(Prediction(query, answer))
    return found


def areas(score: WholeScore, edges: np.ndarray, order: np.ndarray, steps: int = STEPS) -> Areas:
    """Areas under P(answer) as edges go, and as they come, the first of an order first.

    Both are means by the trapezium rule over the shares 0, 1 / steps, …, 1 of the edges.

    Petsiuk, Das and Saenko, RISE, BMVC 2018.

    Args:
        score: edges that are away -> log P(answer).
        edges: int64 [K], rows of the context.
        order: int64 [K], positions in `edges`.
        steps: how many parts.
    """
    ordered = torch.from_numpy(edges[order])
    cuts = [round(len(edges) * step / steps) for step in range(steps + 1)]
    known: dict[tuple[int, int], float] = {}

    def probability(start: int, stop: int) -> float:
        if (start, stop) not in known:
            known[start, stop] = math.exp(score(ordered[start:stop]))
        return known[start, stop]

    away = [probability(0, cut) for cut in cuts]
    # nothing is away at the end of one and at the start of the other
    there = [probability(cut, len(edges)) if cut < len(edges) else away[0] for cut in cuts]
    return Areas(*(float(np.trapezoid(curve, dx=1 / steps)) for curve in (away, there)))


def measure(
    fitted: Fitted,
    predictions: Sequence[Prediction],
    explainers: Mapping[str, EdgeExplainer],
    rng: np.random.Generator,
) -> Faithfulness:
    """Explain predictions by every method and by chance, and see what their edges really do.

    Args:
        fitted: the model and its context.
        predictions: what is explained.
        explainers: by name.
        rng: draws the random orders.
    """
    names = [*explainers, RANDOM]
    deletion, insertion = (
        {name: np.zeros(len(predictions)) for name in names} for _ in Areas._fields
    )
    for row, (query, answer) in enumerate(track(predictions, "explaining predictions")):
        asked = fitted.model, fitted.graph, query, answer
        edges = AnswerScore.of(*asked).edges.cpu().numpy()
        score = whole_score(*asked)
        orders = {RANDOM: [rng.permutation(len(edges)) for _ in range(ORDERS)]}
        orders |= {name: [one.explain(*asked).order()] for name, one in explainers.items()}
        for name, several in orders.items():
            both = np.mean([areas(score, edges, order) for order in several], axis=0)
            deletion[name][row], insertion[name][row] = both
    return Faithfulness(deletion, insertion)
