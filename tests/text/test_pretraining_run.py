from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from relgnn.config import PretrainingRunConfig, RelationConfig, load_run_config
from relgnn.errors import InputError
from relgnn.text.encoder import load_model
from relgnn.text.pretraining_run import run_pretraining
from relgnn.text.relation_run import evaluate_run, run_relations
from relgnn.training import Interrupted, Trainer, load_json
from tests.experiments.tiny import write_tiny, write_tiny_relations

PRETRAINING = "{objectives: both, epochs: 2, batch_size: 8, entities: 0.3}"


def config(folder: Path, data: Path, model: str, more: str = "") -> Any:
    path = folder / "config.yaml"
    path.write_text(
        f"data: {{path: {data}}}\ntext: {{model: {model}, max_tokens: 32}}\n"
        f"pretraining: {PRETRAINING}\n{more}"
    )
    return load_run_config(path)


def stop_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    fit, calls = Trainer.fit, []

    def stopping(self: Trainer, *args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            raise Interrupted("stopped")
        return fit(self, *args, **options)

    monkeypatch.setattr(Trainer, "fit", stopping)


def test_a_run_leaves_a_language_model(masked_bert: str, tmp_path: Path) -> None:
    settings = config(tmp_path, write_tiny(tmp_path / "data"), masked_bert)
    assert isinstance(settings, PretrainingRunConfig)
    metrics = run_pretraining(settings, tmp_path / "run")
    assert metrics == load_json(tmp_path / "run" / "metrics.json")
    assert metrics["rows"]["final"] == metrics["held_out"]
    assert set(metrics["held_out"]) == {
        "perplexity", "perplexity_before", "nsp_accuracy", "nsp_accuracy_before",
    }  # fmt: skip
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [one["task"] for one in log] == ["pre-training's heads", "pre-training", "pre-training"]
    before, (after, tokenizer) = load_model(masked_bert)[0], load_model(str(tmp_path / "run/model"))
    assert tokenizer.mask_token == "[MASK]"
    changed = [
        name for name, value in before.state_dict().items()
        if not value.equal(after.state_dict()[name])
    ]  # fmt: skip
    assert any("encoder.layer.0" in name for name in changed)
    assert not list((tmp_path / "run").glob("model/*.bin"))
    with pytest.raises(InputError, match="holds a run already"):
        run_pretraining(settings, tmp_path / "run")


@pytest.mark.parametrize("stop", [1, 2])
def test_a_resumed_run_is_the_whole_one(
    masked_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    settings = config(tmp_path, write_tiny(tmp_path / "data"), masked_bert)
    whole = run_pretraining(settings, tmp_path / "whole")
    stop_at(monkeypatch, stop)
    with pytest.raises(Interrupted):
        run_pretraining(settings, tmp_path / "part")
    monkeypatch.undo()
    resumed = run_pretraining(settings, tmp_path / "part", resume=True)
    assert resumed["held_out"] == whole["held_out"]
    models = [
        (tmp_path / run / "model/model.safetensors").read_bytes() for run in ("whole", "part")
    ]
    assert models[0] == models[1]


def test_other_texts_are_not_gone_on_with(
    masked_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    lines = [json.dumps({"text": f"Ada saw {place}. It was far."}) for place in ("Bonn", "Cork")]
    (folder / "texts.jsonl").write_text("\n".join(lines * 8))
    settings = config(tmp_path, folder, masked_bert)
    stop_at(monkeypatch, 1)
    with pytest.raises(Interrupted):
        run_pretraining(settings, tmp_path / "run")
    monkeypatch.undo()
    (folder / "texts.jsonl").write_text("\n".join(lines * 7))
    with pytest.raises(InputError, match="have changed since the run began"):
        run_pretraining(settings, tmp_path / "run", resume=True)


@pytest.mark.parametrize("layers", ["0", "null"])
def test_tuning_goes_on_from_the_adapted_model(
    masked_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layers: str
) -> None:
    more = f"extraction: {{epochs: 1, layers: {layers}, refit: true}}\n"
    settings = config(tmp_path, write_tiny_relations(tmp_path / "data"), masked_bert, more)
    assert isinstance(settings, RelationConfig)
    metrics = run_relations(settings, tmp_path / "run")
    assert metrics["pretraining"] == load_json(tmp_path / "run" / "pretraining.json")
    again = evaluate_run(tmp_path / "run", "test")
    assert again == pytest.approx({name: metrics["test"][name] for name in again})
    stop_at(monkeypatch, 4)  # in the refit: pre-training is done and is not done again
    with pytest.raises(Interrupted):
        run_relations(settings, tmp_path / "part")
    monkeypatch.undo()
    written = (tmp_path / "part/model/model.safetensors").stat().st_mtime_ns
    resumed = run_relations(settings, tmp_path / "part", resume=True)
    assert resumed["test"] == metrics["test"]
    assert (tmp_path / "part/model/model.safetensors").stat().st_mtime_ns == written
    plain = settings.model_copy(update={"pretraining": None})
    assert run_relations(plain, tmp_path / "plain")["test"] != metrics["test"]
