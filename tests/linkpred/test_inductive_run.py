"""A run on entities never seen: from a configuration to metrics, and back from its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relgnn.config import InductiveConfig, load_config, load_run_config
from relgnn.data.folder import read_folder
from relgnn.errors import InputError
from relgnn.linkpred.inductive import QueryTask
from relgnn.linkpred.inductive_run import (
    evaluate_inductive,
    load_inductive,
    with_relations_of,
)
from relgnn.loop.runs import run_any
from relgnn.ranking.metrics import read_ranks
from relgnn.ranking.ranks import concatenate
from relgnn.ranking.sampled import HITS_10_OF_50
from relgnn.training import load_json
from tests.answers import Call, require_one_line
from tests.linkpred.families import GRANDPARENT, PARENT, write_families
from tests.linkpred.interrupted import interrupt
from tests.linkpred.toy import HashEncoder

SETTINGS = """
data: {path: %s}
runtime: {device: cpu, threads: 1}
inductive: {dim: 16, layers: 2, epochs: 6, batch_size: 16, lr: 0.01}
"""


def config_of(folder: Path, *changes: str) -> InductiveConfig:
    path = folder.parent / "inductive.yaml"
    path.write_text(SETTINGS % folder, encoding="utf-8")
    config = load_run_config(path, changes)
    assert isinstance(config, InductiveConfig)
    return config


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_families(tmp_path_factory.mktemp("families") / "tree")


@pytest.fixture(scope="module")
def run(families: Path) -> Path:
    folder = families.parent / "run"
    run_any(config_of(families), folder)
    return folder


def test_what_was_learned_of_relations_holds_for_people_never_seen(
    families: Path, run: Path, tmp_path: Path
) -> None:
    metrics = load_json(run / "metrics.json")
    near = run_any(config_of(families, "inductive.method=pagerank"), tmp_path / "near")
    ours, theirs = (
        one["test"]["all"]["both"]["realistic"]["mrr"] for one in (metrics, near)
    )  # fmt: skip
    # a grandparent is never the nearest
    assert theirs < 0.5 < 0.8 < ours
    assert metrics["valid"]["all"]["both"]["realistic"]["mrr"] > 0.8
    assert metrics["rows"]["final"] == metrics["test"]
    log = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(log) <= 6
    valid = [json.loads(line)["valid"]["mrr"] for line in log]
    assert metrics["epoch"] == 1 + valid.index(max(valid))
    assert not (tmp_path / "near" / "checkpoint.safetensors").exists()


def test_ranks_are_of_the_other_graphs_test(run: Path, families: Path) -> None:
    ranks = read_ranks(run / "ranks" / "final.tsv")
    test = (families.with_name("tree_ind") / "test.tsv").read_text(encoding="utf-8")
    for side in ("head", "tail"):
        assert ["\t".join(one) for one in ranks[side][0]] == test.splitlines()
    both = concatenate([ranks[side][1] for side in ("head", "tail")])
    metrics = load_json(run / "metrics.json")["test"]["all"]["both"]
    assert metrics["realistic"]["mrr"] == pytest.approx(np.mean(1 / both.realistic))
    assert 0.5 < metrics["pessimistic"][HITS_10_OF_50] <= 1
    assert HITS_10_OF_50 not in metrics["realistic"]


@pytest.mark.parametrize("method", ["paths", "pagerank"])
def test_a_run_is_evaluated_again(
    method: str, families: Path, run: Path, tmp_path: Path, call: Call
) -> None:
    folder = run
    if method == "pagerank":
        folder = tmp_path / "near"
        run_any(config_of(families, "inductive.method=pagerank"), folder)
    for split, people in (("valid", 40), ("test", 50)):
        graph, _, again = evaluate_inductive(folder, split)
        assert graph.num_entities == people
        if split == "test" or method == "paths":
            assert again == load_json(folder / "metrics.json")[split]
    told = json.loads(call("evaluate", folder, "--json", "--categories").out)["test"]
    assert told.items() >= load_json(folder / "metrics.json")["test"].items()
    require_one_line(call("evaluate", folder, "--typed"), 2, "on unseen entities, which ranks all")


def test_a_resumed_run_ends_as_an_uninterrupted_one(
    families: Path, run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    interrupt(config_of(families), folder, QueryTask, 9)
    with pytest.raises(InputError, match="no finished inductive run"):
        evaluate_inductive(folder, "test")
    again = run_any(config_of(families), folder, resume=True)
    assert again["test"] == load_json(run / "metrics.json")["test"]


def test_other_commands_say_what_kind_of_run_it_is(run: Path, families: Path) -> None:
    with pytest.raises(InputError, match="is a run of inductive link prediction, expected link"):
        load_config(run / "config.yaml")
    with pytest.raises(InputError, match="holds a run already"):
        run_any(config_of(families), run)


def test_relations_keep_their_meaning_between_the_graphs(families: Path) -> None:
    data = load_inductive(config_of(families))
    other = read_folder(families.with_name("tree_ind"))
    assert other.relations == (GRANDPARENT, PARENT) != data.trained.relations
    assert data.unseen.relations == data.trained.relations == (PARENT, GRANDPARENT)
    assert data.of("valid") is data.trained and data.of("test") is data.unseen
    np.testing.assert_array_equal(data.unseen.test[:, [0, 2]], other.test[:, [0, 2]])
    for mine, theirs in zip(data.unseen.train, other.train, strict=True):
        assert data.unseen.relations[mine[1]] == other.relations[theirs[1]]


def test_a_relation_that_was_not_trained_is_refused(families: Path, tmp_path: Path) -> None:
    folder = write_families(tmp_path / "tree")
    other = folder.with_name("tree_ind")
    for name in ("train.tsv", "relations.tsv"):
        with (other / name).open("a", encoding="utf-8") as handle:
            handle.write("b1\tcousin\tb2\n" if name == "train.tsv" else "cousin\tcousin\n")
    with pytest.raises(InputError, match="relation 'cousin' is not in"):
        with_relations_of(read_folder(families), read_folder(other))
    with pytest.raises(InputError, match="or set text.relations=true"):
        load_inductive(config_of(folder))


class Words(HashEncoder):
    """In place of the run's language model."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()


@pytest.fixture
def bag_of_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relgnn.linkpred.inductive_run.TextEncoder", Words)


def test_a_relation_never_seen_is_asked_through_its_text(
    bag_of_words: None, tmp_path: Path
) -> None:
    folder = write_families(tmp_path / "tree")
    other = folder.with_name("tree_ind")
    for path in (*other.glob("t*.tsv"), other / "valid.tsv"):
        # another relation by its id, and the same by its name
        path.write_text(path.read_text("utf-8").replace(GRANDPARENT, "P99"), encoding="utf-8")
    names = f"P99\t{GRANDPARENT}\n{PARENT}\t{PARENT}\n"
    (other / "relations.tsv").write_text(names, encoding="utf-8")
    config = config_of(folder, "text={relations: true}")
    data = load_inductive(config)
    assert data.unseen.relations == (PARENT, GRANDPARENT, "P99")
    assert data.unseen.relation_names == (PARENT, GRANDPARENT, GRANDPARENT)
    metrics = run_any(config, tmp_path / "run")
    assert metrics["test"]["unseen_relation"] == {
        side: {
            kind: {k: v for k, v in of.items() if k != HITS_10_OF_50} for kind, of in all.items()
        }
        for side, all in metrics["test"]["all"].items()
    }
    assert metrics["test"]["unseen_relation"]["both"]["realistic"]["mrr"] > 0.8
    assert "unseen_relation" not in metrics["valid"]
    assert evaluate_inductive(tmp_path / "run", "test")[2] == metrics["test"]
    # what does not look at relations needs no text to ask by a new one
    near = run_any(config_of(folder, "inductive.method=pagerank"), tmp_path / "near")
    assert near["test"]["unseen_relation"]["both"]["realistic"]["mrr"] < 0.5


def write_twins(folder: Path, words: range) -> None:
    """Pairs whose texts share a word that no other pair's do; nothing else tells who is whose."""
    folder.mkdir(parents=True)
    lines = [f"a{word}\ttwin\tb{word}\n" for word in words]
    splits = {"train": lines[8:], "valid": lines[:4], "test": lines[4:8]}
    for split, part in splits.items():
        (folder / f"{split}.tsv").write_text("".join(part), encoding="utf-8")
    names = [f"{side}{word}\tword{word}\n" for word in words for side in "ab"]
    (folder / "entities.tsv").write_text("".join(names), encoding="utf-8")


def test_what_texts_have_in_common_holds_for_texts_never_seen(
    bag_of_words: None, tmp_path: Path
) -> None:
    folder = tmp_path / "twins"
    write_twins(folder, range(60))
    write_twins(folder.with_name("twins_ind"), range(100, 130))
    found = {}
    for read in ("null", "{nodes: true}"):
        config = config_of(folder, f"text={read}", "inductive.epochs=30", "inductive.patience=null")
        test = run_any(config, tmp_path / read[1:3])["test"]
        found[read] = test["all"]["both"]["realistic"]["mrr"]
    assert found["null"] < 0.3 < 0.7 < found["{nodes: true}"]


def test_texts_that_nobody_would_read_are_refused(families: Path) -> None:
    with pytest.raises(InputError, match="reads neither relations nor nodes"):
        config_of(families, "text={}")
    with pytest.raises(InputError, match="pagerank reads no texts"):
        config_of(families, "text={nodes: true}", "inductive.method=pagerank")


def test_the_graph_that_is_asked_may_be_named(families: Path, tmp_path: Path) -> None:
    (families.with_name("tree_ind")).rename(tmp_path / "elsewhere")
    try:
        config = config_of(families, f"inductive.asked={tmp_path / 'elsewhere'}")
        assert load_inductive(config).unseen.relations == (PARENT, GRANDPARENT)
    finally:
        (tmp_path / "elsewhere").rename(families.with_name("tree_ind"))


def test_a_graph_without_what_is_needed_is_refused(tmp_path: Path) -> None:
    folder = write_families(tmp_path / "tree")
    (folder.with_name("tree_ind") / "test.tsv").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="has no test triples; an inductive run"):
        load_inductive(config_of(folder))
    with pytest.raises(InputError, match="tree_ind_ind: no such folder"):
        load_inductive(config_of(folder.with_name("tree_ind")))


def test_the_published_pairs_are_found_by_name(shared_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "named.yaml"
    path.write_text("data: {name: grail_inductive/WN18RR_v1}\ninductive: {}\n", encoding="utf-8")
    config = load_run_config(path)
    assert isinstance(config, InductiveConfig)
    data = load_inductive(config)
    assert data.unseen.name == "grail_inductive/WN18RR_v1_ind"
    assert not {*data.trained.entities} & {*data.unseen.entities}
    assert data.unseen.relations == data.trained.relations
