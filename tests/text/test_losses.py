"""Sigmoids and thresholds beside slow sums, and what their logits decide."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from relgnn.config import TuningConfig
from relgnn.data.relations import Example
from relgnn.text.classifier import RelationClassifier
from relgnn.text.encoder import load_model
from relgnn.text.labels import decide, labelled
from relgnn.text.losses import supervised_loss
from tests.text.toy import SIZES

NEGATIVE = 1


@pytest.fixture
def logits() -> Tensor:
    torch.manual_seed(0)
    found = torch.randn(6, 4)
    found[:, NEGATIVE] = 0
    return found


def test_bce_is_a_sum_over_labels(logits: Tensor) -> None:
    labels = torch.tensor([0, 1, 2, 3, 1, 0])
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        for i, z in enumerate(row):
            if i != NEGATIVE:
                p = 1 / (1 + np.exp(-z))
                p = p if i == label else 1 - p
                total += -((1 - p) ** 2) * np.log(p)
    settings = TuningConfig(loss="bce", focal=2.0)
    found = supervised_loss(logits, labels, settings, NEGATIVE)
    assert float(found) == pytest.approx(total / 6, rel=1e-5)
    smooth = supervised_loss(
        torch.zeros(2, 4), torch.tensor([0, 3]), TuningConfig(loss="bce", label_smoothing=0.1), None
    )
    assert float(smooth) == pytest.approx(4 * np.log(2))


@pytest.mark.parametrize("loss", ["cross_entropy", "bce"])
@pytest.mark.parametrize("focal", [0.5, 1.0, 2.0])
def test_focal_loss_has_a_gradient_where_all_is_learnt(loss: str, focal: float) -> None:
    logits = torch.tensor([[90.0, -90.0, -90.0], [1.0, 0.0, 0.0]], requires_grad=True)
    settings = TuningConfig(loss=loss, focal=focal)  # type: ignore[arg-type]
    supervised_loss(logits, torch.tensor([0, 0]), settings, None).backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
    assert not logits.grad[0].any() and logits.grad[1].any()


def test_threshold_is_the_published_sum(logits: Tensor) -> None:
    stated = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]]).float()
    shift = 3.0 * torch.ones(3, 1)  # what the logits count from does not matter
    raw = (logits[:3] + shift).double()
    total = 0.0
    for row, said in zip(raw, stated, strict=True):
        th = float(row[NEGATIVE])
        yes = [float(z) for i, z in enumerate(row) if said[i] and i != NEGATIVE]
        no = [float(z) for i, z in enumerate(row) if not said[i] and i != NEGATIVE]
        for z in yes:
            total -= np.log(np.exp(z) / (np.exp(yes).sum() + np.exp(th)))
        total -= np.log(np.exp(th) / (np.exp(no).sum() + np.exp(th)))
    settings = TuningConfig(loss="threshold")
    found = supervised_loss(logits[:3], stated, settings, NEGATIVE)
    assert float(found) == pytest.approx(total / 3, rel=1e-5)


@pytest.mark.parametrize("loss", ["bce", "threshold"])
def test_one_label_is_the_row_of_that_label_alone(logits: Tensor, loss: str) -> None:
    labels = torch.tensor([0, 1, 2, 3, 1, 0])
    settings = TuningConfig.model_validate({"loss": loss})
    hot = torch.nn.functional.one_hot(labels, 4).float()
    torch.testing.assert_close(
        supervised_loss(logits, labels, settings, NEGATIVE),
        supervised_loss(logits, hot, settings, NEGATIVE),
    )
    # Certain and right costs nothing.
    right = 50 * (2 * hot - 1)
    right[:, NEGATIVE] = 0
    assert float(supervised_loss(right, labels, settings, NEGATIVE)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("loss", ["cross_entropy", "bce", "threshold"])
@pytest.mark.parametrize("negative", [None, NEGATIVE])
def test_logits_count_from_no_relation(tiny_bert: str, loss: str, negative: int | None) -> None:
    network, _ = load_model(tiny_bert)
    settings = TuningConfig.model_validate({"loss": loss, "dropout": 0.0})
    model = RelationClassifier(network, 4, settings, negative)
    vectors = torch.randn(5, SIZES["hidden_size"])
    found, raw = model.classify(vectors), model.head(vectors)
    assert found.shape == (5, 4)
    if loss == "cross_entropy":
        torch.testing.assert_close(found, raw)
        return
    if negative is not None:
        assert not found[:, negative].any()
    threshold = raw[:, [-1 if negative is None else negative]]
    own = threshold if loss == "threshold" else torch.zeros(5, 1)
    positive = [i for i in range(4) if i != negative]
    torch.testing.assert_close(found[:, positive], (raw - own)[:, positive])


def test_a_single_label_is_that_of_sigmoids_given_at_most_one() -> None:
    z = torch.tensor([0.7, 0.0, -1.2])  # the second says "no relation"
    p = z.sigmoid()
    none = (1 - p[0]) * (1 - p[2])
    joint = torch.stack([p[0] * (1 - p[2]), none, (1 - p[0]) * p[2]])
    torch.testing.assert_close(z.softmax(0), joint / joint.sum())


def test_decisions_of_one_label_and_of_several() -> None:
    logits = np.array([[2.0, 0, 1], [-1, 0, -2], [-1, 0, 3]], dtype=np.float32)
    assert decide(logits, False, NEGATIVE).tolist() == [0, 1, 2]
    several = [[True, False, True], [False, True, False], [False, False, True]]
    assert decide(logits, True, NEGATIVE).tolist() == several
    assert decide(logits[:, [0, 2]], True, None).tolist() == [[1, 1], [0, 0], [0, 1]]


def test_examples_that_differ_in_the_label_alone_are_one_row() -> None:
    one = Example("Ada saw Ben", (0, 3), (8, 11), 0)
    examples = [one, one._replace(relation=2), one._replace(head_type="PER"), one]
    index, stated = labelled(examples, 3, True)
    assert index == [0, 2]
    assert stated.tolist() == [[1, 0, 1], [1, 0, 0]]
    index, labels = labelled(examples, 3, False)
    assert (index, labels.tolist()) == ([0, 1, 2, 3], [0, 2, 0, 0])


@pytest.mark.parametrize("wrong", [
    {"loss": "threshold", "focal": 1.0}, {"loss": "threshold", "label_smoothing": 0.1},
    {"multi_label": True}, {"fairness": {"groups": {"one": ["word"]}}},
    {"fairness": {"groups": {"one": ["word"], "gap": ["other"]}}},
    {"fairness": {"groups": {"one": ["word"], "none": []}}},
    {"marking": "none", "pooling": "markers"},
])  # fmt: skip
def test_settings_that_do_not_go_together(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TuningConfig.model_validate(wrong)
