"""What a run believes of a candidate when views fall silent, or some of its sentences are gone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from relgnn.data import Sentence
from relgnn.errors import InputError
from relgnn.explain.shapley import PAIRS, Shapley, shapley
from relgnn.loop.candidates import fusion_extra
from relgnn.loop.estep import EStep
from relgnn.loop.labelled import surest_rows
from relgnn.loop.opened import OpenRun
from relgnn.loop.records import evidence_id
from relgnn.loop.views import bounded, probability
from relgnn.loop.votes import Votes
from relgnn.text.evidence import Evidence, edge_evidence, pool_evidence
from relgnn.text.extractor import extract_rows
from relgnn.text.marking import occurrences
from relgnn.text.pairs import score_pairs
from relgnn.text.pooling import pool_rows

AT_ONCE = 500_000
"""Rows of evidence that are pooled at once, each as often as there are coalitions with it."""
ALTOGETHER = 16 * AT_ONCE
"""The same over all coalitions of a triple's sentences: of hundreds fewer orders are drawn."""

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Shares:
    """What players add to the log odds of a triple.

    Args:
        players: views, or ids of sentences.
        shapley: of their game; its worth is in log odds of the posterior.
    """

    players: tuple[str, ...]
    shapley: Shapley


class Rereading:
    """Weighs candidates of a run's last round again, as if some of what was said were not there.

    The posterior is that of the calibrator which the run left for new text: fitted on all
    candidates, where the recorded one is cross-fitted, and of the last round alone, where the
    recorded one is averaged over rounds. Views keep the votes that are on disk. Where sentences are
    taken away, the text's votes are read again, by the text model that the run left.

    Args:
        run: an opened run with a loop.

    Raises:
        InputError: it has none, or was made before votes were kept.
    """

    def __init__(self, run: OpenRun) -> None:
        self.run, self.graph, self.model = run, run.graph, run.text_model
        folder = run.round_folder
        assert folder is not None
        self.votes = Votes.load(folder)
        found = self.votes.candidates
        self._row = {tuple(triple): row for row, triple in enumerate(found.triples.tolist())}
        self._extra = fusion_extra(self.graph, found, self.model.loop.folds)

    @cached_property
    def sentences(self) -> list[Sentence]:
        """The unlabelled corpus."""
        return self.run.world.sentences

    @cached_property
    def _step(self) -> EStep:
        return EStep(self.run.world)

    @cached_property
    def evidence(self) -> Evidence:
        """Which sentences speak of which pairs, those that the graph proposed among them."""
        return self._step.evidence_with(self.votes.proposed)

    @cached_property
    def _rows_by_ends(self) -> dict[tuple[int, int], list[int]]:
        rows: dict[tuple[int, int], list[int]] = {}
        ends = zip(self.evidence.head.tolist(), self.evidence.tail.tolist(), strict=True)
        for row, (head, tail) in enumerate(ends):
            rows.setdefault((min(head, tail), max(head, tail)), []).append(row)
        return rows

    def judged(self, triple: Triple) -> bool:
        """Whether the round judged a triple."""
        return triple in self._row

    def views(self, triple: Triple) -> Shares:
        """What each view adds to the log odds of a judged triple; without it, it is silent.

        Raises:
            InputError: the round did not judge it.
        """
        row = self._require(triple)
        names = tuple(self.votes.by_view)

        def game(coalitions: np.ndarray) -> np.ndarray:
            said = [
                np.where(there[:, None], self.votes.by_view[name][row], np.nan)
                for name, there in zip(names, coalitions.T, strict=True)
            ]
            return self._odds(row, np.concatenate(said, axis=1))

        return Shares(names, shapley(game, len(names), self._rng("views")))

    def speaking(self, triple: Triple) -> np.ndarray:
        """Numbers int64 [n] of the sentences that speak of a triple's ends, ascending."""
        return np.unique(self.evidence.sentence[self._rows(triple)])

    def by_sentence(self, triple: Triple) -> Shares:
        """What each sentence that speaks of its ends adds to the log odds of a judged triple.

        The other views keep their say; where no sentence is left the text is silent.

        Raises:
            InputError: the round did not judge it.
        """
        spoken = self.speaking(triple)
        names = tuple(evidence_id(self.sentences[one]) for one in spoken)

        def game(coalitions: np.ndarray) -> np.ndarray:
            return self.odds(triple, coalitions)

        # an order and its reverse pool, on average, half of the rows for each of their coalitions
        most = ALTOGETHER // max(1, len(self._rows(triple)) * (len(spoken) + 1))
        pairs = min(PAIRS, max(2, most))
        return Shares(names, shapley(game, len(spoken), self._rng("sentences"), pairs=pairs))

    def odds(self, triple: Triple, coalitions: np.ndarray) -> np.ndarray:
        """Log odds [K] of a judged triple by some of its sentences.

        Args:
            triple: head, relation, tail.
            coalitions: bool [K, n], which of its n `speaking` sentences are there.

        Raises:
            InputError: the round did not judge it.
        """
        row = self._require(triple)
        said = {
            name: np.tile(x[row], (len(coalitions), 1)) for name, x in self.votes.by_view.items()
        }
        said["text"] = self._text_votes(triple, row, coalitions)
        return self._odds(row, np.concatenate(list(said.values()), axis=1))

    def edge_text(self, triples: np.ndarray, without: np.ndarray) -> np.ndarray:
        """t_e [T, d_t] of triples [T, 3] by the sentences that are not among `without` (int64)."""
        rows = [row for triple in triples.tolist() for row in self._rows(tuple(triple)).tolist()]
        kept = np.unique(np.array(rows, dtype=np.int64))
        kept = kept[~np.isin(self.evidence.sentence[kept], without)]
        pairs, pair = np.unique(self.evidence.pair[kept], return_inverse=True)
        some = self.evidence.taken(
            kept, pair, self.evidence.pair_head[pairs], self.evidence.pair_tail[pairs]
        )
        found: np.ndarray = edge_evidence(
            pool_evidence(self.sentences, some, self._step.vectors), triples
        ).numpy()
        return found

    def _text_votes(self, triple: Triple, row: int, coalitions: np.ndarray) -> np.ndarray:
        """The pair model's and the extractor's logit [K, 2]; nan where no sentence is left.

        The pairs (head, tail) and (tail, head) are read each by themselves; the surer one counts.
        """
        rows = self._rows(triple)
        silent = np.isnan(self.votes.by_view["text"][row, 1])
        said = None if silent else self._said(rows)
        there = coalitions[:, np.searchsorted(self.speaking(triple), self.evidence.sentence[rows])]
        parts = min(len(there), 1 + int(there.sum()) // AT_ONCE)
        return np.concatenate(
            [self._pooled(triple, rows, said, some) for some in np.array_split(there, parts)]
        )

    def _pooled(
        self, triple: Triple, rows: np.ndarray, said: np.ndarray | None, there: np.ndarray
    ) -> np.ndarray:
        """The text's votes [K, 2] by some of the rows of a triple's evidence.

        Args:
            triple: head, relation, tail.
            rows: int64 [m], rows of the evidence.
            said: what the extractor says of each, [m, 2R]; None where it is silent.
            there: bool [K, m], which of them each coalition has.
        """
        if not there.any():
            return np.full((len(there), 2), np.nan)
        head, relation, tail = triple
        relations, evidence = self.graph.num_relations, self.evidence
        coalition, which = np.nonzero(there)
        turned = evidence.head[rows] != head
        groups, pair = np.unique(2 * coalition + turned[which], return_inverse=True)
        backward = groups % 2 == 1
        ends = np.where(backward, tail, head), np.where(backward, head, tail)
        features = pool_evidence(
            self.sentences, self.evidence.taken(rows[which], pair, *ends), self._step.vectors
        )
        output = np.where(backward, relation + relations, relation)
        every = np.arange(len(groups))
        logits = score_pairs(self.model.pairs, features, every)[every, output]
        read = np.full(len(groups), np.nan)
        if said is not None:
            read = self._extracted(said, rows, which, pair, len(groups))[every, output]
        found = np.full((len(there), 2, 2), np.nan)
        found[groups // 2, groups % 2] = np.column_stack([logits, read])
        surer = np.nan_to_num(found[:, :, 0], nan=-np.inf).argmax(1)
        return found[np.arange(len(found)), surer]

    def _said(self, rows: np.ndarray) -> np.ndarray | None:
        """The extractor's logits [m, 2R] of rows of the evidence; None where there is none."""
        if self.model.extractor is None or not len(rows):
            return None
        found: np.ndarray = extract_rows(
            *self.model.extractor, occurrences(self.graph, self.sentences, self.evidence, rows)
        )
        return found

    def _extracted(
        self, said: np.ndarray, rows: np.ndarray, which: np.ndarray, pair: np.ndarray, pairs: int
    ) -> np.ndarray:
        """The extractor's logits [P, 2R], pooled over the few surest rows that name both ends.

        Args:
            said: float [m, 2R], of each row.
            rows: int64 [m], rows of the evidence.
            which: int64 [M], positions in `rows`, once for each pair that has the row.
            pair: int64 [M], that pair.
            pairs: P.
        """
        read = surest_rows(pair, self.evidence.kind[rows][which])
        return pool_rows(said[which[read]], pair[read], pairs, self.model.loop.pooling)

    def _rows(self, triple: Triple) -> np.ndarray:
        head, _, tail = triple
        rows = self._rows_by_ends.get((min(head, tail), max(head, tail)), [])
        return np.array(rows, dtype=np.int64)

    def _odds(self, row: int, votes: np.ndarray) -> np.ndarray:
        """Log odds [K] of a candidate by other votes [K, V] of all views."""
        found = self.votes.candidates
        one = np.full(len(votes), row)
        given = np.zeros(len(votes), dtype=bool)
        p = probability(
            self.model.views["fused"], votes, self._extra[one], found.relation[one], given
        )
        return bounded(p)

    def _require(self, triple: Triple) -> int:
        if triple not in self._row:
            raise InputError(
                f"({', '.join(self.graph.ids(triple))}): "
                "is no candidate of the last round, so no view and no sentence has a share in it; "
                "ask for one that `relgnn ledger show` lists"
            )
        return self._row[triple]

    def _rng(self, name: str) -> np.random.Generator:
        return self.run.world.runtime.rng(f"shapley values of {name}")
