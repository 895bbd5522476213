"""The fast dropout is dropout: its rate, its scale, its gradient, its independence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AlbertConfig, AutoModel, BertConfig, DistilBertConfig

from relgnn.dropout import Dropout, set_dropout
from relgnn.text.encoder import load_model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_rate_scale_and_gradient(p: float, dtype: torch.dtype, device: torch.device) -> None:
    torch.manual_seed(0)
    values = torch.ones(301, 333, dtype=dtype, device=device, requires_grad=True)
    found = Dropout(p)(values)
    found.sum().backward()
    kept = found != 0
    assert float(kept.float().mean()) == pytest.approx(1 - p, abs=5 * (p * (1 - p) / 1e5) ** 0.5)
    expected = torch.full_like(found[kept], 1 / (1 - p))
    torch.testing.assert_close(found[kept], expected, rtol=1e-2, atol=0)
    torch.testing.assert_close(values.grad, found.detach())
    assert found.dtype == dtype


def test_elements_that_share_a_draw_are_independent() -> None:
    torch.manual_seed(0)
    kept = (Dropout(0.3)(torch.ones(100_000, 4)) != 0).double()
    correlation = torch.corrcoef(kept.t()) - torch.eye(4)
    assert correlation.abs().max() < 0.015


def test_the_generator_decides_and_sizes_need_not_be_even() -> None:
    values, drop = torch.randn(7, 3), Dropout(0.5)
    torch.manual_seed(3)
    first, second = drop(values), drop(values)
    torch.manual_seed(3)
    assert torch.equal(drop(values), first)
    assert not torch.equal(first, second)
    assert drop(torch.zeros(0, 3)).shape == (0, 3)


def test_nothing_is_dropped_in_evaluation_or_at_zero() -> None:
    values = torch.randn(5, 3)
    assert torch.equal(Dropout(0.5).eval()(values), values)
    assert torch.equal(Dropout(0.0)(values), values)


@pytest.mark.parametrize("p", [1.0, 1 - 1e-7])
def test_everything_may_be_dropped(p: float) -> None:
    torch.manual_seed(0)
    assert not Dropout(p)(torch.randn(5, 3)).any()


def test_a_network_gets_it_everywhere(tiny_bert: str) -> None:
    network, _ = load_model(tiny_bert)
    set_dropout(network, 0.25)
    found = [module for module in network.modules() if isinstance(module, nn.Dropout)]
    assert len(found) > 6
    assert all(type(one) is Dropout and one.p == 0.25 and not one.training for one in found)


@pytest.mark.parametrize(
    ("kind", "spared"),
    [(BertConfig, "attention.self.dropout"), (AlbertConfig, "attention.attention_dropout"),
     (DistilBertConfig, "attention.dropout")],
)  # fmt: skip
def test_attention_can_be_spared(kind: Any, spared: str) -> None:
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 9}
    network = AutoModel.from_config(kind(**sizes))
    set_dropout(network, 0.25, attention=False)
    found = {n: m.p for n, m in network.named_modules() if isinstance(m, nn.Dropout)}
    assert (
        {name for name, p in found.items() if p == 0}
        == {name for name in found if name.endswith(spared)}
        != set()
    )
    assert set(found.values()) == {0.0, 0.25}
