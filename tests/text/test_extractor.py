"""The relation extractor: it learns from a few labels, forgets held-out folds, saves and loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from relgnn.errors import InputError
from relgnn.text.extractor import (
    ExtractorSettings,
    ExtractorTask,
    RelationExtractor,
    cross_fit_extractor,
    extract_rows,
    fit_extractor,
    length_buckets,
    load_extractor,
    save_extractor,
    score_rows,
)
from relgnn.text.layers import LowerStates, SplitEncoder
from relgnn.text.marking import Occurrence
from relgnn.text.pairs import PairLabels
from relgnn.training import load_json, save_json
from tests.text.toy import BORN, LIVES, toy_occurrences

ROWS, PAIR, RELATION = toy_occurrences()
FOLDS = (np.arange(len(PAIR)) // 2) % 3
SETTINGS = ExtractorSettings(epochs=6, batch_size=16, lr=3e-3, head_lr=1e-2, negatives=1)


def labels(pairs: np.ndarray, outputs: np.ndarray) -> PairLabels:
    return PairLabels(pairs, outputs, np.ones(len(pairs)))


GIVEN = np.flatnonzero(np.arange(len(PAIR)) % 3 != 2)
KNOWN = labels(GIVEN, RELATION[GIVEN])


@pytest.fixture(scope="module")
def encoder(tiny_bert: str) -> SplitEncoder:
    return SplitEncoder(tiny_bert, layers=1, max_tokens=32)


@pytest.fixture(scope="module")
def states(encoder: SplitEncoder) -> LowerStates:
    return encoder.read(ROWS)


@pytest.fixture(scope="module")
def model(encoder: SplitEncoder, states: LowerStates) -> RelationExtractor:
    return fit_extractor(encoder, states, PAIR, KNOWN, 2, SETTINGS, 0)


def cross_fit(encoder: SplitEncoder, states: LowerStates, known: PairLabels) -> np.ndarray:
    return cross_fit_extractor(encoder, states, PAIR, known, FOLDS, 2, SETTINGS, 0)


def test_a_relation_is_learned_and_known_in_held_out_pairs(
    encoder: SplitEncoder, states: LowerStates
) -> None:
    logits = cross_fit(encoder, states, KNOWN)
    assert logits.shape == (len(ROWS), 4)
    assert (logits[:, [BORN, LIVES]].argmax(1) == RELATION).mean() > 0.95
    assert logits[:, 2:].max() < logits[:, :2].max(1).min()


def test_labels_of_a_fold_do_not_reach_its_logits(
    encoder: SplitEncoder, states: LowerStates
) -> None:
    before = cross_fit(encoder, states, KNOWN)
    wrong = np.where(FOLDS[GIVEN] == 1, 3, RELATION[GIVEN])
    after = cross_fit(encoder, states, labels(GIVEN, wrong))
    assert np.array_equal(before[FOLDS == 1], after[FOLDS == 1])
    assert not np.array_equal(before[FOLDS != 1], after[FOLDS != 1])


def test_markers_tell_who_is_who(encoder: SplitEncoder) -> None:
    """One sentence, both ways round: only the markers say which output is meant."""
    straight = ROWS
    turned = [Occurrence(t, b, a, tail, head) for t, a, b, head, tail, *_ in ROWS]
    rows = encoder.read([*straight, *turned])
    outputs = np.concatenate([RELATION, RELATION + 2])
    known = labels(np.arange(len(rows)), outputs)
    settings = replace(SETTINGS, epochs=8)
    fitted = fit_extractor(encoder, rows, np.arange(len(rows)), known, 2, settings, 0)
    found = score_rows(fitted, rows, np.arange(len(rows))).argmax(1)
    assert (found == outputs).mean() > 0.95


def test_one_seed_gives_one_model_and_leaves_the_callers_chance_alone(
    encoder: SplitEncoder, states: LowerStates, model: RelationExtractor
) -> None:
    before = torch.get_rng_state()
    again = fit_extractor(encoder, states, PAIR, KNOWN, 2, SETTINGS, 0)
    assert torch.equal(before, torch.get_rng_state())
    other = fit_extractor(encoder, states, PAIR, KNOWN, 2, SETTINGS, 1)
    rows = np.arange(8)
    first, second, third = (score_rows(m, states, rows) for m in (model, again, other))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)


def test_training_leaves_the_encoder_as_it_was(
    encoder: SplitEncoder, model: RelationExtractor, tiny_bert: str
) -> None:
    fresh = SplitEncoder(tiny_bert, layers=1).top.state_dict()
    for name, value in encoder.top.state_dict().items():
        assert torch.equal(value, fresh[name])
    assert not all(torch.equal(v, fresh[k]) for k, v in model.top.state_dict().items())


def test_rows_score_alone_as_in_company(states: LowerStates, model: RelationExtractor) -> None:
    together = score_rows(model, states, np.array([5, 0, 9]))
    alone = [score_rows(model, states, np.array([row]))[0] for row in (5, 0, 9)]
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert score_rows(model, states, np.zeros(0, dtype=np.int64)).shape == (0, 4)


def test_new_text_is_read_as_the_rows_were(
    encoder: SplitEncoder, states: LowerStates, model: RelationExtractor
) -> None:
    expected = score_rows(model, states, np.arange(4))
    np.testing.assert_allclose(extract_rows(encoder, model, ROWS[:4]), expected, atol=1e-4)


def test_saved_and_loaded_gives_the_same(
    encoder: SplitEncoder, model: RelationExtractor, tmp_path: Path
) -> None:
    save_extractor(tmp_path, encoder, model, SETTINGS)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "extractor.json", "extractor.safetensors",
    ]  # fmt: skip
    its_encoder, loaded = load_extractor(tmp_path)
    assert its_encoder.max_tokens == encoder.max_tokens
    expected = extract_rows(encoder, model, ROWS[:6])
    np.testing.assert_allclose(extract_rows(its_encoder, loaded, ROWS[:6]), expected, atol=1e-5)


def test_an_extractor_on_other_weights_is_refused(
    encoder: SplitEncoder, model: RelationExtractor, tmp_path: Path
) -> None:
    save_extractor(tmp_path, encoder, model, SETTINGS)
    path = tmp_path / "extractor.json"
    save_json(path, {**load_json(path), "fingerprint": "0"})
    with pytest.raises(InputError, match="other weights"):
        load_extractor(tmp_path)
    (tmp_path / "extractor.json").unlink()
    with pytest.raises(InputError, match="does not exist"):
        load_extractor(tmp_path)


def test_an_epoch_has_each_labelled_row_once_in_batches_of_like_length(
    encoder: SplitEncoder, states: LowerStates
) -> None:
    known = labels(np.array([0, 0, 7]), np.array([0, 1, 1]))
    pool = np.arange(60)
    fresh = RelationExtractor(encoder.top, 4, 0.1)
    task = ExtractorTask(fresh, states, PAIR, known, pool, SETTINGS)
    batches = list(task.batches(0, torch.Generator().manual_seed(0)))
    rows = torch.cat(batches)
    assert len(batches) == task.num_batches(0)
    assert len(rows.unique()) == len(rows) == 2 + SETTINGS.batch_size
    assert {0, 7} <= set(rows.tolist()) <= set(pool.tolist())
    spread = sorted(
        (states.lengths[b].min().item(), states.lengths[b].max().item()) for b in batches
    )
    assert all(a[1] <= b[0] for a, b in zip(spread, spread[1:], strict=False))
    weights = task.weights[task.line[torch.tensor([0, 7, 8])]]
    assert weights.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_all_rows_of_a_labelled_pair_are_labelled(
    encoder: SplitEncoder, states: LowerStates
) -> None:
    pair = PAIR // 4
    task = ExtractorTask(
        RelationExtractor(encoder.top, 4, 0.1), states, pair,
        PairLabels(np.array([3]), np.array([2]), np.array([0.5])), np.arange(20), SETTINGS,
    )  # fmt: skip
    assert task.labelled.tolist() == [12, 13, 14, 15]
    assert task.weights[task.line[12]].tolist() == [0, 0, 0.5, 0]


def test_without_labels_everything_is_unlikely(encoder: SplitEncoder, states: LowerStates) -> None:
    none = labels(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    fitted = fit_extractor(encoder, states, PAIR, none, 2, replace(SETTINGS, epochs=1), 0)
    assert score_rows(fitted, states, np.arange(8)).max() < 0


def test_buckets_hold_everything_once_and_keep_to_the_limit() -> None:
    lengths = [5, 1, 9, 3, 3, 20, 1]
    batches = list(length_buckets(lengths, 10))
    assert sorted(i for batch in batches for i in batch) == list(range(7))
    assert batches[0] == [5]
    assert all(len(b) * max(lengths[i] for i in b) <= 10 for b in batches if len(b) > 1)
