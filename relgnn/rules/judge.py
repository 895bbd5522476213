"""Rules as a judge of triples: reasons for and against, as a view and as a correction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from relgnn.config import MiningConfig
from relgnn.data import KnowledgeGraph
from relgnn.posterior.fusion import LogisticFusion
from relgnn.rules.adjacency import Adjacency
from relgnn.rules.mining import mine
from relgnn.rules.predictor import RulePredictor, make_predictor
from relgnn.rules.rule import read_rules
from relgnn.rules.signatures import Signatures, kinds_of
from relgnn.runtime import rng

FEATURES = (
    "derived", "score", "head_fit", "tail_fit", "other_tail", "other_head", "excluded",
)  # fmt: skip
LEAST = 1e-3
"""Score of a triple that no rule derives, in its logarithm."""


@dataclass(frozen=True)
class RuleJudge:
    """What a graph's rules say of triples.

    Args:
        predictor: derives triples.
        signatures: fits kinds to places.
    """

    predictor: RulePredictor
    signatures: Signatures

    @classmethod
    def learn(
        cls,
        triples: np.ndarray,
        graph: KnowledgeGraph,
        settings: MiningConfig,
        seed: int,
    ) -> RuleJudge:
        """A judge that knows these triples, the types of entities and a person's rules alone.

        Args:
            triples: int64 [N, 3].
            graph: names of relations, and types; none of its triples.
            settings: what is mined.
            seed: of the samples.

        Raises:
            InputError: the settings' file of rules is not as it should be.
        """
        known = Adjacency(triples, graph.num_entities, graph.num_relations)
        own = read_rules(settings.file, graph.relations) if settings.file is not None else []
        # a person's word on a rule stands in place of what is counted of it
        said = {(rule.head, rule.body) for rule in own}
        mined = mine(known, settings, rng("rules", seed))
        rules = [*own, *(rule for rule in mined if (rule.head, rule.body) not in said)]
        signatures = Signatures(known, kinds_of(graph.types, known))
        return cls(make_predictor(known, rules, settings, seed), signatures)

    def features(self, triples: np.ndarray) -> np.ndarray:
        """`FEATURES` of triples, float [N, 7]: reasons for a triple, then reasons against it.

        Whether some rule derives it, and the logarithm of the rules' score; how well its ends fit
        their places; whether a functional relation gives the head another tail, or the tail another
        head; whether the pair has a relation that excludes this one. A triple that the judge knows
        is its own reason: judge by triples that are not among them.
        """
        triples = np.asarray(triples, dtype=np.int64).reshape(-1, 3)
        head, relation, tail = triples.T
        score = self.predictor.confidence(triples)
        conflicts = self.signatures.conflicts(triples)
        return np.column_stack([
            score > 0, np.log(np.maximum(score, LEAST)),
            self.signatures.fit(head, relation),
            self.signatures.fit(tail, relation + self.predictor.graph.num_relations),
            conflicts, self.signatures.excluded(triples),
        ]).astype(float)  # fmt: skip


def correction(
    judge: RuleJudge, labelled: dict[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, Any]:
    """What is left of stated triples when the judge's reasons may reject them.

    A logistic regression weighs the reasons by the valid part's labels, and what is likelier false
    than true is rejected: corrected rightly where it is false, and wrongly where it is true.

    Args:
        judge: knows the given triples, and none of these.
        labelled: "valid" and "test" -> triples [N, 3] and whether they are true [N].
    """
    triples, truth = labelled["valid"]
    fusion = LogisticFusion().fit(judge.features(triples), truth.astype(int))
    found: dict[str, Any] = {}
    for split, (some, true) in labelled.items():
        kept = fusion(judge.features(some)) >= 0.5
        found[split] = {
            "triples": len(some),
            "accuracy": float((kept == true).mean()),
            "corrected_rightly": int((~kept & ~true).sum()),
            "corrected_wrongly": int((~kept & true).sum()),
            "missed": int((kept & ~true).sum()),
        }
    return found
