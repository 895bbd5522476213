"""E step: every view judges every candidate, none having seen what it judges."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from relgnn.data.graph import is_in
from relgnn.errors import InputError
from relgnn.linkpred.fit import Fitted
from relgnn.loop.candidates import (
    Candidates,
    candidates_from_pairs,
    fusion_extra,
    given_folds,
    graph_log_probabilities,
    pair_folds,
    propose_pairs,
    votes_of,
)
from relgnn.loop.controls import supervise
from relgnn.loop.defence import defended, independent
from relgnn.loop.labelled import pair_labels, rows_to_read
from relgnn.loop.pseudo import Pseudo, Role
from relgnn.loop.views import Before, Fused, expectation, fuse
from relgnn.loop.votes import Votes
from relgnn.loop.world import World
from relgnn.posterior.selectors import Posteriors
from relgnn.rules.judge import FEATURES, RuleJudge
from relgnn.text.evidence import (
    Evidence,
    PairFeatures,
    add_implied,
    encode_corpus,
    find_evidence,
    pool_evidence,
)
from relgnn.text.extractor import (
    ExtractorSettings,
    RelationExtractor,
    cross_fit_extractor,
    save_extractor,
)
from relgnn.text.layers import SplitEncoder
from relgnn.text.linking import IMPLIED
from relgnn.text.marking import occurrences
from relgnn.text.pairs import PairLabels, PairSettings, cross_fit_pairs
from relgnn.text.pooling import pool_rows

ANSWERS = 5
"""Top answers of each open query that the graph proposes."""


@dataclass(frozen=True)
class Judgement:
    """What an E step found.

    Args:
        candidates: triples that are not in train, [C]. Those of valid are among them, as those of
            test are: what text says of either is taught, so valid tells what test will.
        posteriors: the views' probabilities, row for row.
        evidence, features: the pairs that were read.
        report: label frequencies and calibration, by view.
        given: what the views say of the candidates that are in train, which were judged by models
            that had not seen them: what a promise of precision is calibrated on.
        votes: what all this follows from.
    """

    candidates: Candidates
    posteriors: Posteriors
    evidence: Evidence
    features: PairFeatures
    report: dict[str, Any]
    given: Posteriors | None = None
    votes: Votes | None = None


class EStep:
    """Labels the unlabelled text with all views.

    Every model that judges is cross-fitted over folds of entity pairs: what is given or was
    accepted between two entities, in whatever relation and direction, never reaches the model
    that judges anything between them.

    Args:
        world: graph, texts, language model.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        with world.stages.lap("linking mentions"):
            self.linked = find_evidence(
                world.graph, world.sentences, coreference=self._loop.coreference
            )
            if self._loop.defence is not None:
                self.linked = independent(self.linked, world.sentences, self._loop.defence)
        with world.stages.lap("encoding sentences"):
            self.vectors = encode_corpus(world.graph, world.sentences, self.linked, world.encoder)
        self.split_encoder: SplitEncoder | None = None
        self._extractor: deque[RelationExtractor] = deque(maxlen=1)

    def run(self, round_: int, pseudo: Pseudo, before: Before | None = None) -> Judgement:
        """Judge all candidates, knowing the given triples and the last round's accepted ones.

        Args:
            round_: the round's number, from 1.
            pseudo: accepted in the round before, and told to its memory.
            before: what the rounds before said; None in the first.
        """
        return self._fused(*self._vote(round_, pseudo), before)

    def _vote(self, round_: int, pseudo: Pseudo) -> tuple[Votes, Evidence, PairFeatures]:
        """Every view's votes, and the evidence that they are about."""
        world, loop = self.world, self._loop
        graph = world.graph
        lap = world.stages.lap
        with lap("graph judges", round_):
            judges = self._judges(round_, pseudo)
        with lap("proposals", round_):
            proposed = self._proposals(judges)
            evidence = self.evidence_with(proposed)
            features = pool_evidence(world.sentences, evidence, self.vectors)
        folds = pair_folds(evidence.pair_head, evidence.pair_tail, loop.folds)
        accepted = pseudo.of(Role.ACCEPTED)
        labels = pair_labels(graph, features, accepted)
        self._require_taught(labels, folds)
        with lap("pair models", round_):
            logits = cross_fit_pairs(
                features, labels, folds, graph.num_relations,
                PairSettings(unlabelled_weight=loop.unlabelled_weight), world.runtime.seed,
                judges=self._judge_of(folds),
            )  # fmt: skip
        implied = np.zeros(evidence.num_pairs, dtype=bool)
        implied[evidence.pair[evidence.kind == IMPLIED]] = True
        found = candidates_from_pairs(features, logits, implied, folds, loop.candidates)
        self._require_given(found)
        with lap("extractors", round_):
            read = self._extractor_votes(evidence, features, logits, labels, folds, found)
        votes = {
            "text": np.column_stack([found.text, read]),
            "graph": self._graph_votes(judges, found),
        }
        if loop.rules is not None:
            with lap("rules", round_):
                votes["rules"] = self._rule_votes(accepted, found)
        return Votes(found, votes, proposed), evidence, features

    def _require_given(self, found: Candidates) -> None:
        """Refuse candidates that teach nothing of how given triples look in some fold.

        Raises:
            InputError: those that are given are of one fold, or there is none.
        """
        given = is_in(found.triples, self.world.graph.train)
        if len(np.unique(found.fold[given])) < 2:
            raise InputError(
                f"{int(given.sum())} of {len(found)} candidate triples are given, and the fusion "
                "of views learns from such, of two folds at least: give texts that name more pairs "
                "of train.tsv, or raise loop.candidates"
            )

    def _require_taught(self, labels: PairLabels, folds: np.ndarray) -> None:
        """Refuse texts that teach nothing to the judges of some fold.

        Raises:
            InputError: all pairs with a label are of one fold, or there is none.
        """
        if len(np.unique(folds[labels.pair])) > 1:
            return
        pairs = len(np.unique(labels.pair))
        raise InputError(
            f"{self.world.graph.name}: the texts speak of {pairs or 'no'} "
            f"{'pair' if pairs == 1 else 'pairs'} of entities that a given triple joins, too few "
            "to learn from; give texts that name both ends of more triples, more triples, or "
            "aliases.tsv with the names that the texts use"
        )

    def _extractor_votes(
        self,
        evidence: Evidence,
        features: PairFeatures,
        logits: np.ndarray,
        labels: PairLabels,
        folds: np.ndarray,
        found: Candidates,
    ) -> np.ndarray:
        """The fine-tuned language model's logit [C] of each candidate; nan where it did not read.

        It is dear, so it reads the sentences of labelled pairs, to learn, and of the pairs that
        the pair model finds likeliest, to judge.
        """
        world, loop = self.world, self._loop
        if not loop.extractor.max_candidates:
            return np.full(len(found), np.nan)
        rows, judged = rows_to_read(evidence, logits, labels, folds, loop.extractor.max_candidates)
        if self.split_encoder is None:
            self.split_encoder = SplitEncoder(
                world.config.text.model,
                layers=loop.extractor.layers,
                device=world.runtime.device,
                dtype=world.runtime.dtype,
            )
        states = self.split_encoder.read(occurrences(world.graph, world.sentences, evidence, rows))
        pair = evidence.pair[rows]
        row_logits = cross_fit_extractor(
            self.split_encoder, states, pair, labels, folds, world.graph.num_relations,
            self._extractor_settings, world.runtime.seed, autocast=world.runtime.autocast,
            keep=self._extractor.append, judges=self._judge_of(folds),
        )  # fmt: skip
        pooled = pool_rows(row_logits, pair, evidence.num_pairs, loop.pooling)
        pooled[~judged] = np.nan
        return votes_of(pooled, features, found, world.graph.num_relations)

    def save_extractor(self, folder: Path) -> None:
        """Write the extractor that judged the last fold, where the round had one.

        It has seen as much as those that the fusion was fitted on, and costs no further training.

        Raises:
            MachineError: a file cannot be written.
        """
        if self._extractor and self.split_encoder is not None:
            model = self._extractor[0]
            save_extractor(folder, self.split_encoder, model, self._extractor_settings)

    @property
    def _extractor_settings(self) -> ExtractorSettings:
        loop = self._loop
        return ExtractorSettings(
            epochs=loop.extractor.epochs,
            lr=loop.extractor.lr,
            layers=loop.extractor.layers,
            unlabelled_weight=loop.unlabelled_weight,
        )

    @property
    def _loop(self) -> Any:
        return self.world.config.loop

    @property
    def _given_fold(self) -> np.ndarray:
        return given_folds(self.world.graph, self._loop.folds)

    def _judge_of(self, folds: np.ndarray) -> np.ndarray:
        """Which fold the judge of an item of each fold has not seen: the item's own.

        Without cross-fitting the next one, so that as many judges, as well taught, have seen it.
        """
        return folds if self._loop.cross_fitted else (folds + 1) % self._loop.folds

    def _judges(self, round_: int, pseudo: Pseudo) -> list[Fitted]:
        """One graph model for each fold, trained without it.

        The first one's weight decay is that of all: votes of one round are on one scale.
        """
        graph, loop = self.world.graph, self._loop
        judges: list[Fitted] = []
        for k in range(loop.folds):
            given, others = self._known_without(k, pseudo)
            # a judge is there for what it was not taught: what it was may not choose it either
            untaught = graph.valid[~is_in(graph.valid, others.of(Role.ACCEPTED).triples)]
            judge = self.world.fit(
                supervise(given, others, loop), f"round {round_} judge {k}",
                known=np.concatenate([given, graph.valid]), valid=untaught,
                weight_decay=judges[0].weight_decay if judges else None,
            )  # fmt: skip
            judges.append(judge)
        return judges

    def _known_without(self, fold: int, pseudo: Pseudo) -> tuple[np.ndarray, Pseudo]:
        """Given and accepted triples that what judges a fold may know."""
        own = pair_folds(pseudo.triples[:, 0], pseudo.triples[:, 2], self._loop.folds) == fold
        given = self.world.graph.train[self._given_fold != fold]
        return given, pseudo.subset(~own)

    def _proposals(self, judges: list[Fitted]) -> np.ndarray:
        """Pairs [P, 2] that the graph proposes.

        A pair is proposed only by the judge that knows nothing of it, so whether a pair is here
        says nothing of whether it is given.
        """
        world, limit = self.world, self._loop.implied
        found = [np.zeros((0, 2), dtype=np.int64)]
        for k, judge in enumerate(judges if limit else ()):
            seen = world.graph.train[self._given_fold != k]
            pairs = np.column_stack(propose_pairs(judge.model, judge.graph, seen, ANSWERS, limit))
            found.append(pairs[pair_folds(pairs[:, 0], pairs[:, 1], len(judges)) == k])
        return np.concatenate(found)

    def evidence_with(self, proposed: np.ndarray) -> Evidence:
        """The linked evidence and the pairs [P, 2] that the graph proposes."""
        if not self._loop.implied:
            return self.linked
        return add_implied(
            self.linked, self.world.graph, self.world.sentences, self.vectors, *proposed.T
        )

    def _graph_votes(self, judges: list[Fitted], found: Candidates) -> np.ndarray:
        """log P(t | h, r) and log P(h | r, t), [C, 2], by the judge of each candidate's fold."""
        votes = np.zeros((len(found), 2))
        for k, judge in enumerate(judges):
            own = self._judge_of(found.fold) == k
            votes[own] = graph_log_probabilities(judge.model, judge.graph, found.triples[own])
        return votes

    def _rule_votes(self, pseudo: Pseudo, found: Candidates) -> np.ndarray:
        """Reasons for and against each candidate [C, 7], by rules that know nothing of its fold."""
        world = self.world
        votes = np.zeros((len(found), len(FEATURES)))
        for k in range(self._loop.folds):
            given, others = self._known_without(k, pseudo)
            known = np.concatenate([given, others.triples])
            judge = RuleJudge.learn(known, world.graph, self._loop.rules, world.runtime.seed)
            own = self._judge_of(found.fold) == k
            votes[own] = judge.features(found.triples[own])
        return votes

    def _weighed(self, votes: Votes, before: Before | None) -> dict[str, Fused]:
        """The posterior of all views together, `fused`, and of each alone."""
        graph, found = self.world.graph, votes.candidates
        given = is_in(found.triples, graph.train)
        extra = fusion_extra(graph, found, self._loop.folds)
        views: dict[str, Fused] = {}
        relation = found.relation if self._loop.label_frequency_by_relation else None
        together = np.column_stack(list(votes.by_view.values()))
        for name, own in {"fused": together, **votes.by_view}.items():
            # How many true triples are given is a fact of the data. Judges that have seen accepted
            # triples tell given from hidden ones by what was accepted near them, and would have
            # it that more are given.
            c = before.label_frequency[name] if before else self._loop.label_frequency
            views[name] = fuse(own, extra, given, found.fold, c, relation, graph.num_relations)
        return views

    def _fused(
        self, votes: Votes, evidence: Evidence, features: PairFeatures, before: Before | None
    ) -> Judgement:
        graph, found = self.world.graph, votes.candidates
        given = is_in(found.triples, graph.train)
        views = self._weighed(votes, before)
        p = views["fused"].p
        report = {name: view.report(given) for name, view in views.items()}
        if self._loop.weighing == "em":
            # rounds before have their say through the graph that they taught
            p, report["em"] = expectation(views, given, found.relation)
        elif before is not None:
            p = before.average(found.triples, p)
        if self._loop.defence is not None:
            others = [views[name].p for name in ("graph", "rules") if name in views]
            ends, texts = found.triples[:, [0, 2]], self.world.sentences
            p = defended(p, ends, others, self.linked, texts, self._loop.defence)
        new = ~given
        silent = np.full(len(found), np.nan)
        text, graph_, rules = (
            views[name].p if name in views else silent for name in ("text", "graph", "rules")
        )
        posteriors = Posteriors(
            found.head, found.relation, found.tail, p, text, graph_, rules, found.fold
        )
        return Judgement(
            found.subset(new),
            posteriors.subset(new),
            evidence,
            features,
            report,
            posteriors.subset(given),
            votes,
        )
