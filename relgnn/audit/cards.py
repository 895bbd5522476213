"""Model card and data card of a run: every number is read from the run folder or counted anew."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from relgnn.audit.policy import Applied, load_policy
from relgnn.audit.report import template, written_report
from relgnn.config import Config
from relgnn.config.base import DataConfig
from relgnn.data import STRATA, KnowledgeGraph
from relgnn.data.leakage import find_leakage
from relgnn.data.registry import folder_of
from relgnn.loop.opened import run_config, run_data, run_graph
from relgnn.text.coreference import Coreference
from relgnn.training import load_json, save_text
from relgnn.training.run_folder import require_finished

MODEL, DATA = "model_card.md", "data_card.md"
PROVENANCE = "PROVENANCE.txt"
LISTED = 10
"""Relations that the data card lists, the most frequent."""


def write_cards(run: Path, folder: Path) -> list[Path]:
    """Write both cards of a finished run, and return their paths.

    Args:
        run: a run folder of link prediction.
        folder: made if absent.

    Raises:
        InputError: it is no finished run, or its data are gone or have changed.
        MachineError: they cannot be written.
    """
    config = run_config(run)
    require_finished(run)
    graph = run_graph(config, run)
    facts = {
        "data": data_facts(graph, run_data(config, run)),
        "model": model_facts(run, config, graph),
    }
    paths = [folder / MODEL, folder / DATA]
    for path in paths:
        save_text(path, template(f"{path.name}.j2").render(facts))
    return paths


def model_facts(run: Path, config: Config, graph: KnowledgeGraph) -> dict[str, Any]:
    """What the model card says, after Mitchell et al., "Model cards for model reporting", 2019."""
    metrics, environment = load_json(run / "metrics.json"), load_json(run / "environment.json")
    own = run / "provenance.json"
    return {
        "name": run.resolve().name, "config": config.model_dump(mode="json"),
        "yaml": config.to_yaml(), "sha256": config.sha256(), "graph": graph.name,
        "metrics": metrics, "environment": environment, "calibration": load_json(
            run / "calibration.json"
        ), "commit": load_json(own)["git_commit"] if own.is_file() else None,
        "fairness": written_report(run), "parts": _parts(metrics), "worst": _worst(metrics),
    }  # fmt: skip


def data_facts(graph: KnowledgeGraph, data: DataConfig) -> dict[str, Any]:
    """What the data card says, after Gebru et al., "Datasheets for datasets", 2021."""
    often = Counter(graph.filter_triples("test")[:, 1].tolist())
    provenance = folder_of(data) / PROVENANCE
    policy = load_policy()
    applied, persons = Applied(policy, graph), Coreference(graph).persons
    sensitive = {
        f"{graph.relation_label(r)} ({graph.relations[r]})": (category, often[r])
        for r, category in applied.relations.items()
        if often[r]
    }
    strata = graph.strata["test"] if graph.strata is not None else None
    return {
        "graph": graph, "sizes": {s: len(getattr(graph, s)) for s in ("train", "valid", "test")},
        "relations": [
            (graph.relation_label(r), graph.relations[r], n) for r, n in often.most_common(LISTED)
        ],
        "texts": len(graph.texts), "sentences": len(graph.sentences()),
        "described": sum(map(bool, graph.entity_descriptions)),
        "persons": len(persons), "living": len(applied.living & set(persons)),
        "sensitive": sensitive, "leakage": find_leakage(graph).to_dict(),
        "strata": None if strata is None else {
            name: int((strata == code).sum()) for code, name in enumerate(STRATA)
        },
        "negatives": {split: len(rows) for split, rows in graph.negatives.items()},
        "unfit": sum(policy.unfit(one.text) for one in graph.sentences()),
        "provenance": _quoted(provenance) if provenance.is_file() else None,
        "fraction": data.fraction, "split_seed": data.split_seed,
    }  # fmt: skip


def _quoted(path: Path) -> str:
    """A text of whoever made the data; a byte that is not UTF-8 is shown as one that is lost."""
    return path.read_text("utf-8", errors="replace").strip()


def _parts(metrics: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """Realistic test metrics, both sides, by stratum; then those of each side."""
    test = metrics.get("test")
    if test is None:
        return []
    whole = [(name, one["both"]["realistic"]) for name, one in test.items()]
    return [*whole, *((f"{s}s asked for", test["all"][s]["realistic"]) for s in ("head", "tail"))]


def _worst(metrics: dict[str, Any]) -> tuple[str, float] | None:
    """The stratum of test that is answered worst, and its MRR; None where there is but one."""
    found = {n: one["both"]["realistic"]["mrr"] for n, one in metrics.get("test", {}).items()}
    name = min(found.keys() - {"all"}, key=lambda one: (found[one], one), default=None)
    return None if name is None else (name, found[name])
