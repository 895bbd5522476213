"""The causal effect of evidence: what a run would believe had it never read it.

What is intervened on is the ledger: sentences are taken out of the world, or triples are revoked,
and what follows from that is decided again: posteriors, acceptance, the context of the graph model,
and, where asked for, the model itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import expit

from relgnn.data.graph import is_in
from relgnn.errors import InputError
from relgnn.explain.reading import Rereading, Triple
from relgnn.linkpred.fit import Fitted
from relgnn.loop.controls import supervise
from relgnn.loop.opened import OpenRun
from relgnn.loop.pseudo import Pseudo
from relgnn.loop.records import RoundTable, evidence_id
from relgnn.loop.replay import Replay
from relgnn.loop.rounds import CERTIFICATE, LEDGER_FLOOR, VERDICTS, Loop, MStep
from relgnn.loop.selection import loop_selector
from relgnn.loop.verdicts import Verdicts, numbers
from relgnn.loop.views import UNSEEN, bounded
from relgnn.posterior.conformal import Certificate
from relgnn.posterior.selectors import Posteriors
from relgnn.training import load_json


@dataclass(frozen=True)
class Change:
    """What an intervention does to one candidate.

    Args:
        triple: head, relation, tail.
        before, after: its posterior.
        accepted_before, accepted_after: whether the loop takes it.
    """

    triple: Triple
    before: float
    after: float
    accepted_before: bool
    accepted_after: bool


@dataclass(frozen=True)
class Outcome:
    """What a run would believe.

    Args:
        changes: of candidates whose posterior moves, and of others that the selector takes or
            leaves because of it.
        pseudo: what the graph model would be taught beside the given triples.
        fitted: the graph model with that context.
    """

    changes: tuple[Change, ...]
    pseudo: Pseudo
    fitted: Fitted

    def of(self, triple: Triple) -> tuple[float, bool] | None:
        """Posterior and acceptance of a triple that changes; None of any other."""
        found = (one for one in self.changes if one.triple == triple)
        return next(((one.after, one.accepted_after) for one in found), None)


class Intervention:
    """Takes evidence out of a run, and asks what it would believe.

    Where the loop fell back on the model before any text was read, that model stays as it is.

    Args:
        run: an opened run with a loop.
        reading: weighs its candidates again; made where None.

    Raises:
        InputError: it has none, or was made before votes were kept.
    """

    def __init__(self, run: OpenRun, reading: Rereading | None = None) -> None:
        self.run, self.graph = run, run.graph
        self.reading = reading or Rereading(run)
        loop, table, folder = run.world.config.loop, run.explainer.table, run.round_folder
        assert loop is not None and table is not None and folder is not None
        self.loop, self.table, self.folder = loop, table, folder
        self.verdicts = Verdicts.load(folder / VERDICTS)
        self._rounds = Loop(run.world)
        # a loop that fell back on round 0 left a model that never heard of what was read
        self._heard = load_json(run.folder / "metrics.json")["round"] > 0

    def row(self, triple: Triple) -> int | None:
        """The row of a triple in the last round's table; None where it was not judged."""
        found = np.flatnonzero((self.table.triples == triple).all(1))
        return int(found[0]) if len(found) else None

    def sentences_of(self, text_id: str) -> np.ndarray:
        """Numbers int64 of a text's sentences.

        Raises:
            InputError: no text has the id.
        """
        found = [one.id for one in self.reading.sentences if one.text_id == text_id]
        if not found:
            raise InputError(
                f"text {text_id!r} is not in the corpus of {self.graph.name}; give the id of a "
                "line of texts.jsonl"
            )
        return np.array(found, dtype=np.int64)

    def sentence(self, name: str) -> np.ndarray:
        """The number int64 [1] of the sentence with an evidence id.

        Raises:
            InputError: there is none.
        """
        found = [one.id for one in self.reading.sentences if evidence_id(one) == name]
        if not found:
            raise InputError(
                f"sentence {name!r} is not in the corpus of {self.graph.name}; give an id such as "
                "`relgnn ledger why` shows: <text>:<start>-<end>"
            )
        return np.array(found, dtype=np.int64)

    def without(self, sentences: np.ndarray, retrain: bool = False) -> Outcome:
        """The world in which some sentences were never written.

        Each candidate of their pairs moves by as many log odds as the text model that the run left
        finds for it with and without them; one that no sentence speaks of any more is no candidate.
        Then the round's selector chooses again among all. Candidates that the ledger leaves out as
        too improbable keep their posteriors. Votes of the other views stay: they were given by
        models that had not seen the pair.

        Args:
            sentences: int64, numbers of the corpus.
            retrain: train the graph model anew on what is left, from the weights that its seed
                gives; else the one there is passes its messages over the changed context.
        """
        p, gone = self.table.p.copy(), self._pairs_of(sentences)
        concerned = np.flatnonzero(
            ((p >= min(LEDGER_FLOOR, self.loop.connect)) | (self.table.accepted > 0))
            & np.array([frozenset(pair) in gone for pair in _ends(self.table.triples)], dtype=bool)
        )
        for row in concerned.tolist():
            p[row] = self._moved(row, sentences)
        table = replace(self.table, p=p, accepted=self._accepted(p, self.verdicts))
        return self._outcome(table, concerned, self.verdicts, sentences, retrain)

    def revoked(self, triples: Sequence[Triple], retrain: bool = False) -> Outcome:
        """The world in which a person rejects triples: they are neither accepted nor connected.

        Args:
            triples: head, relation, tail.
            retrain: see `without`.
        """
        graph = self.graph
        reject = frozenset(map(graph.ids, triples))
        verdicts = Verdicts(self.verdicts.accept - reject, self.verdicts.reject | reject)
        rows = np.flatnonzero(is_in(self.table.triples, numbers(graph, reject)))
        accepted = self._accepted(self.table.p, verdicts)
        accepted[rows] = 0.0
        table = replace(self.table, accepted=accepted)
        return self._outcome(table, rows, verdicts, np.zeros(0, dtype=np.int64), retrain)

    def _moved(self, row: int, sentences: np.ndarray) -> float:
        """The posterior of a row without sentences."""
        head, relation, tail = self.table.triples[row].tolist()
        triple = head, relation, tail
        left = ~np.isin(self.reading.speaking(triple), sentences)
        if not left.any():
            return UNSEEN
        whole, part = self.reading.odds(triple, np.stack([np.ones_like(left), left]))
        moved: float = expit(bounded(self.table.p[row]) + part - whole)
        return moved

    def _accepted(self, p: np.ndarray, verdicts: Verdicts) -> np.ndarray:
        """Weights [C] of what the round's selector takes, 0 of what it leaves.

        What a person has said stays as it is.
        """
        table = self.table
        said = numbers(self.graph, verdicts.accept | verdicts.reject)
        free = np.flatnonzero(~is_in(table.triples, said))
        views, fold = (table.p_text, table.p_graph, table.p_rules), np.zeros(len(p), dtype=np.int64)
        head, relation, tail = table.triples.T
        posteriors = Posteriors(head, relation, tail, p, *views, fold)
        path = self.folder / CERTIFICATE
        certificate = Certificate(**load_json(path)) if path.exists() else None
        selector = loop_selector(self.loop, self.graph, int(self.folder.name), certificate)
        taken = selector.select(posteriors.subset(free))
        accepted = table.accepted.copy()
        accepted[free] = 0.0
        accepted[free[taken.index]] = taken.weight
        return accepted

    def _outcome(
        self,
        table: RoundTable,
        rows: np.ndarray,
        verdicts: Verdicts,
        sentences: np.ndarray,
        retrain: bool,
    ) -> Outcome:
        """What follows from posteriors and accepted triples; `rows` are those intervened on."""
        was = self.table
        moved = (table.accepted > 0) != (was.accepted > 0)
        moved[rows] = True
        changes = []
        for row in np.flatnonzero(moved).tolist():
            head, relation, tail = table.triples[row].tolist()
            before, after = float(was.p[row]), float(table.p[row])
            taken = bool(was.accepted[row] > 0), bool(table.accepted[row] > 0)
            changes.append(Change((head, relation, tail), before, after, *taken))
        pseudo = self._rounds.taught(table, verdicts)
        text = self._edge_text(pseudo, sentences)
        if not self._heard:
            fitted = self.run.fitted
        elif retrain:
            world = replace(Replay(self.run.folder).world, folder=None)
            fitted = MStep(world).run(int(self.folder.name), pseudo, text, None).fitted
        else:
            fitted = self._over(pseudo, text)
        return Outcome(tuple(changes), pseudo, fitted)

    def _over(self, pseudo: Pseudo, text: torch.Tensor | None) -> Fitted:
        """The model there is, over another context."""
        fitted, supervision = self.run.fitted, supervise(self.graph.train, pseudo, self.loop, text)
        model = fitted.model
        context = supervision.message_graph(self.graph.num_entities, model.num_relations)
        return replace(fitted, graph=context.to(model.entity.device))

    def _edge_text(self, pseudo: Pseudo, sentences: np.ndarray) -> torch.Tensor | None:
        """t_e of given and pseudo triples, [G + A, d_t]: as it was where no sentence is gone."""
        before = self.run.learned
        if before.edge_text is None:
            return None
        train, gone = self.graph.train, self._pairs_of(sentences)
        known = _ends(np.concatenate([train, before.pseudo.triples]))
        triples = np.concatenate([train, pseudo.triples])
        # (a, b) and (b, a) may have texts of their own: each is that of the page it begins on
        place, ends = {pair: row for row, pair in enumerate(known)}, _ends(triples)
        anew = [
            row for row, pair in enumerate(ends) if frozenset(pair) in gone or pair not in place
        ]
        # pairs that are read anew are filled in below
        found = before.edge_text[torch.tensor([place.get(pair, 0) for pair in ends])]
        if anew:
            # in half precision, as a round keeps it
            fresh = torch.from_numpy(self.reading.edge_text(triples[anew], sentences)).half()
            found[torch.tensor(anew)] = fresh.float()
        return found

    def _pairs_of(self, sentences: np.ndarray) -> set[frozenset[int]]:
        """Pairs of entities that some sentences speak of."""
        if not len(sentences):
            return set()
        evidence = self.reading.evidence
        spoken = np.isin(evidence.sentence, sentences)
        head, tail = evidence.head[spoken].tolist(), evidence.tail[spoken].tolist()
        return {frozenset(pair) for pair in zip(head, tail, strict=True)}


def _ends(triples: np.ndarray) -> list[tuple[int, int]]:
    return [(head, tail) for head, _, tail in triples.tolist()]
