"""Ranks by looking at every candidate, one by one."""

from __future__ import annotations

import numpy as np


def brute_force(score, test, known, num_entities, num_relations, allowed=None, tolerance=1e-6):
    """Ranks of both sides, int [T, 3] each: optimistic, pessimistic, candidates.

    Args:
        score: (entity, relation in [0, 2R), entity) -> score.
        allowed: (relation in [0, 2R), entity) -> whether it may answer; None: all may.
    """
    facts = {(h, r, t) for h, r, t in known.tolist()}
    facts |= {(t, r + num_relations, h) for h, r, t in facts}

    def ranks(entity, relation, target):
        others = [
            e
            for e in range(num_entities)
            if e != target
            and (entity, relation, e) not in facts
            and (allowed is None or allowed(relation, e))
        ]
        own = score(entity, relation, target)
        slack = tolerance * (1 + abs(own))
        scores = [score(entity, relation, e) for e in others]
        better = sum(s > own + slack for s in scores)
        not_worse = sum(s >= own - slack for s in scores)
        return better + 1, not_worse + 1, len(others) + 1

    heads = [ranks(t, r + num_relations, h) for h, r, t in test.tolist()]
    tails = [ranks(h, r, t) for h, r, t in test.tolist()]
    return {"head": np.array(heads).reshape(-1, 3), "tail": np.array(tails).reshape(-1, 3)}


def as_rows(ranks):
    """Ranks in the form that `brute_force` gives."""
    return {
        side: np.stack([one.optimistic, one.pessimistic, one.candidates], 1)
        for side, one in ranks.items()
    }


def assert_same(one, other):
    for side in ("head", "tail"):
        np.testing.assert_array_equal(one[side], other[side])
