"""Fusion with missing views, and cross-fitting that cannot see its own fold."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from relgnn.errors import InputError
from relgnn.posterior.calibration import expected_calibration_error, log_loss
from relgnn.posterior.fusion import LOGIT_LIMIT, LogisticFusion, cross_fit, logit
from relgnn.runtime import rng


def planted(size=6000, missing=0.3):
    """Return two noisy views (the first often missing), an extra feature, and labels."""
    generator = rng("fusion", 0)
    labels = (generator.random(size) < 0.4).astype(int)
    signal = (2 * labels - 1)[:, None]
    views = signal * 1.2 + 1.5 * generator.standard_normal((size, 2))
    views[generator.random(size) < missing, 0] = np.nan
    return views, 0.5 * signal + generator.standard_normal((size, 1)), labels


def test_fusion_beats_each_view_and_is_calibrated():
    views, extra, labels = planted()
    train, test = slice(0, 3000), slice(3000, None)
    fusion = LogisticFusion().fit(views[train], labels[train], extra[train])
    p = fusion(views[test], extra[test])
    alone = [roc_auc_score(labels[test], np.nan_to_num(view)) for view in views[test].T]
    assert roc_auc_score(labels[test], p) > max(alone) + 0.03
    assert expected_calibration_error(p, labels[test]) < 0.04


def test_a_missing_view_is_not_a_half():
    # The view is missing mostly where the label is false; 0.5 would carry nothing.
    generator = rng("missing", 0)
    labels = (generator.random(2000) < 0.5).astype(int)
    view = np.where(generator.random(2000) < np.where(labels, 0.1, 0.9), np.nan, 0.0)[:, None]
    p = LogisticFusion().fit(view, labels)(view)
    assert p[np.isnan(view[:, 0])].mean() == pytest.approx(0.1, abs=0.03)
    assert p[~np.isnan(view[:, 0])].mean() == pytest.approx(0.9, abs=0.03)


def test_products_let_views_agree():
    generator = rng("products", 0)
    views = generator.standard_normal((4000, 2))
    labels = (generator.random(4000) < expit(4 * views[:, 0] * views[:, 1])).astype(int)
    assert roc_auc_score(labels, LogisticFusion().fit(views, labels)(views)) > 0.85


def test_what_was_learnt_does_not_depend_on_units_of_extras():
    views, extra, labels = planted(1000)
    one = LogisticFusion().fit(views, labels, extra)(views, extra)
    scaled = 1e4 * extra + 7
    other = LogisticFusion().fit(views, labels, scaled)(views, scaled)
    np.testing.assert_allclose(one, other, atol=1e-3)


def test_a_view_that_is_always_missing_is_harmless():
    views, _, labels = planted(1000)
    padded = np.column_stack([views, np.full(1000, np.nan)])
    np.testing.assert_allclose(
        LogisticFusion().fit(padded, labels)(padded),
        LogisticFusion().fit(views, labels)(views),
        atol=1e-3,
    )


def test_weights_are_counts():
    views, _, labels = planted(400)
    weights = 1.0 + np.arange(400) % 2
    copied = np.repeat(np.arange(400), weights.astype(int))
    # the standardisation counts examples once, so the fits differ only through the penalty
    weighted = LogisticFusion(strength=1e3).fit(views, labels, weights=weights)
    repeated = LogisticFusion(strength=1e3).fit(views[copied], labels[copied])
    np.testing.assert_allclose(weighted(views), repeated(views), atol=0.01)


def test_json_gives_back_the_same_map():
    views, extra, labels = planted(500)
    fusion = LogisticFusion(strength=0.5).fit(views, labels, extra)
    again = LogisticFusion.from_json(json.loads(json.dumps(fusion.to_json())))
    np.testing.assert_array_equal(again(views, extra), fusion(views, extra))
    assert again.strength == 0.5


def test_bad_input_is_an_error():
    views, extra, labels = planted(50)
    fusion = LogisticFusion().fit(views, labels)
    with pytest.raises(InputError, match="one class"):
        LogisticFusion().fit(views, np.ones(50))
    with pytest.raises(InputError, match="infinite logit"):
        fusion(np.full((1, 2), np.inf))
    with pytest.raises(InputError, match="missing extra"):
        LogisticFusion().fit(views, labels, np.full((50, 1), np.nan))
    with pytest.raises(InputError, match="fitted with 2"):
        fusion(views, extra)
    for unfitted in (lambda: LogisticFusion()(views), LogisticFusion().to_json):
        with pytest.raises(InputError, match="never fitted"):
            unfitted()


def test_logits_are_bounded_and_keep_what_is_missing():
    values = logit(np.array([0.0, 0.5, 0.75, 1.0, np.nan]))
    np.testing.assert_allclose(values[:4], [-LOGIT_LIMIT, 0, np.log(3), LOGIT_LIMIT], atol=1e-6)
    assert np.isnan(values[4])


def test_no_model_sees_the_fold_it_predicts():
    folds = np.arange(20) % 4
    items = np.arange(20)
    seen = []

    def fit(x, y):
        assert x.tolist() == y.tolist()
        seen.append(set(x.tolist()))
        return lambda held: held * 10.0

    predicted = cross_fit(fit, items, items, folds)
    np.testing.assert_array_equal(predicted, items * 10.0)
    for fold, rows in enumerate(seen):
        assert rows == set(items[folds != fold].tolist())


def test_a_planted_label_does_not_leak():
    # A model that memorises knows every label it saw; out of fold it knows none.
    labels = rng("leak", 0).integers(0, 2, 400)

    def memorise(x, y):
        known = dict(zip(x.tolist(), y.tolist(), strict=True))
        return lambda held: np.array([known.get(i, 0.5) for i in held.tolist()])

    predicted = cross_fit(memorise, np.arange(400), labels, np.arange(400) % 5)
    assert (predicted == 0.5).all()


def test_cross_fitted_fusion_is_as_good_out_of_fold():
    views, extra, labels = planted(2000)
    x = np.column_stack([views, extra])

    def fit(x, y):
        fusion = LogisticFusion().fit(x[:, :2], y, x[:, 2:])
        return lambda held: fusion(held[:, :2], held[:, 2:])

    p = cross_fit(fit, x, labels, np.arange(2000) % 5)
    assert log_loss(p, labels) == pytest.approx(log_loss(fit(x, labels)(x), labels), abs=0.01)


def test_one_fold_is_an_error():
    with pytest.raises(InputError, match="1 fold"):
        cross_fit(lambda x, y: lambda held: held, np.zeros(3), np.zeros(3), np.zeros(3))
