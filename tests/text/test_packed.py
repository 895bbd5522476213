"""A network run without padding gives what the network gives to each text alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    MPNetConfig,
    MPNetModel,
    RobertaConfig,
    RobertaModel,
)

from relgnn.text.encoder import load_model
from relgnn.text.packed import (
    SHORT,
    Layout,
    PackedNetwork,
    PrepackedLinear,
    _attend,
    _run_layer,
    equal_lengths,
)
from tests.text.toy import SIZES

TOKENS = [[3 + i % 20 for i in range(n)] for n in (5, 2, 80, 5, 1, 7, 5, 66)]


@pytest.mark.parametrize("batch_tokens", [1, 12, 10_000])
def test_each_text_has_the_states_that_it_has_alone(
    tiny_bert: str, batch_tokens: int, device: torch.device
) -> None:
    # a network may be where it is to run already
    packed = PackedNetwork(load_model(tiny_bert)[0].to(device), device, torch.float32)
    assert packed.layered
    network = load_model(tiny_bert)[0]
    seen: list[int] = []
    for items, states in packed.read(TOKENS, batch_tokens):
        for item, own in zip(items, states, strict=True):
            with torch.no_grad():
                alone = network(input_ids=torch.tensor([TOKENS[item]])).last_hidden_state[0]
            torch.testing.assert_close(own.cpu(), alone, rtol=1e-4, atol=1e-5)
        seen += items.tolist()
    assert sorted(seen) == list(range(len(TOKENS)))
    assert [len(TOKENS[i]) for i in seen] == sorted(map(len, TOKENS), reverse=True)


KINDS = {
    "bert": (BertModel, BertConfig, {}, True),
    "roberta": (RobertaModel, RobertaConfig, {}, True),
    "electra": (ElectraModel, ElectraConfig, {"embedding_size": 32}, True),
    "causal bert": (BertModel, BertConfig, {"is_decoder": True}, False),
    "narrow electra": (ElectraModel, ElectraConfig, {"embedding_size": 16}, False),
    "mpnet": (MPNetModel, MPNetConfig, {}, False),
    "distilbert": (DistilBertModel, DistilBertConfig, {"dim": 32, "n_layers": 2, "n_heads": 2},
                   False),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_network_gives_its_own_states(kind: str) -> None:
    model, config, options, layered = KINDS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = model(config(**{**SIZES, "initializer_range": 0.2, **options})).eval()
    packed = PackedNetwork(network, "cpu", torch.float32)
    assert packed.layered == layered
    ids = [torch.tensor([[4, 5, 6], [7, 8, 9]]), torch.tensor([[5, 6, 4, 3]])]
    with torch.no_grad():
        for states, x in zip(packed(ids), ids, strict=True):
            alone = network(input_ids=x, attention_mask=torch.ones_like(x)).last_hidden_state
            torch.testing.assert_close(states, alone, rtol=1e-4, atol=1e-5)


def test_bfloat16_changes_no_more_than_its_rounding(tiny_bert: str) -> None:
    exact = PackedNetwork(load_model(tiny_bert)[0], "cpu", torch.float32)
    half = PackedNetwork(load_model(tiny_bert)[0], "cpu", torch.bfloat16)
    pairs = zip(exact.read(TOKENS, 100), half.read(TOKENS, 100), strict=True)
    for (_, wanted), (_, states) in pairs:
        assert states.dtype == torch.bfloat16
        assert functional.cosine_similarity(states.float(), wanted, dim=-1).min() > 0.999


def test_a_prepacked_layer_is_the_layer() -> None:
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("the processor has no bfloat16")
    torch.manual_seed(0)
    plain = nn.Linear(32, 48).bfloat16()
    states = torch.randn(5, 32, dtype=torch.bfloat16)
    with torch.no_grad():
        expected = plain(states)
        torch.testing.assert_close(PrepackedLinear(plain)(states), expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("length", [1, 7, 64])
def test_short_texts_attend_as_the_fused_kernel_lets_them(length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    query, key, value = torch.randn(3, 2, 4, length, 8, generator=generator)
    assert length <= SHORT
    expected = functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(_attend(query, key, value), expected)


@pytest.mark.parametrize("longest", [5, SHORT + 2])
def test_a_padded_layout_gives_what_each_length_gives_and_the_same_gradients(
    tiny_bert: str, longest: int, device: torch.device
) -> None:
    layer = load_model(tiny_bert)[0].encoder.layer[0].to(device)
    shapes = [(2, longest), (1, 4), (3, 1)]
    generator = torch.Generator().manual_seed(longest)
    width = layer.attention.self.query.in_features
    states = torch.randn(2 * longest + 7, width, generator=generator).to(device).requires_grad_()
    weight = torch.randn(states.shape, generator=generator).to(device)
    found = []
    for lay in (None, Layout(shapes, device)):
        states.grad = None
        layer.zero_grad()
        out = _run_layer(layer, states, shapes, lay)
        (out * weight).sum().backward()
        found.append([out, states.grad, *(p.grad.clone() for p in layer.parameters())])
    for plain, padded in zip(*found, strict=True):
        torch.testing.assert_close(padded, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_texts_read_as_they_lie_give_what_the_padded_layout_gives(tiny_bert: str) -> None:
    layer = load_model(tiny_bert)[0].encoder.layer[0].cuda()
    shapes = [(3, 70), (2, 9), (4, 1)]
    generator = torch.Generator().manual_seed(0)
    width = layer.attention.self.query.in_features
    states = torch.randn(232, width, generator=generator).cuda().requires_grad_()
    weight = torch.randn(states.shape, generator=generator).cuda()
    found = []
    before = torch.are_deterministic_algorithms_enabled()
    try:
        for repeatable in (True, False):
            torch.use_deterministic_algorithms(repeatable, warn_only=True)
            with torch.autocast("cuda", torch.bfloat16):
                out = _run_layer(layer, states, shapes, Layout(shapes, "cuda"))
            found.append([out, *torch.autograd.grad((out * weight).sum(), states)])
    finally:
        torch.use_deterministic_algorithms(before)
    for padded, lying in zip(*found, strict=True):
        assert (padded - lying).norm() < 0.02 * padded.norm()


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 90))
def test_groups_hold_every_text_once_and_batches_keep_to_the_limit(
    lengths: list[int], batch_tokens: int
) -> None:
    batches = list(equal_lengths(lengths, batch_tokens))
    sizes = np.array(lengths, dtype=int)
    for groups in batches:
        items = np.concatenate(groups)
        assert sizes[items].sum() <= batch_tokens or len(items) == 1
        assert all(len(set(sizes[group])) == 1 for group in groups)
    order = [i for groups in batches for group in groups for i in group]
    assert sorted(order) == np.flatnonzero(sizes).tolist()
    assert sizes[order].tolist() == sorted(sizes[order], reverse=True)


def test_batches_are_full() -> None:
    batches = list(equal_lengths([4] * 10 + [3] * 4, 12))
    assert [[len(group) for group in groups] for groups in batches] == [[3], [3], [3], [1, 2], [2]]
