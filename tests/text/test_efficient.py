from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from relgnn.config import EfficientConfig, RelationConfig, TuningConfig, load_run_config
from relgnn.data.relations import Example
from relgnn.errors import InputError
from relgnn.text import relation_fit
from relgnn.text.classifier import RelationClassifier
from relgnn.text.classifier_task import ClassifierTask
from relgnn.text.efficient import (
    Bottleneck,
    GrownEmbedding,
    RankAllocation,
    allocation,
    attach,
    merge,
    parameter_counts,
)
from relgnn.text.encoder import load_model
from relgnn.text.relation_run import evaluate_run, run_relations
from relgnn.text.rows import Marker, RowBatch
from relgnn.training import Interrupted, Trainer, TrainSettings, module_tensors
from tests.experiments.tiny import write_tiny_relations
from tests.text.toy import toy_occurrences

METHODS = ("lora", "adalora", "ia3", "prefix", "adapter")
EXAMPLES = [
    Example(row.text, row.head_span, row.tail_span, int(label))
    for row, label in zip(*toy_occurrences()[::2], strict=True)
][:32]


def build(folder: str, method: str, **changes: Any) -> tuple[RelationClassifier, RowBatch, Marker]:
    efficient = EfficientConfig(method=method, rank=4, **changes)  # type: ignore[arg-type]
    network, tokenizer = load_model(folder)
    marker = Marker(tokenizer)
    torch.manual_seed(0)
    marker.resize(network)
    tuning = TuningConfig(efficient=efficient, dropout=0.0, lr=1e-2, head_lr=1e-2)
    model = RelationClassifier(network, 2, tuning)
    model.network = attach(network, efficient, marker.new_tokens)
    return model, marker.rows(EXAMPLES).batch(torch.arange(32)), marker


def shaken(model: RelationClassifier) -> None:
    """Move every trained number, so that nothing is what it began with."""
    generator = torch.Generator().manual_seed(1)
    for p in model.parameters():
        if p.requires_grad:
            p.data += 0.1 * torch.randn(p.shape, generator=generator)


@pytest.mark.parametrize("method", METHODS)
def test_few_parameters_learn_and_new_markers_among_them(tiny_bert: str, method: str) -> None:
    model, batch, marker = build(tiny_bert, method)
    model(batch).square().sum().backward()
    reached = {n for n, p in model.named_parameters() if p.grad is not None}
    assert reached == {n for n, p in model.named_parameters() if p.requires_grad}
    [rows] = [p for n, p in model.named_parameters() if n.endswith("word_embeddings.rows")]
    assert len(rows) == len(marker.new_tokens) == 4
    assert (rows.grad[[0, 2]] != 0).any(1).all()
    counts = parameter_counts(model)
    heads = sum(p.numel() for layer in (model.hidden, model.head) for p in layer.parameters())
    assert rows.numel() + heads < counts["trained"] < 0.5 * counts["total"]
    assert sum(v.numel() for v in module_tensors(model).values()) <= counts["trained"]


@pytest.mark.parametrize("method", ["lora", "ia3", "adapter"])
def test_at_first_nothing_is_changed(tiny_bert: str, method: str) -> None:
    model, batch, _ = build(tiny_bert, method)
    network, tokenizer = load_model(tiny_bert)
    torch.manual_seed(0)
    Marker(tokenizer).resize(network)
    plain = RelationClassifier(network, 2, TuningConfig()).eval()
    model.eval()
    plain.hidden, plain.head = model.hidden, model.head
    torch.testing.assert_close(model(batch), plain(batch))


@pytest.mark.parametrize("method", ["lora", "adalora", "ia3"])
def test_merged_says_the_same(tiny_bert: str, method: str) -> None:
    model, batch, _ = build(tiny_bert, method)
    first = model.eval()(batch)
    shaken(model)
    before = model(batch)
    model.network = merge(model.network)
    torch.testing.assert_close(model(batch), before, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(first, before, atol=1e-2)
    plain = RelationClassifier(load_model(tiny_bert)[0], 2, TuningConfig())
    assert model.state_dict().keys() == plain.state_dict().keys()


def test_a_prefix_is_keys_and_values_of_every_layer(tiny_bert: str) -> None:
    model, batch, _ = build(tiny_bert, "prefix", tokens=5)
    [weight] = [p for n, p in model.named_parameters() if "prompt_encoder" in n]
    assert weight.shape == (5, 3 * 2 * 32)
    model.eval()
    before = model(batch)
    for layer in range(3):  # values of the layer, in each of which they matter
        with torch.no_grad():
            weight[:, (2 * layer + 1) * 32 : (2 * layer + 2) * 32] += 1
        after = model(batch)
        assert not torch.allclose(before, after, atol=1e-4)
        before = after
    longest = int(batch.mask.sum(1).max())
    padded = RowBatch(*(
        torch.nn.functional.pad(x, (0, 3)) for x in (batch.ids, batch.mask, batch.role)
    ))  # fmt: skip
    assert padded.ids.shape[1] == longest + 3
    torch.testing.assert_close(model(padded), before, rtol=1e-4, atol=1e-5)


def test_a_grown_embedding_learns_its_new_rows_alone() -> None:
    base = torch.nn.Embedding(6, 3).requires_grad_(False)
    grown = GrownEmbedding(base, 4, 2)
    ids = torch.tensor([[0, 4], [5, 3]])
    assert torch.equal(grown(ids), base(ids))
    with torch.no_grad():
        grown.rows += 1
    moved = torch.tensor([[False, True], [True, False]])
    assert torch.equal(grown(ids) - base(ids) > 0.5, moved[..., None].expand(-1, -1, 3))
    expected = grown(ids)
    assert torch.equal(grown.merged()(ids), expected)


def test_a_bottleneck_is_the_equation() -> None:
    layer, x = Bottleneck(6, 2), torch.randn(4, 6)
    assert torch.equal(layer(x), x)
    torch.nn.init.normal_(layer.up.weight)
    inner = torch.nn.functional.gelu(x @ layer.down.weight.T + layer.down.bias)
    torch.testing.assert_close(layer(x), x + inner @ layer.up.weight.T + layer.up.bias)


def fit(
    folder: str, state: Path | None, epochs: int = 3, stop: int | None = None, resume: bool = False
) -> tuple[RelationClassifier, RankAllocation]:
    """Train AdaLoRA on the toy world; it may stop after some steps and go on."""
    model, _, marker = build(folder, "adalora")
    labels = torch.tensor([one.relation for one in EXAMPLES])
    [ranks] = allocation(model, 4 * epochs)
    assert isinstance(ranks, RankAllocation)
    tuning = model.settings.model_copy(update={"batch_size": 8})
    task = ClassifierTask(model, marker.rows(EXAMPLES), labels, None, None, tuning, [ranks])  # type: ignore[arg-type]
    if stop is not None:
        stepped, calls = ranks.stepped, []

        def stopping(of: RelationClassifier) -> None:
            stepped(of)
            calls.append(1)
            if len(calls) == stop + 1:
                raise KeyboardInterrupt

        ranks.stepped = stopping  # type: ignore[method-assign]
    Trainer(TrainSettings(epochs=epochs, lr=1e-2), save_seconds=0.0).fit(task, state, resume)
    return model, ranks


def test_adalora_keeps_the_ranks_it_may_keep(tiny_bert: str) -> None:
    model, ranks = fit(tiny_bert, None)
    # six layers begin with rank 6; on average 4 are left
    assert int(ranks.kept.sum()) == 6 * 4
    left = [p for n, p in model.named_parameters() if ".lora_E." in n]
    assert sum(int((p != 0).sum()) for p in left) == 6 * 4
    assert int(ranks.step) == 12


@pytest.mark.parametrize("stop", [2, 6, 10])
def test_adalora_goes_on_as_if_it_had_not_stopped(
    tiny_bert: str, tmp_path: Path, stop: int
) -> None:
    whole, ranks = fit(tiny_bert, None)
    with pytest.raises(Interrupted):
        fit(tiny_bert, tmp_path, stop=stop)
    resumed, again = fit(tiny_bert, tmp_path, resume=True)
    for name, value in module_tensors(whole).items():
        assert torch.equal(value, module_tensors(resumed)[name]), name
    for name, value in ranks.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_the_orthogonality_is_that_of_the_factors(tiny_bert: str) -> None:
    model, _, _ = build(tiny_bert, "adalora")
    [ranks] = allocation(model, 10)
    step: Any = type("Step", (), {"model": model})
    found = float(ranks(step).detach())
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".lora_A." in name:
                p.copy_(torch.eye(*p.shape))
            if ".lora_B." in name:
                p.copy_(torch.eye(*p.shape))
    assert float(ranks(step).detach()) == pytest.approx(0, abs=1e-6) != found
    assert allocation(build(tiny_bert, "lora")[0], 10) == []


def config(folder: Path, model: str, efficient: str) -> RelationConfig:
    path = folder / "config.yaml"
    path.write_text(
        f"data: {{path: {write_tiny_relations(folder / 'data')}}}\n"
        f"text: {{model: {model}, max_tokens: 32}}\n"
        f"extraction: {{epochs: 2, batch_size: 8, lr: 1.0e-2, efficient: {efficient}}}\n"
    )
    found = load_run_config(path)
    assert isinstance(found, RelationConfig)
    return found


@pytest.mark.parametrize(("method", "save"), [
    *((method, "adapter") for method in METHODS), ("lora", "merged"), ("adalora", "merged"),
    ("ia3", "merged"),
])  # fmt: skip
def test_a_run_is_saved_and_opened(tiny_bert: str, tmp_path: Path, method: str, save: str) -> None:
    settings = config(tmp_path, tiny_bert, f"{{method: {method}, rank: 2, save: {save}}}")
    metrics = run_relations(settings, tmp_path / "run")
    counts = metrics["parameters"]
    assert metrics["rows"]["final"]["trained_parameters"] == counts["trained"]
    size = (tmp_path / "run" / "checkpoint.safetensors").stat().st_size
    limit = 4 * counts["trained"] + 20_000
    assert size < limit if save == "adapter" else size > limit
    again = evaluate_run(tmp_path / "run", "test")
    assert again == pytest.approx({name: metrics["test"][name] for name in again})


def test_adalora_counts_accumulated_steps(
    tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(tmp_path, tiny_bert, "{method: adalora}, accumulate: 2")
    stepped, told, taken = RankAllocation.stepped, [], []

    def counting(self: RankAllocation, model: RelationClassifier) -> None:
        taken.append(1)
        stepped(self, model)

    def telling(model: RelationClassifier, steps: int) -> list[Any]:
        told.append(steps)
        return allocation(model, steps)

    monkeypatch.setattr(RankAllocation, "stepped", counting)
    monkeypatch.setattr(relation_fit, "allocation", telling)
    run_relations(settings, tmp_path / "run")
    # 24 sentences are three batches, which are two steps, in each of two epochs
    assert told == [4] == [len(taken)]


@pytest.mark.parametrize("method", ["lora", "adalora", "ia3", "adapter"])
def test_layers_that_are_not_there(tiny_bert: str, method: str) -> None:
    with pytest.raises(InputError) as caught:
        build(tiny_bert, method, targets=["nowhere"])
    assert "extraction.efficient.targets" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("efficient", "told"), [
    ("{method: prefix, save: merged}", "cannot merge prefix"),
    ("{method: lora}, layers: 1", "either upper layers or efficient"),
])  # fmt: skip
def test_what_cannot_be_together(tiny_bert: str, tmp_path: Path, efficient: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        config(tmp_path, tiny_bert, efficient)
