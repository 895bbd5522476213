"""Few-shot tasks: planted relations are told apart, chance is chance, draws are fair."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from relgnn.config import FewShotConfig, load_run_config
from relgnn.data.relations import Example, RelationData
from relgnn.errors import InputError
from relgnn.text.encoder import TextEncoder
from relgnn.text.fewshot import (
    Episode,
    TaskVectors,
    accuracies,
    described_as,
    episodes,
    hide_names,
    represent,
)
from relgnn.text.runs import run_text
from tests.experiments.tiny import write_tiny_relations

LABELS = np.repeat(np.arange(6), 12)


NOTHING = torch.zeros(0)


def few_shot_accuracy(vectors: Tensor, drawn: Iterable[Episode]) -> np.ndarray:
    return accuracies(TaskVectors(vectors, vectors), NOTHING, drawn)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_tasks_are_drawn_without_replacement() -> None:
    for relations, support, asked in episodes(LABELS, 4, 2, 3, 50, rng()):
        assert len(set(relations.tolist())) == 4
        rows = np.concatenate([support, asked], 1)
        assert len(set(rows.ravel().tolist())) == 4 * 5
        assert (LABELS[rows] == relations[:, None]).all()


@pytest.mark.parametrize(("ways", "shots"), [(7, 1), (3, 10)])
def test_too_few_examples_are_told(ways: int, shots: int) -> None:
    with pytest.raises(InputError, match=r"lower few_shot\.ways, shots or queries"):
        list(episodes(LABELS, ways, shots, 3, 1, rng()))


def test_planted_relations_are_told_apart_and_noise_is_chance() -> None:
    centre = torch.eye(6)[torch.from_numpy(LABELS)]
    noise = torch.randn(len(LABELS), 6, generator=torch.Generator().manual_seed(0))
    planted = few_shot_accuracy(centre + 0.05 * noise, episodes(LABELS, 5, 1, 3, 100, rng()))
    assert planted.mean() == 1
    many = np.repeat(np.arange(6), 500)
    noise = torch.randn(len(many), 6, generator=torch.Generator().manual_seed(0))
    chance = few_shot_accuracy(noise, episodes(many, 5, 1, 3, 3000, rng()))
    assert chance.mean() == pytest.approx(0.2, abs=0.02)
    described = accuracies(
        TaskVectors(centre, centre), torch.eye(6), episodes(LABELS, 5, 0, 3, 100, rng())
    )
    assert described.mean() == 1
    turned = accuracies(
        TaskVectors(centre, centre), torch.eye(6).roll(1, 0), episodes(LABELS, 5, 0, 3, 100, rng())
    )
    assert turned.mean() < 0.2  # orthogonal ones tie


def test_more_examples_help() -> None:
    centre = torch.eye(6)[torch.from_numpy(LABELS)]
    noise = torch.randn(len(LABELS), 6, generator=torch.Generator().manual_seed(0))
    one, five = (
        few_shot_accuracy(centre + 0.7 * noise, episodes(LABELS, 5, k, 3, 1000, rng())).mean()
        for k in (1, 5)
    )
    assert five > one + 0.05


@pytest.mark.parametrize(
    ("head", "tail", "said", "names"),
    [
        ((0, 3), (12, 16), "subject born in object.", ("subject", "object")),
        ((12, 16), (0, 3), "object born in subject.", ("subject", "object")),
        ((0, 16), (0, 3), "object.", ("object", "object")),
    ],
)
def test_names_are_hidden(
    head: tuple[int, int], tail: tuple[int, int], said: str, names: tuple[str, str]
) -> None:
    hidden = hide_names(Example("Ada born in Bonn.", head, tail, 0))
    assert hidden.text == said
    assert (said[slice(*hidden.head)], said[slice(*hidden.tail)]) == names


def test_the_description_helps_where_examples_are_noise() -> None:
    centre = torch.eye(6)[torch.from_numpy(LABELS)]
    noise = torch.randn(len(LABELS), 6, generator=torch.Generator().manual_seed(0))
    without, some, much = (
        accuracies(
            TaskVectors(noise, centre), torch.eye(6), episodes(LABELS, 5, 1, 3, 200, rng()), w
        )
        for w in (0.0, 0.5, 100.0)
    )
    assert without.mean() + 0.1 < some.mean() < much.mean() == 1


def test_representation_is_five_vectors_of_length_one(minilm: TextEncoder) -> None:
    examples = [
        Example("Ada was born in Bonn.", (0, 3), (16, 20), 0),
        Example("Bonn is where Ada was born.", (14, 17), (0, 4), 0),
    ]
    parts = represent(examples, minilm).view(2, 5, minilm.dim)
    torch.testing.assert_close(parts.norm(dim=2), torch.ones(2, 5), atol=2e-3, rtol=0)


def test_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELGNN_CACHE", str(tmp_path / "cache"))
    data = write_tiny_relations(tmp_path / "tiny")
    path = tmp_path / "few.yaml"
    path.write_text(
        f"data: {{path: {data}}}\nfew_shot: {{ways: 3, shots: 2, queries: 3, episodes: 20}}\n"
    )
    config = load_run_config(path)
    assert isinstance(config, FewShotConfig)
    metrics = run_text(config, tmp_path / "run")
    assert metrics["test"]["accuracy"] > 0.4
    again = run_text(config, tmp_path / "again")
    assert again["test"] == metrics["test"]
    assert (tmp_path / "run" / "config.yaml").exists()
    zero = load_run_config(path, ["few_shot.shots=0"])
    assert isinstance(zero, FewShotConfig)
    assert 0 <= run_text(zero, tmp_path / "zero")["test"]["accuracy"] <= 1
    both = load_run_config(path, ["few_shot.shots=[0, 2]", "few_shot.description=0.5"])
    assert isinstance(both, FewShotConfig)
    rows = run_text(both, tmp_path / "both")["rows"]
    assert set(rows) == {"0_shot", "2_shot", "2_shot_described"}
    assert rows["2_shot"] == metrics["test"]


def test_a_relation_without_name_and_description_is_told_by_its_label() -> None:
    data = RelationData(
        "x", ("born in", "P2", "P3"), ("", "home", ""), ("", "", "near"), (), (), ()
    )
    assert described_as(data) == ["born in", "home", "near"]


def test_rows_longer_than_the_model_reads_are_refused(tiny_bert: str, tmp_path: Path) -> None:
    data = write_tiny_relations(tmp_path / "tiny")
    path = tmp_path / "few.yaml"
    path.write_text(
        f"data: {{path: {data}}}\ntext: {{model: {tiny_bert}, max_tokens: 500}}\n"
        "few_shot: {ways: 3, shots: 2, queries: 3, episodes: 20}\n"
    )
    config = load_run_config(path)
    assert isinstance(config, FewShotConfig)
    with pytest.raises(InputError, match="text.max_tokens is 500 and the model has 128 positions"):
        run_text(config, tmp_path / "run")
    with pytest.raises(InputError, match="few_shot.shots"):
        load_run_config(path, ["few_shot.shots=[]"])
