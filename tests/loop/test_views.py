"""Views become probabilities: out of fold, and right for what is true but not given."""

from __future__ import annotations

import json

import numpy as np
import pytest

from relgnn.loop.views import UNSEEN, Before, Fused, fuse, probability
from relgnn.posterior.calibration import expected_calibration_error
from relgnn.posterior.fusion import LogisticFusion
from relgnn.posterior.pu import LABEL_FREQUENCY, pu_probability, unlabelled_probability
from relgnn.runtime import rng

GIVEN_SHARE = 0.4


def planted(
    count: int = 6000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Votes of three views, an extra, truth, "is given" (completely at random) and folds."""
    generator = rng("planted votes", seed)
    true = generator.random(count) < 0.3
    votes = np.where(true, 3.0, -3.0)[:, None] + generator.normal(size=(count, 3)) * [2, 3, 4]
    extra = generator.normal(size=(count, 1))
    given = true & (generator.random(count) < GIVEN_SHARE)
    return votes, extra, true, given, generator.integers(0, 4, count)


@pytest.mark.parametrize("method", ["elkan_noto_mean", "best_bin"])
def test_probabilities_are_those_of_the_truth(method: str) -> None:
    votes, extra, true, given, folds = planted()
    found = fuse(votes, extra, given, folds, method)
    assert found.label_frequency == pytest.approx(GIVEN_SHARE, abs=0.04)
    open_ = ~given
    p, y = found.p[open_], true[open_].astype(float)
    assert expected_calibration_error(p, y) < 0.05
    assert p.mean() == pytest.approx(y.mean(), abs=0.03)
    sure = p > 0.8
    assert sure.sum() > 200 and y[sure].mean() > 0.95


def test_the_quantile_promises_no_more_than_is_true() -> None:
    """A logistic curve cannot level off at c, so a high quantile of it is above c."""
    votes, extra, true, given, folds = planted()
    found = fuse(votes, extra, given, folds, "elkan_noto_quantile")
    assert found.label_frequency > GIVEN_SHARE
    open_ = ~given
    order = np.argsort(-found.p[open_])[:900]
    assert found.p[open_][order].mean() < true[open_][order].mean()


def test_given_is_predicted_well_calibrated() -> None:
    votes, extra, _, given, folds = planted()
    found = fuse(votes, extra, given, folds, "elkan_noto_quantile")
    report = found.report(given)
    assert report["given"]["ece"] < 0.05
    assert report["label_frequency"] == found.label_frequency
    rebuilt = LogisticFusion.from_json(json.loads(json.dumps(report))["calibrator"])
    np.testing.assert_allclose(rebuilt(votes, extra), found.calibrator(votes, extra))


def test_a_candidates_own_fold_never_fits_what_judges_it() -> None:
    """Planted: labels of fold 2 are turned round, and no g of fold 2 moves."""
    votes, extra, _, given, folds = planted(400)
    one = fuse(votes, extra, given, folds, "elkan_noto_mean")
    turned = np.where(folds == 2, ~given, given)
    other = fuse(votes, extra, turned, folds, "elkan_noto_mean")
    np.testing.assert_array_equal(one.g[folds == 2], other.g[folds == 2])
    assert np.abs(one.g[folds != 2] - other.g[folds != 2]).max() > 0.05


def test_g_is_the_naive_cross_fit() -> None:
    votes, extra, _, given, folds = planted(300)
    found = fuse(votes, extra, given, folds, "best_bin")
    for k in range(4):
        others = LogisticFusion().fit(
            votes[folds != k], given[folds != k].astype(int), extra[folds != k]
        )
        np.testing.assert_allclose(
            found.g[folds == k], others(votes[folds == k], extra[folds == k])
        )


@pytest.mark.parametrize("method", sorted(LABEL_FREQUENCY))
def test_every_estimator_gives_probabilities(method: str) -> None:
    votes, extra, _, given, folds = planted(400)
    found = fuse(votes, extra, given, folds, method)
    assert ((found.p >= 0) & (found.p <= 1)).all()
    assert 0 < found.label_frequency <= 1


def test_a_silent_view_is_no_half() -> None:
    votes, extra, true, given, folds = planted()
    quiet = votes.copy()
    quiet[::2, 0] = np.nan
    found = fuse(quiet, extra, given, folds, "elkan_noto_mean")
    assert np.isfinite(found.p).all()
    for rows in (~given & np.isnan(quiet[:, 0]), ~given & ~np.isnan(quiet[:, 0])):
        assert expected_calibration_error(found.p[rows], true[rows].astype(float)) < 0.08


def test_both_views_know_more_than_one() -> None:
    votes, extra, true, given, folds = planted()
    logloss = []
    for columns in (votes, votes[:, -1:]):
        p = np.clip(fuse(columns, extra, given, folds, "elkan_noto_quantile").p, 0.01, 0.99)
        logloss.append(-np.log(np.where(true, p, 1 - p))[~given].mean())
    assert logloss[0] < logloss[1]


def test_a_known_label_frequency_is_taken_as_it_is() -> None:
    votes, extra, _, given, folds = planted()
    estimated = fuse(votes, extra, given, folds, "elkan_noto_mean")
    found = fuse(votes, extra, given, folds, 2 * estimated.label_frequency)
    assert found.label_frequency == 2 * estimated.label_frequency
    np.testing.assert_array_equal(found.g, estimated.g)
    assert (found.p <= estimated.p).all()


def test_each_relation_may_have_its_own_label_frequency() -> None:
    """Of relation 0 a fifth of what is true is given, of relation 1 three fifths."""
    votes, extra, true, _, folds = planted()
    generator = rng("planted relations", 0)
    relation = generator.integers(0, 2, len(true))
    given = true & (generator.random(len(true)) < np.where(relation, 0.6, 0.2))
    alike = fuse(votes, extra, given, folds, "best_bin")
    found = fuse(votes, extra, given, folds, "best_bin", relation, 3)
    c = np.asarray(found.label_frequency)
    np.testing.assert_allclose(c[:2], [0.2, 0.6], atol=0.05)
    assert c[2] == pytest.approx(alike.label_frequency)

    def gap(one: Fused) -> float:
        rows = [~given & (relation == r) for r in (0, 1)]
        return max(abs(one.p[own].mean() - true[own].mean()) for own in rows)

    # votes that do not know the relation are made to by the ratio
    assert gap(found) < 0.06
    # where they do, one c would say that too little is hidden of what is seldom given
    knowing = np.column_stack([extra, relation])
    informed, wrong = (
        fuse(votes, knowing, given, folds, "best_bin", *own) for own in ((relation, 3), ())
    )
    assert gap(informed) < 0.06 < 0.1 < gap(wrong)
    report = json.loads(json.dumps(found.report(given)))
    assert report["ratio"][0] < 0.6 < 1.4 < report["ratio"][1] and report["ratio"][2] == 1
    assert "ratio" not in alike.report(given)
    turned = fuse(votes, extra, np.where(folds == 2, ~given, given), folds, 0.4, relation, 3)
    np.testing.assert_array_equal(turned.g[folds == 2], found.g[folds == 2])
    again = fuse(votes, extra, given, folds, report["label_frequency"], relation, 3)
    np.testing.assert_array_equal(again.p, found.p)


def test_a_text_is_judged_by_its_relations_own_frequency() -> None:
    votes, extra, _, given, folds = planted(600)
    relation = rng("planted relations", 1).integers(0, 2, 600)
    found = fuse(votes, extra, given, folds, [0.2, 0.6], relation, 2)
    entry = json.loads(json.dumps(found.report(given)))
    p = probability(entry, votes, extra, relation, np.zeros(600, dtype=bool))
    known = probability(entry, votes, extra, relation, np.ones(600, dtype=bool))
    for r, c in ((0, 0.2), (1, 0.6)):
        own = relation == r
        assert found.ratio is not None
        g = np.minimum(found.calibrator(votes[own], extra[own]) * found.ratio[r], 1)
        np.testing.assert_allclose(p[own], unlabelled_probability(g, c))
        np.testing.assert_allclose(known[own], pu_probability(g, c))


def test_rounds_are_averaged_in_log_odds() -> None:
    triples = np.array([[0, 0, 1], [0, 0, 2], [0, 0, 3]])
    before = Before(2, triples[:2], np.array([0.9, 1.0]), {})
    odds = before.average(triples, np.array([0.5, 1.0, 0.5]))
    odds = odds / (1 - odds)
    # Two rounds say 9 : 1, one says 1 : 1; no round is surer than UNSEEN allows.
    assert odds[0] == pytest.approx(9 ** (2 / 3))
    assert odds[1] == pytest.approx((1 - UNSEEN) / UNSEEN)
    assert odds[2] == pytest.approx((UNSEEN / (1 - UNSEEN)) ** (2 / 3))
