"""A run of rules: from a configuration to metrics, and back from its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from relgnn.config import RulesConfig, load_config, load_run_config
from relgnn.errors import InputError
from relgnn.loop.runs import run_any
from relgnn.loop.scored import open_scored
from relgnn.rules.predictor import RulePredictor
from relgnn.rules.run import evaluate_rules, open_rules
from relgnn.training import load_json
from tests.own import write_data

CONFIG = "data: {name: umls}\nrules: {length: 1}\n"


def config(tmp_path: Path, *overrides: str) -> RulesConfig:
    path = tmp_path / "rules.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    found = load_run_config(path, overrides)
    assert isinstance(found, RulesConfig)
    return found


@pytest.mark.usefixtures("shared_data")
def test_rules_of_umls_predict_it(tmp_path: Path) -> None:
    settings = config(tmp_path)
    metrics = run_any(settings, tmp_path / "run")
    graph, predictor = open_rules(tmp_path / "run")
    frequent = RulePredictor(predictor.graph, []).ranks(graph.test, graph.filter_triples("test"))
    without = np.mean([1 / ranks.realistic for ranks in frequent.values()])
    assert metrics["test"]["all"]["both"]["realistic"]["mrr"] > without + 0.1
    assert metrics == load_json(tmp_path / "run" / "metrics.json")
    assert metrics["rows"]["final"] == metrics["test"]
    again = evaluate_rules(tmp_path / "run", "test")[2]
    assert again["all"] == metrics["test"]["all"]
    with pytest.raises(InputError, match="holds a run already"):
        run_any(settings, tmp_path / "run")
    with pytest.raises(InputError, match="is a run of rule mining, expected link prediction"):
        load_config(tmp_path / "run" / "config.yaml")


def test_a_split_without_triples_is_not_evaluated(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    (data / "test.tsv").write_text("")
    path = tmp_path / "rules.yaml"
    path.write_text(f"data: {{path: {data}}}\nrules: {{length: 1}}\n", encoding="utf-8")
    metrics = run_any(load_run_config(path), tmp_path / "run")
    assert not metrics["rows"] and "test" not in metrics
    with pytest.raises(InputError, match=r"data: has no test triples to evaluate; add test\.tsv"):
        evaluate_rules(tmp_path / "run", "test")
    with pytest.raises(InputError, match="has no test triples to evaluate"):
        open_scored(tmp_path / "run").evaluate("test")
    assert evaluate_rules(tmp_path / "run", "valid")[2] == metrics["valid"]


@pytest.mark.usefixtures("shared_data")
def test_a_person_adds_rules(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("0.99\taffects(x, y) <- causes(x, z), affects(z, y)\n", encoding="utf-8")
    settings = config(tmp_path, f"rules.file={own}", "rules.length=1", "rules.constants=false")
    metrics = run_any(settings, tmp_path / "run")
    graph, predictor = open_rules(tmp_path / "run")
    assert metrics["rules"]["constants"] == 0
    best = predictor.rules[graph.relations.index("affects")][0]
    assert best.show(graph.relations) == "affects(x, y) <- causes(x, z), affects(z, y)"
    assert best.confidence == 0.99


@pytest.mark.usefixtures("shared_data")
def test_a_rule_of_another_graph_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("born_in(x, y) <- lives_in(x, y)\n", encoding="utf-8")
    with pytest.raises(InputError, match="relation 'born_in' is not in the data"):
        run_any(config(tmp_path, f"rules.file={own}"), tmp_path / "run")


def test_a_folder_that_is_no_run_of_rules_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("data: {name: umls}\n", encoding="utf-8")
    with pytest.raises(InputError, match="is no finished run of rules"):
        open_rules(tmp_path)


def test_a_run_that_is_not_finished_or_of_other_data_is_not_opened(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    settings = config(tmp_path, "data.name=null", f"data.path={data}", "rules.min_support=1")
    folder = tmp_path / "run"
    run_any(settings, folder)
    train = (data / "train.tsv").read_text("utf-8")
    (data / "train.tsv").write_text(train.split("\n", 1)[1], "utf-8")
    with pytest.raises(InputError, match="have changed since the run began"):
        open_rules(folder)
    (data / "train.tsv").write_text(train, "utf-8")
    open_rules(folder)
    (folder / "metrics.json").unlink()
    with pytest.raises(InputError, match="the run is not finished"):
        open_rules(folder)
