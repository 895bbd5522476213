"""Both optimisers, accumulation and the loss scale of half precision."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from relgnn.training import Interrupted, Trainer, TrainSettings
from relgnn.training.stepper import Stepper
from tests.training.toy import ToyTask

ADAFACTOR = TrainSettings(epochs=4, lr=0.3, weight_decay=0.01, clip=1.0, optimizer="adafactor")
half = partial(torch.autocast, "cpu", dtype=torch.float16)


def stop_at(count: int, losses: int) -> None:
    if losses == count:
        raise KeyboardInterrupt


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_a_resumed_training_is_the_uninterrupted_one(
    tmp_path: Path, optimizer: str, precision: str
) -> None:
    settings = replace(ADAFACTOR, optimizer=optimizer, metric="score")  # type: ignore[arg-type]
    trainer = Trainer(settings, save_seconds=0.0)
    if precision == "fp16":
        trainer.autocast = half
    whole, resumed = ToyTask(), ToyTask()
    expected = trainer.fit(whole)
    with pytest.raises(Interrupted):
        trainer.fit(ToyTask(on_loss=partial(stop_at, 7)), tmp_path)
    found = trainer.fit(resumed, tmp_path, resume=True)
    assert [r.loss for r in found.history] == [r.loss for r in expected.history]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    assert expected.history[-1].loss < expected.history[0].loss


def test_adafactor_keeps_rows_and_columns_of_a_matrix() -> None:
    weight = nn.Parameter(torch.ones(6, 4))
    stepper = Stepper([{"params": [weight]}], ADAFACTOR, torch.device("cpu"))
    stepper.begin(1.0)
    stepper.backward((weight * torch.arange(4.0)).sum())
    stepper.step()
    sizes = {name: value.numel() for name, value in stepper.tensors().items()}
    assert sizes == {"0/step": 1, "0/row_var": 6, "0/col_var": 4}


def test_a_step_whose_scaled_gradients_overflow_is_left_out() -> None:
    weight = nn.Parameter(torch.ones(3))
    settings = TrainSettings(epochs=1, lr=0.1, clip=1.0)
    stepper = Stepper([{"params": [weight]}], settings, torch.device("cpu"), half=True)
    scale = stepper.scaler.get_scale()
    stepper.begin(1.0)
    stepper.backward((weight * 3e38).sum())
    stepper.step()
    assert torch.equal(weight, torch.ones(3))
    assert stepper.scaler.get_scale() == scale / 2
    again = Stepper([{"params": [weight]}], settings, torch.device("cpu"), half=True)
    again.restore(stepper.tensors())
    assert again.scaler.get_scale() == scale / 2
    stepper.begin(1.0)
    stepper.backward(weight.sum())
    stepper.step()
    assert not torch.equal(weight, torch.ones(3))


def test_only_float16_scales_the_loss() -> None:
    bf16 = partial(torch.autocast, "cpu", dtype=torch.bfloat16)
    kinds = [
        Trainer(ADAFACTOR),
        Trainer(ADAFACTOR, autocast=bf16),
        Trainer(ADAFACTOR, autocast=half),
    ]
    assert [trainer.half for trainer in kinds] == [False, False, True]


@pytest.mark.parametrize("clip", [0.5, 50.0])
def test_gradients_are_clipped_as_the_library_does(clip: float) -> None:
    weights = [
        nn.Parameter(torch.randn(4, 3)),
        nn.Parameter(torch.randn(5)),
        nn.Parameter(torch.ones(2)),
    ]
    settings = TrainSettings(epochs=1, lr=0.0, clip=clip)
    stepper = Stepper([{"params": weights}], settings, torch.device("cpu"))
    stepper.begin(1.0)
    stepper.backward(weights[0].square().sum() + weights[1].square().sum())
    stepper.step()
    found = [p.grad for p in weights]
    for p in weights[:2]:
        p.grad = 2 * p.detach()
    torch.nn.utils.clip_grad_norm_(weights, clip)
    for p, value in zip(weights, found, strict=True):
        assert (p.grad is None and value is None) or torch.equal(p.grad, value)
