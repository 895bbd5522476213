"""Metric learning: its loss, that it learns what is new to it, resumes and says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from relgnn.config import FewShotConfig, load_run_config
from relgnn.data.relations import Example, RelationData
from relgnn.errors import InputError
from relgnn.text.encoder import load_model
from relgnn.text.fewshot import hide_names
from relgnn.text.metric import MetricTask, RelationEncoder, hold_out
from relgnn.text.rows import Marker
from relgnn.text.runs import run_text
from relgnn.training import Interrupted, load_tensors
from tests.text.toy import PEOPLE, TOWNS

SAID = {
    "learned": {
        "saw": "saw",
        "far": "far away from",
        "painter": "the painter and",
        "and": "and the",
        "end": "begin end",
        "now": "now saw",
        "in": "away in",
        "was": "was the",
    },
    "judged": {"born": "was born in", "lives": "lives now in"},
}
DIFFERENT = ("seconds", "peak_memory_mb")


def write(folder: Path, verbs: dict[str, str], split: str) -> Path:
    folder.mkdir(parents=True)
    names = "".join(f"{name}\t{words}\t\n" for name, words in verbs.items())
    (folder / "relations.tsv").write_text(names)
    lines = []
    for person in PEOPLE:
        for town in TOWNS[:3]:
            for name, words in verbs.items():
                tokens = [person, *words.split(), town, "."]
                size = len(tokens)
                ends = {"head": {"span": [0, 1]}, "tail": {"span": [size - 2, size - 1]}}
                lines.append(json.dumps({"tokens": tokens, **ends, "relation": name}) + "\n")
    (folder / f"{split}.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture
def path(tmp_path: Path, tiny_bert: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration beside its data sets."""
    monkeypatch.setenv("RELGNN_DATA", str(tmp_path))
    monkeypatch.setenv("RELGNN_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "learned", SAID["learned"], "train")
    write(tmp_path / "judged", SAID["judged"], "test")
    found = tmp_path / "few.yaml"
    found.write_text(
        f"data: {{name: judged}}\ntext: {{model: {tiny_bert}, max_tokens: 32}}\n"
        "few_shot: {ways: 2, shots: [0, 1], queries: 5, episodes: 50}\n"
        "metric: {sources: [learned], epochs: 2, steps: 15, ways: 6, lr: 3.0e-3}\n"
    )
    return found


def config(path: Path, *changes: str) -> FewShotConfig:
    found = load_run_config(path, changes)
    assert isinstance(found, FewShotConfig)
    return found


def test_a_vector_does_not_depend_on_the_rows_beside_it(tiny_bert: str) -> None:
    network, tokenizer = load_model(tiny_bert)
    marker = Marker(tokenizer, "special", 32)
    marker.resize(network)
    model = RelationEncoder(network, marker)
    examples = [
        Example("Ada was born in Bonn .", (0, 3), (16, 20), 0),
        Example("Ada and Ben and Cleo lives now far away from Cork .", (0, 3), (45, 49), 0),
    ]
    together = model.task_vectors(marker.rows(examples))
    alone = [model.task_vectors(marker.rows([one])) for one in examples]
    for both, single in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(both, torch.cat(single), atol=1e-5, rtol=1e-4)
    turned = model.task_vectors(marker.rows([examples[0]._replace(head=(16, 20), tail=(0, 3))]))
    assert not torch.allclose(turned.vectors, together.vectors[:1], atol=1e-2)
    # what hides both names says the same of any two
    one, other = (
        model.task_vectors(
            marker.rows([hide_names(Example(f"{who} saw Bonn .", (0, 3), (8, 12), 0))])
        )
        for who in ("Ada", "Ben")
    )
    torch.testing.assert_close(one.vectors, other.vectors)


def test_other_relations_teach_these(path: Path, tmp_path: Path) -> None:
    before = run_text(config(path, "metric=null"), tmp_path / "before")["rows"]
    found = run_text(config(path), tmp_path / "run")
    assert found["metric"]["sentences"] == {"learned": 192}
    assert found["rows"]["1_shot"]["accuracy"] > 0.95
    assert found["rows"]["1_shot"]["accuracy"] > before["1_shot"]["accuracy"]
    # the tuned model is a language model like any other
    again = config(path, "metric=null", f"text.model={tmp_path / 'run' / 'model'}")
    assert set(run_text(again, tmp_path / "again")["rows"]) == {"0_shot", "1_shot"}


def test_a_resumed_run_gives_the_same_numbers(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(path, "metric.held_out=2", "metric.steps=4")
    whole = run_text(settings, tmp_path / "whole")
    assert whole["metric"]["held_out"].keys() == {
        "accuracy", "accuracy_0", "accuracy_1", "accuracy_5",
    }  # fmt: skip
    judge = MetricTask.evaluate

    def stop(self: MetricTask) -> dict[str, float]:
        raise KeyboardInterrupt

    monkeypatch.setattr(MetricTask, "evaluate", stop)
    with pytest.raises(Interrupted):
        run_text(settings, tmp_path / "part")
    monkeypatch.setattr(MetricTask, "evaluate", judge)
    resumed = run_text(settings, tmp_path / "part", resume=True)
    for key in DIFFERENT:
        resumed.pop(key), whole.pop(key)
    assert resumed == whole
    tensors = [
        load_tensors(tmp_path / name / "model" / "model.safetensors")[0]
        for name in ("whole", "part")
    ]
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(value, tensors[1][name]) for name, value in tensors[0].items())


def test_held_out_relations_are_not_learned() -> None:
    rows = tuple(Example("Ada saw Bonn", (0, 3), (8, 12), i % 4) for i in range(90))
    data = RelationData("x", tuple("abcd"), tuple("abcd"), ("",) * 4, rows, (), ())
    train, held = hold_out(data, 2, np.random.default_rng(0))
    kept, out = ({one.relation for one in part} for part in (train, held))
    assert len(out) == 2 and not kept & out and len(train) + len(held) == 90
    assert hold_out(data, 0, np.random.default_rng(0)) == (list(rows), [])
    with pytest.raises(InputError, match=r"from 2 to the 4 relations"):
        hold_out(data, 5, np.random.default_rng(0))


def test_too_few_relations_are_told(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lower metric\.ways or name more sources"):
        run_text(config(path, "metric.ways=9"), tmp_path / "run")
    with pytest.raises(InputError, match="should be a list of at least 1"):
        config(path, "metric.sources=[]")
