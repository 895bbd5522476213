"""Attention between two mentions: the largest weights, as features and as a report."""

from __future__ import annotations

import torch

from relgnn.config import EfficientConfig, RuntimeConfig, TuningConfig
from relgnn.data.relations import Example, RelationData
from relgnn.runtime import Runtime
from relgnn.text.attention import attention_report, between
from relgnn.text.classifier import RelationClassifier
from relgnn.text.efficient import attach
from relgnn.text.encoder import load_model
from relgnn.text.marking import HEAD, NEITHER, TAIL
from relgnn.text.reader import Reader
from relgnn.text.rows import Marker, RowBatch
from tests.text.toy import toy_occurrences

ROWS, _, RELATION = toy_occurrences()
EXAMPLES = [
    Example(row.text, row.head_span, row.tail_span, int(r))
    for row, r in zip(ROWS[:5], RELATION, strict=False)
]


def reader(folder: str, attention: int) -> Reader:
    network, tokenizer = load_model(folder)
    marker = Marker(tokenizer, "special")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        marker.resize(network)
        model = RelationClassifier(network, 2, TuningConfig(attention=attention, dropout=0.0))
    data = RelationData("toy", ("born", "lives"), ("",) * 2, ("",) * 2, tuple(EXAMPLES), (), ())
    return Reader(marker, model, data, Runtime.from_config(RuntimeConfig(device="cpu")))


def test_the_largest_weights_between_both_in_either_direction() -> None:
    torch.manual_seed(0)
    role = torch.tensor([[NEITHER, HEAD, HEAD, TAIL], [TAIL, NEITHER, HEAD, NEITHER]])
    batch = RowBatch(torch.zeros(2, 4, dtype=torch.long), torch.ones(2, 4, dtype=torch.bool), role)
    attentions = [torch.rand(2, 3, 4, 4) for _ in range(2)]
    weights, places = between(attentions, batch, 20)
    pairs = [[(1, 3), (2, 3), (3, 1), (3, 2)], [(0, 2), (2, 0)]]
    for row in range(2):
        expected = sorted(
            (float(layer[row, head, a, b])
             for layer in attentions for head in range(3) for a, b in pairs[row]),
            reverse=True,
        )  # fmt: skip
        expected = (expected + [0.0] * 20)[:20]
        torch.testing.assert_close(weights[row], torch.tensor(expected))
        flat = torch.stack(attentions, dim=1)[row].flatten()
        torch.testing.assert_close(
            flat[places[row]][weights[row] > 0], weights[row][weights[row] > 0]
        )
    prefixed = [torch.cat([torch.ones(2, 3, 4, 5), one], 3) for one in attentions]
    for found, expected in zip(between(prefixed, batch, 20), (weights, places), strict=True):
        assert torch.equal(found, expected)
    narrow, _ = between([one[:, :1] for one in attentions[:1]], batch, 40)
    assert narrow.shape == (2, 40)
    assert not narrow[:, 16:].any()


def test_features_join_the_input_and_learn(tiny_bert: str) -> None:
    with_features, without = reader(tiny_bert, 6).model, reader(tiny_bert, 0).model
    assert with_features.hidden.in_features == without.hidden.in_features + 6
    rows = reader(tiny_bert, 6).marker.rows(EXAMPLES).batch(torch.arange(5))
    with torch.no_grad():
        # Where the features count for nothing, the model is the one without them.
        with_features.hidden.weight[:, -6:] = 0
        with_features.hidden.weight[:, :-6] = without.hidden.weight
        with_features.hidden.bias.copy_(without.hidden.bias)
        with_features.head.load_state_dict(without.head.state_dict())
    torch.testing.assert_close(with_features.eval()(rows), without.eval()(rows))
    with_features(rows).sum().backward()
    assert with_features.hidden.weight.grad[:, -6:].abs().sum() > 0


def test_the_report_names_the_tokens(tiny_bert: str) -> None:
    plain = reader(tiny_bert, 0)
    before = plain.model.network.config._attn_implementation
    found = list(attention_report(plain, EXAMPLES, batch_size=2))
    assert plain.model.network.config._attn_implementation == before
    assert [one["text"] for one in found] == [one.text for one in EXAMPLES]
    for one, example in zip(found, EXAMPLES, strict=True):
        names = {example.text[a:b] for a, b in (example.head, example.tail)}
        weights = [x["weight"] for x in one["attention"]]
        assert weights == sorted(weights, reverse=True)
        assert len(weights) == 10
        for x in one["attention"]:
            assert {x["from"], x["to"]} == names
            assert 0 <= x["layer"] < 3 and 0 <= x["head"] < 2
    whole = list(attention_report(plain, EXAMPLES))
    for a, b in zip(found, whole, strict=True):
        torch.testing.assert_close(
            torch.tensor([x["weight"] for x in a["attention"]]),
            torch.tensor([x["weight"] for x in b["attention"]]),
        )
    prefixed = reader(tiny_bert, 0)
    model = prefixed.members[0]
    model.network = attach(model.network, EfficientConfig(method="prefix", tokens=4), [])
    for one, other in zip(attention_report(prefixed, EXAMPLES), found, strict=True):
        ends = [{x["from"], x["to"]} for x in one["attention"]]
        assert ends and all(end == {x["from"] for x in other["attention"]} for end in ends)
    assert len(next(attention_report(reader(tiny_bert, 3), EXAMPLES))["attention"]) == 3
