"""Which selector a round has, and what its promise of precision is calibrated on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from relgnn.config import LoopConfig
from relgnn.data import KnowledgeGraph, is_in
from relgnn.loop.estep import Judgement
from relgnn.loop.verdicts import Verdicts, numbers
from relgnn.posterior.conformal import ENOUGH, Certificate, certify
from relgnn.posterior.pu import frequency_of
from relgnn.posterior.selectors import CappedSelector, Selector, build_selector


def loop_selector(
    config: LoopConfig, graph: KnowledgeGraph, number: int, certificate: Certificate | None = None
) -> Selector:
    """The selector that a configuration names, under its cap.

    Args:
        config: its name and numbers.
        graph: whose given triples count.
        number: the round, from 1.
        certificate: of `certify_round`, for selector conformal.
    """
    gold = len(graph.train)
    counts = np.bincount(graph.train[:, 1], minlength=graph.num_relations)
    selector = build_selector(
        config.selector,
        target=config.precision,
        min_probability=config.min_probability,
        ratio=config.budget,
        gold_count=gold,
        counts=tuple(counts.tolist()),
        threshold=config.threshold,
        voters=config.voters,
        start=config.precision_start,
        number=number,
        rounds=config.rounds,
        certificate=certificate,
    )
    return selector if config.cap is None else CappedSelector(selector, config.cap, gold)


def certify_round(
    config: LoopConfig, graph: KnowledgeGraph, judgement: Judgement, verdicts: Verdicts
) -> Certificate:
    """What precision a round may promise of what is not given.

    Where people's verdicts on candidates are enough to show it, they are the sample: true labels,
    taken as an even draw of the candidates that are as probable. Else it is all candidates, those
    given in train among them, as cross-fitted judges see them, with the estimated label frequency
    as if it were known: see `relgnn.posterior.conformal.certify`.

    Args:
        config: precision, delta, bound and the lowest probability.
        graph: names ids.
        judgement: of the round.
        verdicts: that the round began under.
    """
    options: dict[str, Any] = {"bound": config.bound, "floor": config.min_probability}
    p, triples = judgement.posteriors.p, judgement.candidates.triples
    accepted, rejected = (
        is_in(triples, numbers(graph, said)) for said in (verdicts.accept, verdicts.reject)
    )
    audited = accepted | rejected
    # with fewer, not even a sample without a mistake shows the precision
    if config.precision ** int(audited.sum()) <= config.delta:
        return certify(p[audited], accepted[audited], config.precision, config.delta, **options)
    given = judgement.given
    scores, relation = [p], [judgement.posteriors.relation]
    if given is not None:
        scores, relation = [*scores, given.p], [*relation, given.relation]
    labelled = np.arange(sum(map(len, scores))) >= len(scores[0])
    c = np.asarray(judgement.report["fused"]["label_frequency"], dtype=float)
    return certify(
        np.concatenate(scores), labelled, config.precision, config.delta,
        label_frequency=frequency_of(c, np.concatenate(relation)),
        at_least=math.ceil(ENOUGH / c.mean()), **options,
    )  # fmt: skip
