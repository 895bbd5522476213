"""Everything that can be said of one prediction of a run, in words and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from relgnn.data.graph import is_in
from relgnn.explain.counterfactual import Counterfactual
from relgnn.explain.edges import EdgeExplainer, EdgeImportance
from relgnn.explain.intervention import Intervention
from relgnn.explain.paths import PathFinder, PathLine
from relgnn.explain.reading import Shares, Triple
from relgnn.explain.target import Query
from relgnn.loop.opened import OpenRun
from relgnn.loop.why import path_line


@dataclass(frozen=True)
class EdgeLine:
    """An edge: in words, where it is from, its importance, and the answer's rank without it.

    `source` is "given", "accepted" (read in text) or "connected" (a pair without a type).
    """

    edge: str
    source: str
    importance: float
    rank: float


@dataclass(frozen=True)
class Share:
    """What a view or a sentence adds to the log odds of the triple, ± its standard error."""

    player: str
    share: float
    error: float


@dataclass(frozen=True)
class Without:
    """What would be had some sentences never been written.

    Args:
        what: id of the sentence, or of the text.
        posterior, accepted: of the triple.
        rank: of the answer by the graph model over the context that is left.
    """

    what: str
    posterior: float
    accepted: bool
    rank: float


@dataclass(frozen=True)
class Believed:
    """What the last round believed of the triple, and why.

    Args:
        posterior, accepted: as the ledger has them.
        views: what each adds to the log odds, from none to all of them.
        view_odds: log odds without any view, and with all, by the calibrator that the run left for
            new text: the posterior was told by cross-fitted ones, and over several rounds.
        sentences: what each adds, from none to all of them, beside the other views.
        odds: log odds without any sentence, and with all.
        texts: the sentences in words, in the order of their shares.
        without: each of the sentences with the largest shares, then each text.
    """

    posterior: float
    accepted: bool
    views: tuple[Share, ...]
    view_odds: tuple[float, float]
    sentences: tuple[Share, ...]
    odds: tuple[float, float]
    texts: tuple[str, ...]
    without: tuple[Without, ...]


@dataclass(frozen=True)
class Explanation:
    """Why a run predicts a triple.

    Args:
        head, relation, tail: ids.
        triple: in words.
        given: whether it was given for training.
        rank: of the tail among all answers; given triples are no wrong answers.
        probability: calibrated; None in a run without valid triples.
        paths: with their rules.
        edges: of the context near both ends, the most important first; empty where the model
            passes no messages.
        log_probability: of the tail among all answers, with none of these edges and with all; None
            without any.
        smallest_set: edges without which the answer is no longer first; None where it is not first,
            or none were found.
        rank_without_set: its rank then.
        believed: None where the last round did not judge it.
    """

    head: str
    relation: str
    tail: str
    triple: str
    given: bool
    rank: float
    probability: float | None
    paths: tuple[PathLine, ...]
    edges: tuple[EdgeLine, ...]
    log_probability: tuple[float, float] | None
    smallest_set: tuple[str, ...] | None
    rank_without_set: float | None
    believed: Believed | None


class Explaining:
    """Explains predictions of one run.

    Args:
        run: an opened run.
        explainer: of edges.
        most: paths, edges, and sentences taken away one by one, at most.
    """

    def __init__(self, run: OpenRun, explainer: EdgeExplainer, most: int = 5) -> None:
        self.run, self.graph, self.explainer, self.most = run, run.graph, explainer, most
        self.paths = PathFinder.of_run(run)
        self.effect = None if run.round_folder is None else Intervention(run)

    def explain(self, triple: Triple) -> Explanation:
        """Everything that can be said of why (head, relation, ?) is answered by the tail."""
        graph, fitted, would = self.graph, self.run.fitted, Counterfactual(self.run, triple)
        head, relation, tail = triple
        standing = would.standing()
        edges, smallest = None, None
        if fitted.model.encoder is not None:
            query = Query(head, relation)
            edges = self.explainer.explain(fitted.model, fitted.graph, query, tail)
            smallest = would.smallest_set(edges)
        fell = smallest is not None and smallest.fell
        return Explanation(
            *graph.ids(triple),
            self._words(triple), bool(is_in(np.array([triple]), graph.train)[0]),
            standing.rank, standing.probability,
            tuple(self.paths.line(path) for path in self.paths.paths(*triple, limit=self.most)),
            self._edges(edges, would) if edges is not None else (),
            (edges.baseline, edges.value) if edges is not None else None,
            tuple(self._words(t) for t in smallest.triples.tolist()) if smallest and fell else None,
            smallest.standing.rank if smallest and fell else None,
            self._believed(triple, would),
        )  # fmt: skip

    def _words(self, triple: Sequence[int]) -> str:
        head, relation, tail = triple
        if relation < self.graph.num_relations:
            return path_line(self.graph, (head, tail), (relation,))
        return f"{self.graph.entity_label(head)} – {self.graph.entity_label(tail)}"

    def _edges(self, found: EdgeImportance, would: Counterfactual) -> tuple[EdgeLine, ...]:
        return tuple(
            EdgeLine(
                self._words(found.triples[place].tolist()),
                self._source(int(found.edges[place]), int(found.triples[place, 1])),
                float(found.importance[place]),
                would.without_edges(found.edges[place : place + 1]).rank,
            )
            for place in found.order()[: self.most].tolist()
        )

    def _source(self, edge: int, relation: int) -> str:
        if edge < len(self.graph.train):
            return "given"
        return "accepted" if relation < self.graph.num_relations else "connected"

    def _believed(self, triple: Triple, would: Counterfactual) -> Believed | None:
        effect = self.effect
        row = effect.row(triple) if effect is not None else None
        if effect is None or row is None:
            return None
        reading, table = effect.reading, effect.table
        read, views = reading.by_sentence(triple), reading.views(triple)
        shares = _shares(read)
        order = sorted(range(len(shares)), key=lambda one: -abs(shares[one].share))
        spoken, corpus = reading.speaking(triple), reading.sentences
        removed = [(shares[one].player, spoken[one : one + 1]) for one in order[: self.most]]
        texts = dict.fromkeys(corpus[one].text_id for one in spoken)
        removed += [(text, effect.sentences_of(text)) for text in texts]
        without = []
        for what, sentences in removed:
            outcome = effect.without(sentences)
            p, accepted = outcome.of(triple) or (table.p[row], table.accepted[row] > 0)
            rank = would.standing(outcome.fitted).rank
            without.append(Without(what, float(p), bool(accepted), rank))
        return Believed(
            float(table.p[row]), bool(table.accepted[row] > 0),
            _shares(views), (views.shapley.empty, views.shapley.full),
            tuple(shares[one] for one in order), (read.shapley.empty, read.shapley.full),
            tuple(corpus[spoken[one]].text for one in order), tuple(without),
        )  # fmt: skip


def _shares(found: Shares) -> tuple[Share, ...]:
    values, errors = found.shapley.values.tolist(), found.shapley.error.tolist()
    return tuple(map(Share, found.players, values, errors))
