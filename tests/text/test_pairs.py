"""The pair model: it learns what is planted, repeats itself, and never sees a held-out fold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from relgnn.errors import InputError
from relgnn.runtime import rng
from relgnn.text.evidence import PairFeatures
from relgnn.text.pairs import (
    PairLabels,
    PairModel,
    PairSettings,
    PairTask,
    cross_fit_pairs,
    distant_loss,
    fit_pairs,
    load_pairs,
    save_pairs,
    score_pairs,
)
from tests.text.toy import own_means

PAIRS, ENTITIES, DIM, RELATIONS = 240, 30, 8, 2
SETTINGS = PairSettings(epochs=15, batch_size=64, lr=1e-2, width=16, dropout=0.05, negatives=4)
FOLDS = np.arange(PAIRS) % 3


def unit(rows: int, width: int, seed: int) -> Tensor:
    values = rng("toy features", seed).normal(size=(rows, width))
    return functional.normalize(torch.from_numpy(values).float(), dim=1)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """Whether a pair has relation 0: one in three has, and its sentence says so."""
    return rng("toy truth", 0).random(PAIRS) < 1 / 3


@pytest.fixture(scope="module")
def features(truth: np.ndarray) -> PairFeatures:
    keys = np.sort(rng("toy pairs", 0).choice(ENTITIES**2, PAIRS, replace=False))
    sentence = unit(PAIRS, DIM, 1)
    sentence[truth, 0] += 2
    return PairFeatures(
        sentence=own_means(functional.normalize(sentence)),
        head_mention=own_means(unit(PAIRS, DIM, 2)),
        tail_mention=own_means(unit(PAIRS, DIM, 3)), shape=unit(PAIRS, 3, 4),
        head=torch.from_numpy(keys // ENTITIES), tail=torch.from_numpy(keys % ENTITIES),
        node=unit(ENTITIES, DIM, 5), name=unit(ENTITIES, DIM, 6),
    )  # fmt: skip


def label(pairs: np.ndarray, output: int = 0) -> PairLabels:
    return PairLabels(pairs, np.full(len(pairs), output), np.ones(len(pairs)))


def fit(features: PairFeatures, labels: PairLabels, seed: int = 0) -> np.ndarray:
    return cross_fit_pairs(features, labels, FOLDS, RELATIONS, SETTINGS, seed)


def test_a_planted_relation_is_found_in_held_out_pairs(
    features: PairFeatures, truth: np.ndarray
) -> None:
    given = np.flatnonzero(truth)[::2]
    logits = fit(features, label(given))
    assert logits.shape == (PAIRS, 2 * RELATIONS)
    unseen = np.setdiff1d(np.arange(PAIRS), given)
    hidden, false = logits[unseen, 0][truth[unseen]], logits[unseen, 0][~truth[unseen]]
    above = (hidden[:, None] > false[None]).mean()
    assert above > 0.7
    assert logits[:, 1:].max() < hidden.mean()


def test_labels_of_a_fold_do_not_reach_its_logits(
    features: PairFeatures, truth: np.ndarray
) -> None:
    given = np.flatnonzero(truth)
    before = fit(features, label(given))
    planted = label(given)
    in_fold = FOLDS[planted.pair] == 1
    planted.output[in_fold] = 3
    after = fit(features, planted)
    assert np.array_equal(before[FOLDS == 1], after[FOLDS == 1])
    assert not np.array_equal(before[FOLDS != 1], after[FOLDS != 1])


def test_one_seed_gives_one_result(features: PairFeatures, truth: np.ndarray) -> None:
    labels = label(np.flatnonzero(truth))
    state = torch.get_rng_state()
    first, second = fit(features, labels), fit(features, labels)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, fit(features, labels, seed=1))
    assert torch.equal(state, torch.get_rng_state())


def test_triples_label_their_pair_either_way_round(features: PairFeatures) -> None:
    head, tail = (int(x[0]) for x in (features.head, features.tail))
    absent = next(
        (h, t)
        for h in range(ENTITIES)
        for t in range(ENTITIES)
        if not any(((features.head == a) & (features.tail == b)).any() for a, b in ((h, t), (t, h)))
    )
    triples = np.array([[head, 1, tail], [tail, 0, head], [absent[0], 0, absent[1]]])
    labels = PairLabels.match(features, triples, np.array([1.0, 0.5, 1.0]), RELATIONS)
    found = set(
        zip(labels.pair.tolist(), labels.output.tolist(), labels.weight.tolist(), strict=True)
    )
    assert {(0, 1, 1.0), (0, RELATIONS, 0.5)} <= found
    assert {pair for pair, *_ in found} <= {
        0, *np.flatnonzero((features.head == tail) & (features.tail == head)).tolist()
    }  # fmt: skip


def test_no_triple_gives_no_label(features: PairFeatures) -> None:
    labels = PairLabels.match(features, np.zeros((0, 3), int), np.zeros(0), RELATIONS)
    assert len(labels.pair) == len(labels.subset(np.ones(PAIRS, bool)).pair) == 0
    assert np.isfinite(fit(features, labels)).all()


def test_subset_keeps_the_labels_of_kept_pairs() -> None:
    labels = PairLabels(np.array([0, 1, 1]), np.array([2, 3, 0]), np.array([1.0, 0.5, 1.0]))
    kept = labels.subset(np.array([False, True]))
    assert (kept.pair.tolist(), kept.output.tolist()) == ([1, 1], [3, 0])


def test_distant_loss_weighs_given_and_unlabelled_outputs() -> None:
    logits = torch.tensor([[0.3, -1.0], [2.0, 0.5]])
    weight = torch.tensor([[0.5, 0.0], [0.0, 0.0]])
    p = torch.sigmoid(logits)
    expected = -(0.5 * p[0, 0].log() + 0.3 * (1 - p).log()[[0, 1, 1], [1, 0, 1]].sum()) / 2
    torch.testing.assert_close(distant_loss(logits, weight, 0.3), expected)


def test_an_epoch_has_each_labelled_pair_once(features: PairFeatures, truth: np.ndarray) -> None:
    given = np.flatnonzero(truth)[:20]
    task = PairTask(
        PairModel(DIM, 3, 4, SETTINGS), features, label(given), np.arange(PAIRS), 4, SETTINGS
    )
    batches = list(task.batches(0, torch.Generator().manual_seed(0)))
    drawn = torch.cat(batches)
    assert len(batches) == task.num_batches(0)
    assert sorted(drawn[drawn >= 0].tolist()) == list(range(20))
    unlabelled = task.unlabelled[-1 - drawn[drawn < 0]]
    assert len(unlabelled.unique()) == len(unlabelled) == task.drawn
    assert not np.isin(unlabelled.numpy(), given).any()


def test_scoring_nothing_gives_nothing(features: PairFeatures) -> None:
    model = PairModel(DIM, 3, 4, SETTINGS)
    assert score_pairs(model, features, np.zeros(0, dtype=np.int64)).shape == (0, 4)


def test_saved_and_loaded_gives_the_same(features: PairFeatures, tmp_path: Path) -> None:
    given = label(np.arange(20))
    model = fit_pairs(features, given, np.arange(PAIRS), RELATIONS, SETTINGS, 0)
    save_pairs(tmp_path, model)
    every = np.arange(PAIRS)
    again = score_pairs(load_pairs(tmp_path), features, every)
    assert np.array_equal(again, score_pairs(model, features, every))


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pairs.json"):
        load_pairs(tmp_path)
