"""A run of rule mining, from a configuration to a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relgnn.config import RulesConfig, config_of_run
from relgnn.data import KnowledgeGraph
from relgnn.data.registry import load_graph
from relgnn.errors import InputError
from relgnn.ranking.metrics import metrics_by_stratum, write_ranks
from relgnn.ranking.ranks import Ranks
from relgnn.ranking.strata import stratum_masks
from relgnn.rules.adjacency import Adjacency
from relgnn.rules.judge import RuleJudge, correction
from relgnn.rules.predictor import RulePredictor, make_predictor
from relgnn.rules.rule import read_rules, write_rules
from relgnn.runtime import Runtime
from relgnn.training.run_folder import carry_out, require_finished, require_same_data

RULES = "rules.tsv"


def run_rules(config: RulesConfig, folder: Path, resume: bool = False) -> dict[str, Any]:
    """Mine rules from the given triples, rank by them, and leave a run folder.

    The folder holds the path rules in `rules.tsv`; those with constants are many, and are counted
    again from the triples when they are needed.

    Args:
        config: what to do.
        folder: made here; must not hold a run yet, unless `resume`, which begins anew.
        resume: see there.

    Returns:
        The content of metrics.json.

    Raises:
        InputError: the folder holds a run already, or data or a file of rules are not as they
            should be.
    """

    def work(graph: KnowledgeGraph, runtime: Runtime) -> dict[str, Any]:
        judge = RuleJudge.learn(graph.train, graph, config.rules, runtime.seed)
        predictor, named = judge.predictor, judge.predictor.constants
        rules = [one for own in predictor.rules.values() for one in own]
        write_rules(folder / RULES, rules, graph.relations)
        metrics: dict[str, Any] = {
            "rules": {"paths": len(rules), "constants": len(named) if named is not None else 0},
            "rows": {},
        }
        if len(graph.valid):
            metrics["valid"] = _evaluate(predictor, graph, "valid")[1]
        if len(graph.test):
            ranks, metrics["test"] = _evaluate(predictor, graph, "test")
            metrics["rows"] = {"final": metrics["test"]}
            write_ranks(
                folder / "ranks" / "final.tsv", ranks, graph.test, graph.entities, graph.relations
            )
        if graph.negatives.keys() >= {"valid", "test"}:
            labelled = {split: graph.labelled(split) for split in ("valid", "test")}
            metrics["correction"] = correction(judge, labelled)
        return metrics

    return carry_out(config, folder, resume, lambda c: load_graph(c.data), work)


def open_rules(folder: Path) -> tuple[KnowledgeGraph, RulePredictor]:
    """The graph and the predictor of a run.

    Raises:
        InputError: it is no finished run of rules, or its data are gone or have changed.
    """
    config = config_of_run(folder)
    if not isinstance(config, RulesConfig):
        raise InputError(f"{folder}: is no finished run of rules; give the folder of one")
    require_finished(folder)
    graph = load_graph(config.data)
    require_same_data(folder, graph)
    rules = read_rules(folder / RULES, graph.relations)
    return graph, make_predictor(_adjacency(graph), rules, config.rules, config.runtime.seed)


def evaluate_rules(
    folder: Path, split: str
) -> tuple[KnowledgeGraph, dict[str, Ranks], dict[str, Any]]:
    """The graph, and ranks and metrics of a run's split again.

    Raises:
        InputError: it is no finished run of rules, or the split is empty.
    """
    graph, predictor = open_rules(folder)
    graph.require(split)
    return graph, *_evaluate(predictor, graph, split)


def _adjacency(graph: KnowledgeGraph) -> Adjacency:
    return Adjacency(graph.train, graph.num_entities, graph.num_relations)


def _evaluate(
    predictor: RulePredictor, graph: KnowledgeGraph, split: str
) -> tuple[dict[str, Ranks], dict[str, Any]]:
    ranks = predictor.ranks(getattr(graph, split), graph.filter_triples(split))
    return ranks, metrics_by_stratum(ranks, stratum_masks(graph, split))
