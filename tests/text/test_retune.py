"""Going on with a run: what is carried over, learnt, forgotten, refused and replaced."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from relgnn.config import RelationConfig, load_run_config
from relgnn.config.continued import ContinuedConfig
from relgnn.data.relations import Example, RelationData
from relgnn.errors import InputError
from relgnn.posterior.softmax import softmax_report
from relgnn.runtime import Runtime
from relgnn.text.reader import Reader, load_data, make_reader, open_reader
from relgnn.text.relation_run import evaluate_run, run_relations
from relgnn.text.retune import (
    add_data,
    carry_over,
    compare,
    continued_config,
    new_data,
    replace_run,
    replayed,
    what_got_worse,
)
from relgnn.training import Interrupted, Trainer, load_json, load_tensors, save_json
from tests.text.toy import PEOPLE, TOWNS

OLD = {"born": "was born in", "lives": "lives now in", "Other": "saw"}
NEW = {"left": "far away from", "Other": "saw the painter and"}
RATES = "extraction: {epochs: 8, batch_size: 16, lr: 3.0e-3, head_lr: 1.0e-2}"


def write(folder: Path, verbs: dict[str, str], towns: str, valid: bool = True) -> Path:
    """A person of each, a town of each, and what is between; towns are of the given type."""
    folder.mkdir(parents=True)
    (folder / "relations.tsv").write_text("".join(f"{label}\t{label} it\t\n" for label in verbs))
    lines = []
    for person in PEOPLE:
        for town in TOWNS:
            for label, verb in verbs.items():
                text = f"{person} {verb} {town} ."
                end = len(text) - 2
                lines.append(json.dumps({
                    "text": text, "head": {"span": [0, len(person)], "type": "PER"},
                    "tail": {"span": [end - len(town), end], "type": towns}, "relation": label,
                }))  # fmt: skip
    order = np.random.default_rng(0).permutation(len(lines)).tolist()
    parts = {"train": order[:70], "test": order[100:130]}
    if valid:
        parts["valid"] = order[70:100]
    for split, rows in parts.items():
        (folder / f"{split}.jsonl").write_text("".join(lines[i] + "\n" for i in rows))
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("world")
    new = write(folder / "new", NEW, "LOC", valid=False)
    return write(folder / "old", OLD, "LOC"), new


@pytest.fixture(scope="module")
def old_run(
    world: tuple[Path, Path], tiny_bert: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run on the old sentences; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "old"
    path = folder.parent / "old.yaml"
    path.write_text(
        f"data: {{path: {world[0]}}}\ntext: {{model: {tiny_bert}, max_tokens: 32}}\n{RATES}\n"
        "runtime: {threads: 1}\nexpected: {macro_f1: 0.5}\nsource: nowhere\n"
    )
    config = load_run_config(path)
    assert isinstance(config, RelationConfig)
    run_relations(config, folder)
    return folder


def continued(old_run: Path, world: tuple[Path, Path], replay: float, *changes: str) -> Any:
    # as fast as at first: these sentences are few
    rates = ["extraction.lr=3e-3", "extraction.head_lr=1e-2"]
    return continued_config(old_run, world[1], replay, 0.02, [*rates, *changes])


@pytest.fixture(scope="module")
def new_run(old_run: Path, world: tuple[Path, Path]) -> Path:
    """A finished continuation with replay; not to be changed."""
    folder = old_run.parent / "new"
    run_relations(continued(old_run, world, 0.5), folder)
    return folder


def examples(relations: list[int], first: int = 0) -> tuple[Example, ...]:
    return tuple(
        Example(f"a {first + i} b", (0, 1), (4, 5), r, "PER", "LOC")
        for i, r in enumerate(relations)
    )


def test_labels_are_joined_and_what_is_held_out_is_not_learnt(world: tuple[Path, Path]) -> None:
    old = load_old(world[0])
    step = ContinuedConfig(run=world[0], data=world[1], replay=0.5)
    fresh, both = new_data(old, step), add_data(old, step)
    assert both.labels == fresh.labels == ("born", "lives", "Other", "left")
    assert both.label_names[3] == "left it"
    assert {both.labels[one.relation] for one in fresh.train} == {"left", "Other"}
    # no valid file: a tenth of the new train selects
    assert len(fresh.train) + len(fresh.valid) == 70 and 5 <= len(fresh.valid) <= 9
    assert both.test == (*old.test, *fresh.test) and both.valid == (*old.valid, *fresh.valid)
    old_part = [one for one in both.train if one in set(old.train)]
    assert len(old_part) == pytest.approx(35, abs=2)
    assert len(both.train) == len(old_part) + len(fresh.train)
    other = step.model_copy(update={"seed": 1})
    assert add_data(old, step).train == both.train != add_data(old, other).train
    leaked = RelationData(
        "d", old.labels, old.label_names, old.descriptions, old.train, old.valid, fresh.train[:9]
    )
    kept = add_data(leaked, step).train
    assert not set(kept) & set(fresh.train[:9])


def load_old(folder: Path) -> RelationData:
    from relgnn.data.relations import read_relations

    return read_relations(folder)


def test_replay_keeps_every_relation_s_share() -> None:
    train = examples([0] * 40 + [1] * 20)
    generator = np.random.default_rng(0)
    assert replayed(train, 0.0, generator) == ()
    assert replayed(train, 1.0, generator) == train
    found = replayed(train, 0.25, generator)
    assert [sum(one.relation == r for one in found) for r in (0, 1)] == [10, 5]


GROWN = ("a", "b", "c")
THRESHOLD = ["extraction.loss=threshold", "extraction.multi_label=true"]


@pytest.mark.parametrize(("changes", "labels"), [
    ([], GROWN), (["extraction.marking=typed"], GROWN), (["extraction.marking=none"], GROWN),
    (["extraction.ensemble=2"], GROWN), (THRESHOLD, GROWN), (THRESHOLD, ("a", "b", "NA")),
    (["extraction.efficient={}"], GROWN),
])  # fmt: skip
def test_a_grown_model_says_of_old_labels_what_the_old_one_said(
    tiny_bert: str, tmp_path: Path, changes: list[str], labels: tuple[str, ...]
) -> None:
    if "extraction.efficient={}" in changes:
        pytest.importorskip("peft")
    ensemble = "extraction.ensemble=2" in changes
    old, train = reader(tiny_bert, tmp_path, changes, ("a", "b"), ["LOC"], 0)
    # DAY comes before LOC, so that the markers' numbers move
    kinds = ["DAY", "LOC"] if "extraction.marking=typed" in changes else ["LOC"]
    new, more = reader(tiny_bert, tmp_path, changes, labels, kinds, 1)
    assert not np.allclose(old.logits(train), new.logits(train)[:, :2])
    carry_over(old, new)
    found = new.logits(more)
    assert np.isfinite(found).all() and found.shape == (len(more), 3)
    for one, other in zip(old.members, new.members, strict=True):
        own = replace(old, model=one).logits(train)
        np.testing.assert_allclose(replace(new, model=other).logits(train)[:, :2], own, atol=1e-6)
    assert len(new.members) == 1 + ensemble


def test_a_threshold_may_be_given_up(tiny_bert: str, tmp_path: Path) -> None:
    old, _ = reader(tiny_bert, tmp_path, THRESHOLD, ("a", "b"), ["LOC"], 0)
    new, _ = reader(tiny_bert, tmp_path, [], ("a", "b", "c"), ["LOC"], 1)
    carry_over(old, new)
    [one], [other] = old.members, new.members
    assert len(one.head.weight) == 3  # its threshold is the last, and no label's
    assert torch.equal(one.head.weight[:2], other.head.weight[:2])
    assert not torch.equal(one.head.weight[2], other.head.weight[2])


def reader(
    model: str,
    folder: Path,
    changes: list[str],
    labels: tuple[str, ...],
    kinds: list[str],
    seed: int,
) -> tuple[Reader, tuple[Example, ...]]:
    path = folder / "a.yaml"
    path.write_text(
        f"data: {{path: x}}\ntext: {{model: {model}, max_tokens: 32}}\nextraction: {{}}\n"
    )
    config = load_run_config(path, [*changes, f"runtime.seed={seed}"])
    assert isinstance(config, RelationConfig)
    train = tuple(Example("Ada saw Bonn", (0, 3), (8, 12), 0, "PER", kind) for kind in kinds)
    data = RelationData("d", labels, labels, labels, train, train, train)
    return make_reader(config, data, Runtime.from_config(config.runtime)), train


def test_models_of_another_shape_are_not_carried_over(tiny_bert: str, tmp_path: Path) -> None:
    adapters = ["extraction.efficient={method: adapter}", "extraction.marking=none"]
    shapes = (
        [], ["extraction.pooling=markers"], ["extraction.ensemble=2"], adapters, adapters[1:]
    )  # fmt: skip
    plain, pooled, two, adapted, bare = (
        reader(tiny_bert, tmp_path, changes, ("a",), ["LOC"], 0)[0] for changes in shapes
    )
    with pytest.raises(InputError, match=r"hidden.weight does not fit .* keeps marking, pooling"):
        carry_over(pooled, plain)
    with pytest.raises(InputError, match="an ensemble of 2"):
        carry_over(two, plain)
    with pytest.raises(InputError, match="has no place in the model.*extraction.efficient as it"):
        carry_over(adapted, bare)


def test_several_labels_a_sentence_are_compared(tiny_bert: str, tmp_path: Path) -> None:
    old, train = reader(tiny_bert, tmp_path, THRESHOLD, ("a", "b"), ["LOC"], 0)
    new, _ = reader(tiny_bert, tmp_path, THRESHOLD, GROWN, ["LOC"], 0)
    carry_over(old, new)
    fresh = replace(new.data, valid=(train[0]._replace(relation=2),), test=())
    found = compare(old, new, fresh, "micro_f1", 0.0)
    assert set(found["before"]) == {"old_valid", "old_test", "new_valid", "valid", "test"}
    assert found["before"]["new_valid"] == {"macro_f1": 0, "micro_f1": 0}
    truth = old.logits(train)[0, 0] > 0
    assert (
        found["before"]["old_valid"]["macro_f1"] == found["after"]["old_valid"]["macro_f1"] == truth
    )


@pytest.mark.parametrize(("after", "told"), [
    ((0.5, 0.8), None), ((0.6, 0.79), None),
    ((0.49, 0.9), "both valid sets together fell from 0.5"),
    ((0.6, 0.77), "macro_f1 on the old valid set fell from 0.800 to 0.770"),
])  # fmt: skip
def test_what_got_worse(after: tuple[float, float], told: str | None) -> None:
    def figures(whole: float, old: float) -> dict[str, dict[str, float]]:
        return {"valid": {"macro_f1": whole}, "old_valid": {"macro_f1": old}}

    found = what_got_worse(figures(0.5, 0.8), figures(*after), "macro_f1", 0.02)
    assert (found is None) if told is None else (found is not None and told in found)


def test_a_continued_run_learns_the_new_and_opens(
    old_run: Path, new_run: Path, world: tuple[Path, Path]
) -> None:
    metrics = load_json(new_run / "metrics.json")
    found = metrics["continued"]
    assert found["before"]["new_test"]["macro_f1"] == 0
    assert found["after"]["new_test"]["macro_f1"] > 0.8
    assert found["after"]["old_test"]["macro_f1"] > 0.8
    assert found["accepted"] and found["worse"] is None
    old_test = load_json(old_run / "metrics.json")["test"]
    assert found["before"]["old_test"] == pytest.approx(
        {k: old_test[k] for k in ("macro_f1", "micro_f1")}
    )
    again = evaluate_run(new_run, "test")
    assert again == pytest.approx({name: metrics["test"][name] for name in again})
    reader = open_reader(new_run)
    assert reader.data.labels == ("born", "lives", "Other", "left")
    assert (new_run / "vocab" / "relations.tsv").read_text().startswith("born\tborn it\t\n")
    config = load_run_config(new_run / "config.yaml")
    assert isinstance(config, RelationConfig)
    assert config.continued[0].run == old_run.resolve() and not config.expected
    assert load_data(config).labels == reader.data.labels


def assert_says_what_it_said(run: Path) -> None:
    told = load_json(run / "metrics.json")["test"]
    again = evaluate_run(run, "test")
    assert again == pytest.approx({name: told[name] for name in again})
    reader = open_reader(run)
    truth = np.array([one.relation for one in reader.data.test])
    logits = reader.logits(reader.data.test)
    found = softmax_report(logits, truth, np.random.default_rng(0), draws=1)
    assert found["log_loss"] == pytest.approx(told["log_loss_before"], rel=1e-5)


def test_fewer_layers_go_on_from_what_all_have_learnt(
    old_run: Path, world: tuple[Path, Path], tmp_path: Path
) -> None:
    fewer = ["extraction.layers=1", "extraction.epochs=1"]
    run_relations(continued(old_run, world, 0.5, *fewer), tmp_path / "run")
    assert_says_what_it_said(tmp_path / "run")
    # once more, from layers that were frozen
    run_relations(continued(tmp_path / "run", world, 0.5, *fewer), tmp_path / "again")
    assert_says_what_it_said(tmp_path / "again")


def test_frozen_markers_stay_under_another_seed_and_with_new_types(
    world: tuple[Path, Path], old_run: Path, tmp_path: Path
) -> None:
    changes = ["extraction.layers=1", "extraction.epochs=1", "extraction.marking=typed"]
    config = load_run_config(old_run / "config.yaml", changes)
    assert isinstance(config, RelationConfig)
    run_relations(config, tmp_path / "old")
    new = write(tmp_path / "new_data", NEW, "DAY", valid=False)
    seed = "runtime.seed=3"
    found = run_relations(continued(tmp_path / "old", (world[0], new), 0.5, seed), tmp_path / "new")
    told = load_json(tmp_path / "old" / "metrics.json")["test"]
    before = found["continued"]["before"]["old_test"]
    assert before == pytest.approx({name: told[name] for name in before})
    logits = [
        open_reader(tmp_path / "old", runtime) for runtime in (None, Runtime.from_config(
            continued(tmp_path / "old", world, 0.5, seed).runtime
        ))
    ]  # fmt: skip
    first, second = (one.logits(one.data.test) for one in logits)
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert_says_what_it_said(tmp_path / "new")


def test_few_tuned_parameters_alone_are_kept(
    world: tuple[Path, Path], old_run: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    changes = ["extraction.efficient={}", "extraction.epochs=1"]
    config = load_run_config(old_run / "config.yaml", changes)
    assert isinstance(config, RelationConfig)
    run_relations(config, tmp_path / "old")
    run_relations(continued(tmp_path / "old", world, 0.5), tmp_path / "new")
    kept = load_tensors(tmp_path / "new" / "checkpoint.safetensors")[0]
    assert not any(name.endswith("position_embeddings.weight") for name in kept)
    assert_says_what_it_said(tmp_path / "new")


def test_a_continuation_cannot_say_no_relation_in_two_ways(
    world: tuple[Path, Path], tmp_path: Path
) -> None:
    old, new = load_old(world[0]), write(tmp_path / "new", {"left": "far from", "NA": "saw"}, "LOC")
    with pytest.raises(InputError, match="'Other' and 'NA' both say that no relation") as caught:
        new_data(old, ContinuedConfig(run=world[0], data=new, replay=0.5))
    assert str(new) in str(caught.value) and "\n" not in str(caught.value)


def test_an_interrupted_continuation_goes_on_to_the_same_numbers(
    old_run: Path, new_run: Path, world: tuple[Path, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    class Stopping(Trainer):
        def fit(self, task: Any, *args: Any, **options: Any) -> Any:
            steps = []

            def stepped() -> None:
                steps.append(1)
                if len(steps) == 8:
                    raise KeyboardInterrupt

            self.save_seconds = 0
            task.stepped = stepped
            return super().fit(task, *args, **options)

    monkeypatch.setattr("relgnn.training.keeping.Trainer", Stopping)
    config = continued(old_run, world, 0.5)
    with pytest.raises(Interrupted):
        run_relations(config, tmp_path / "part")
    assert (tmp_path / "part" / "resume" / "state.safetensors").exists()
    monkeypatch.undo()
    saved = load_run_config(tmp_path / "part" / "config.yaml")
    assert isinstance(saved, RelationConfig) and saved == config
    resumed = run_relations(saved, tmp_path / "part", resume=True)
    whole = load_json(new_run / "metrics.json")
    different = ("seconds", "peak_memory_mb")
    assert {k: v for k, v in resumed.items() if k not in different} == {
        k: v for k, v in whole.items() if k not in different
    }


def test_rates_fall_once_and_valid_is_not_trained_on(
    old_run: Path, new_run: Path, tmp_path: Path
) -> None:
    first = continued_config(old_run, tmp_path, 0.3, 0.02)
    assert (first.extraction.lr, first.extraction.head_lr) == pytest.approx((1e-3, 1e-2 / 3))
    assert first.extraction.epochs == 8
    second = continued_config(
        new_run, tmp_path, 0.0, 0.1, ["extraction.epochs=7", "runtime.seed=4"]
    )
    assert second.extraction.lr == 3e-3 and second.extraction.epochs == 7
    assert [(step.replay, step.seed) for step in second.continued] == [(0.5, 0), (0.0, 4)]
    assert len({c.sha256() for c in (first, second)}) == 2


@pytest.mark.parametrize(("change", "told"), [
    ("extraction.refit=true", "neither refits nor"), ("semi={}", "nor labels sentences itself"),
    ("text.max_tokens=16", "keeps its data, text and pre-training"),
    ("pretraining={}", "keeps its data, text and pre-training"),
    ("extraction.epoch=3", "'extraction.epochs'?"),
])  # fmt: skip
def test_changes_that_a_continuation_cannot_have(old_run: Path, change: str, told: str) -> None:
    with pytest.raises(InputError, match=told.replace("?", r"\?")):
        continued_config(old_run, old_run, 0.3, 0.02, [change])


def test_runs_that_cannot_be_continued(
    old_run: Path, world: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="has no config.yaml"):
        continued_config(tmp_path, world[1], 0.3, 0.02)
    copy = Path(shutil.copytree(old_run, tmp_path / "copy"))
    (copy / "metrics.json").unlink()
    with pytest.raises(InputError, match="has not ended; end it first with"):
        continued_config(copy, world[1], 0.3, 0.02)
    config = continued(old_run, world, 0.3, "extraction.pooling=markers")
    with pytest.raises(InputError, match="keeps marking, pooling"):
        run_relations(config, tmp_path / "run")
    (tmp_path / "graph").mkdir()
    (tmp_path / "graph" / "config.yaml").write_text("data: {name: umls}\n")
    with pytest.raises(InputError, match="is no run of relation extraction"):
        continued_config(tmp_path / "graph", world[1], 0.3, 0.02)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        run_relations(continued_config(old_run, tmp_path / "nowhere", 0.3, 0.02), tmp_path / "x")


def test_the_old_run_is_replaced_only_by_an_accepted_one(
    old_run: Path, new_run: Path, tmp_path: Path
) -> None:
    old = Path(shutil.copytree(old_run, tmp_path / "old"))
    new = Path(shutil.copytree(new_run, tmp_path / "new"))
    config = (new / "config.yaml").read_text().replace(str(old_run.resolve()), str(old))
    (new / "config.yaml").write_text(config)
    metrics = load_json(new / "metrics.json")
    refused = metrics | {
        "continued": metrics["continued"] | {"accepted": False, "worse": "F1 fell"}
    }
    save_json(new / "metrics.json", refused)
    before = (old / "checkpoint.safetensors").read_bytes()
    with pytest.raises(InputError, match="keeps its checkpoint, because F1 fell") as caught:
        replace_run(new)
    assert caught.value.exit_code == 2
    assert (old / "checkpoint.safetensors").read_bytes() == before
    assert not list(old.glob("*previous*"))
    save_json(new / "metrics.json", metrics)
    for _ in range(2):  # the second time repairs what a crash may have left, and keeps the first's
        assert replace_run(new) == old
        assert (old / "checkpoint.previous.safetensors").read_bytes() == before
        assert (old / "checkpoint.safetensors").read_bytes() != before
    assert load_tensors(old / "checkpoint.safetensors")[0]["head.bias"].shape == (4,)
    assert open_reader(old).data.labels[3] == "left"
    assert evaluate_run(old, "test") == pytest.approx(evaluate_run(new, "test"))
    with pytest.raises(InputError, match="is no continued run"):
        replace_run(old_run)


def test_a_pre_trained_run_is_continued_from_its_own_model(
    old_run: Path, world: tuple[Path, Path], masked_bert: str, tmp_path: Path
) -> None:
    changes = ["extraction.epochs=1", "extraction.layers=1", "pretraining.epochs=1"]
    config = load_run_config(old_run / "config.yaml", [*changes, f"text.model={masked_bert}"])
    assert isinstance(config, RelationConfig)
    run_relations(config, tmp_path / "old")
    further = continued_config(tmp_path / "old", world[1], 0.5, 1.0)
    metrics = run_relations(further, tmp_path / "new")
    assert "pretraining" not in metrics
    # it stands alone
    shutil.rmtree(tmp_path / "old")
    again = evaluate_run(tmp_path / "new", "test")
    assert again == pytest.approx({name: metrics["test"][name] for name in again})


def test_hardened_training_starts_from_what_was_learnt_too(
    old_run: Path, world: tuple[Path, Path], tmp_path: Path
) -> None:
    still = ["extraction.lr=1e-12", "extraction.head_lr=1e-12", "extraction.epochs=1"]
    config = continued(old_run, world, 0.3, *still, "augmentation={kinds: [adversarial]}")
    found = run_relations(config, tmp_path / "run")["continued"]
    assert found["after"]["old_test"] == pytest.approx(found["before"]["old_test"], abs=0.05)
