"""A run of the bi-encoder: from a configuration to metrics, and back from its folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relgnn.config import load_config, load_run_config
from relgnn.data.folder import read_folder
from relgnn.errors import InputError
from relgnn.linkpred.biencoder_run import open_biencoder
from relgnn.linkpred.biencoder_task import BiEncoderTask
from relgnn.loop.runs import run_any
from relgnn.ranking.metrics import chance_mrr, read_ranks
from relgnn.ranking.ranks import concatenate
from relgnn.training import load_json
from tests.answers import Call, require_one_line
from tests.linkpred.interrupted import interrupt
from tests.linkpred.people import BORN, biencoder_config, write_people


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people") / "data")


@pytest.fixture(scope="module")
def run(people: Path, tiny_bert: str) -> Path:
    folder = people.parent / "run"
    run_any(biencoder_config(people, tiny_bert), folder)
    return folder


def test_texts_tell_the_answers_of_triples_never_seen(run: Path) -> None:
    metrics = load_json(run / "metrics.json")
    ranks = read_ranks(run / "ranks" / "final.tsv")
    chance = chance_mrr(concatenate([ranks[side][1] for side in ("head", "tail")]))
    assert metrics["test"]["all"]["tail"]["realistic"]["mrr"] > 2 * chance
    assert metrics["rows"]["final"] == metrics["test"]
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    valid = [one["valid"]["mrr"] for one in log]
    assert metrics["epoch"] == 1 + valid.index(max(valid))
    assert log[-1]["loss"] < log[0]["loss"]
    assert metrics["valid"]["all"]["both"]["realistic"]["mrr"] == pytest.approx(max(valid))


def test_it_is_evaluated_again_and_answers(run: Path, people: Path, call: Call) -> None:
    told = json.loads(call("evaluate", run, "--json", "--categories").out)["test"]
    assert told.items() >= load_json(run / "metrics.json")["test"].items()
    require_one_line(call("evaluate", run, "--typed"), 2, "leave --typed")
    graph = read_folder(people)
    head, _, tail = graph.train[graph.train[:, 1] == graph.relations.index(BORN)][0]
    words = ("predict", run, "--relation", BORN, "-k", 40, "--json")
    forward = json.loads(call(*words, "--head", graph.entities[head]).out)
    assert [one["entity"] for one in forward if one["known"]] == [graph.entities[tail]]
    scores = [one["score"] for one in forward]
    assert scores == sorted(scores, reverse=True) and len(scores) == graph.num_entities
    backward = json.loads(call(*words, "--tail", graph.entities[tail]).out)
    assert graph.entities[head] in [one["entity"] for one in backward if one["known"]]
    shown = call("predict", run, "--relation", BORN, "--head", graph.entities[head], "-k", 2).out
    assert len(shown.splitlines()) == 2


def test_it_is_not_opened_on_other_data(run: Path, people: Path) -> None:
    path = people / "train.tsv"
    before = path.read_text()
    path.write_text(before.split("\n", 1)[1])
    with pytest.raises(InputError, match="have changed since the run began"):
        open_biencoder(run)
    path.write_text(before)
    open_biencoder(run)


@pytest.mark.parametrize(
    "changes",
    [
        ("biencoder.queue=16", "biencoder.momentum=0.9", "biencoder.dropout=0.1"),
        ("biencoder.layers=1", "text.neighbours=2", "biencoder.checkpointing=true"),
        ("biencoder.efficient={rank: 4}", "biencoder.neighbourhood=0.05"),
    ],
)
def test_a_resumed_run_ends_as_an_uninterrupted_one(
    changes: tuple[str, ...], people: Path, tiny_bert: str, tmp_path: Path
) -> None:
    config = biencoder_config(people, tiny_bert, "biencoder.epochs=2", *changes)
    whole = run_any(config, tmp_path / "whole")
    folder = tmp_path / "run"
    interrupt(config, folder, BiEncoderTask, 4)
    with pytest.raises(InputError, match="is no finished run of a bi-encoder"):
        open_biencoder(folder)
    again = run_any(config, folder, resume=True)
    assert again["test"] == whole["test"]
    assert again["valid"] == whole["valid"]
    left = (folder / "checkpoint.safetensors").read_bytes()
    assert left == (tmp_path / "whole" / "checkpoint.safetensors").read_bytes()


def test_without_valid_the_last_epoch_counts(tmp_path: Path, tiny_bert: str) -> None:
    folder = write_people(tmp_path / "data")
    (folder / "valid.tsv").write_text("")
    config = biencoder_config(folder, tiny_bert, "biencoder.epochs=1")
    metrics = run_any(config, tmp_path / "run")
    assert metrics["epoch"] == 1 and "valid" not in metrics
    assert metrics["parameters"]["trained"] == metrics["parameters"]["total"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("biencoder={layers: 1, efficient: {}}", "drop one key"),
        ("biencoder={momentum: 0.9}", "no queue to fill"),
        ("biencoder={efficient: {save: merged}}", "set efficient.save=adapter"),
        ("biencoder={efficient: {method: prefix}}", "cannot be tuned by prefix"),
        ("biencoder={temperature: 0}", "greater than or equal to 0.01"),
        ("biencoder={tau: 1}", "tau"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    change: str, told: str, people: Path, tiny_bert: str
) -> None:
    with pytest.raises(InputError, match=told) as caught:
        biencoder_config(people, tiny_bert, change)
    assert "\n" not in str(caught.value)


def test_other_commands_say_what_kind_of_run_it_is(run: Path, people: Path) -> None:
    with pytest.raises(InputError, match="is a run of a bi-encoder, expected link prediction"):
        load_config(run / "config.yaml")
    with pytest.raises(InputError, match="holds a run already"):
        run_any(load_run_config(run / "config.yaml"), run)


def test_nothing_to_learn_from_is_refused(tmp_path: Path, tiny_bert: str) -> None:
    folder = write_people(tmp_path / "data")
    config = biencoder_config(folder, tiny_bert)
    (folder / "train.tsv").write_text("")
    with pytest.raises(InputError, match="train"):
        run_any(config, tmp_path / "run")
