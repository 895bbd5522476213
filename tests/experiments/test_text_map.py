"""The map of sentences: which vectors are mapped, by what, and what their neighbours say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from experiments import text_map
from experiments.commit import stamp
from experiments.jobs import Job
from experiments.text_map import FILE, NEAREST, encodings, main, neighbours, placed
from relgnn.config import RelationConfig, load_run_config
from relgnn.runtime import Runtime
from relgnn.text.reader import load_data, make_reader
from relgnn.text.relation_run import run_relations
from relgnn.training import load_json
from tests.experiments.tiny import SMALL_RELATIONS, write_tiny_relations

CONFIG = (
    "data: {name: codex_s}\nextraction: {batch_size: 16}\nruntime: {precision: fp32, device: cpu}\n"
)


@pytest.fixture
def config(tmp_path: Path, tiny_bert: str) -> RelationConfig:
    (tmp_path / "config.yaml").write_text(CONFIG)
    data = write_tiny_relations(tmp_path / "data")
    changes = [*SMALL_RELATIONS, f"data.path={data}", f"text.model={tiny_bert}"]
    found = load_run_config(tmp_path / "config.yaml", changes)
    assert isinstance(found, RelationConfig)
    return found


def test_neighbours_of_two_groups_and_of_equal_vectors() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 20)
    ends = np.eye(8)[labels]
    assert neighbours(ends + 0.01 * random.normal(size=(40, 8)), labels) == 1
    # all alike: whoever is near, never oneself
    assert neighbours(np.ones((NEAREST + 1, 3)), np.arange(NEAREST + 1)) == 0
    assert neighbours(np.ones((NEAREST + 1, 3)), np.zeros(NEAREST + 1)) == 1


def test_the_same_vectors_lie_in_the_same_places() -> None:
    vectors = np.random.default_rng(1).normal(size=(12, 6)).astype(np.float32)
    found = placed(vectors)
    assert found.shape == (12, 2) and np.isfinite(found).all()
    np.testing.assert_array_equal(found, placed(vectors))


def test_encodings_are_what_the_first_layer_reads(config: RelationConfig) -> None:
    data = load_data(config)
    reader = make_reader(config, data, Runtime.from_config(config.runtime))
    model = reader.model.eval()
    with torch.no_grad():
        hidden = torch.tanh(model.hidden(torch.from_numpy(encodings(reader, data.test))))
        logits = model.classify(hidden).numpy()
    np.testing.assert_allclose(logits, reader.logits(data.test), atol=1e-5)


def test_the_file_tells_both_maps(
    config: RelationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_tree: str
) -> None:
    run_relations(config, tmp_path / "run")
    stamp(tmp_path / "run")
    job = Job("re_toy", "tuned", 0, config)
    monkeypatch.setattr(text_map, "jobs", lambda *_: [job])
    monkeypatch.setattr(text_map, "made", lambda *_: tmp_path / "run")
    monkeypatch.setattr(text_map, "RESULTS", tmp_path)
    assert main(["--sentences", "16"]) == 0
    found = load_json(tmp_path / FILE)
    assert (found["git_commit"], found["dirty"]) == (clean_tree, False)
    assert found["config_sha256"] == config.sha256() and "--sentences 16" in found["command"]
    assert set(found["relations"]) <= {"born", "lives", "Other"} and len(found["relations"]) == 16
    for name in ("before", "after"):
        assert np.shape(found[name]["places"]) == (16, 2)
        assert 0 <= found[name]["neighbours"] <= 1
    assert found["before"]["places"] != found["after"]["places"]


def test_too_few_sentences(
    config: RelationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(text_map, "jobs", lambda *_: [Job("re_toy", "tuned", 0, config)])
    run_relations(config, tmp_path / "run")
    monkeypatch.setattr(text_map, "made", lambda *_: tmp_path / "run")
    monkeypatch.setattr(text_map, "RESULTS", tmp_path)
    assert main(["--sentences", "10"]) == 2
    assert f"10 sentences of data: give more than {NEAREST}" in capsys.readouterr().err
    assert not (tmp_path / FILE).exists()
