"""The report of a run: one HTML file that needs nothing else, and a picture."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from relgnn.config import Config, load_config
from relgnn.data import STRATA, KnowledgeGraph
from relgnn.data.registry import load_graph
from relgnn.errors import InputError
from relgnn.loop import figures
from relgnn.loop.examples import Example, Judged
from relgnn.loop.figures import short
from relgnn.ranking.metrics import read_ranks
from relgnn.ranking.ranks import SIDES
from relgnn.ranking.statistics import Interval, paired_bootstrap
from relgnn.training import atomic_file, load_json, save_text

GROUPS = ("all", *STRATA)
ACCEPTED, REJECTED = 20, 10
SAMPLES = 2000

ROWS = {
    "round0": "before reading: names, descriptions and first sentences only",
    "alltext": "whole pages as node features, no loop",
    "comention": "all that the loop taught, but under one relation without a meaning",
    "shuffled": "relations of accepted triples permuted among pairs of the same types",
    "random_pairs": "tails of accepted triples permuted within each relation",
    "loop": "the result: accepted triples teach the graph network",
    "round0+read": "round0, and the text's posterior joins the score at test time",
    "loop+read": "loop, and the posterior of all views joins the score at test time",
    "oracle": "upper bound: every triple that some page states, test triples too",
}


def ordered_rows(names: Iterable[str]) -> list[str]:
    """Rows of a loop table as readers know them: before, controls, loop, reading, oracle."""
    known = list(ROWS)
    return sorted(names, key=lambda n: (known.index(n) if n in known else len(known), n))


def row_title(name: str) -> str:
    """A row's name with spaces."""
    return name.replace("_", " ").replace("+", " + ")


def signed(value: float) -> str:
    """`short` with its sign, minus as typographers write it."""
    return f"{'+' if value >= 0 else '−'}{short(abs(value))}"


def write_report(folder: Path, graph: KnowledgeGraph | None = None, note: str = "") -> Path:
    """Write `report.html` and `report.png` into a run's folder.

    Args:
        folder: a finished run with a loop.
        graph: cut to the run's fraction; loaded as the run's configuration says where None.
        note: which data and why, where the run's configuration does not say it.

    Returns:
        The HTML file; the picture lies beside it.

    Raises:
        InputError: the run is not finished, has no loop or no test triples.
        MachineError: a file cannot be written.
    """
    folder = Path(folder)
    metrics = load_json(folder / "metrics.json")
    if not {"round0", "loop"} <= metrics["rows"].keys():
        raise InputError(
            f"{folder}: a report needs a run with a loop and test triples; set loop and give a test"
        )
    config = load_config(folder / "config.yaml")
    graph = graph or load_graph(config.data)
    panels = _panels(folder, metrics)
    context = _context(folder, config, graph, metrics, note)
    context["figures"] = {name: _picture(draw) for name, draw in panels.items()}
    environment = Environment(
        loader=PackageLoader("relgnn.loop", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"short": short, "signed": signed}
    html = environment.get_template("report.html.j2").render(context)
    title = f"{context['data']['name']}: test MRR {context['headline']}"
    png = figures.overview(list(panels.values()), title)
    with atomic_file(folder / "report.png") as path:
        path.write_bytes(png)
    save_text(folder / "report.html", html)
    return folder / "report.html"


def _panels(folder: Path, metrics: dict[str, Any]) -> dict[str, figures.Draw]:
    rounds = metrics["rounds"]
    groups = [g for g in GROUPS if g in rounds[0]["test"]]
    curves = {g: [_mrr(entry["test"], g) for entry in rounds] for g in groups}
    rows = {
        row_title(name): {g: _mrr(metrics["rows"][name], g) for g in groups}
        for name in ordered_rows(metrics["rows"])
    }
    before, after = (_ranks(folder, name).ravel() for name in ("round0", "loop"))
    panels = {
        "rounds": figures.draw_rounds([entry["round"] for entry in rounds], curves),
        "changes": figures.draw_changes(before, after),
        "rows": figures.draw_rows(rows, "loop"),
    }
    posterior = metrics["calibration"].get("posterior")
    if posterior:
        panels["calibration"] = figures.draw_calibration(posterior["bins"])
    return panels


def _context(
    folder: Path, config: Config, graph: KnowledgeGraph, metrics: dict[str, Any], note: str
) -> dict[str, Any]:
    rounds = metrics["rounds"]
    last = rounds[-1]
    accepted, rejected = _examples(folder, graph, last["round"])
    before, after = (_mrr(metrics["rows"][name], "all") for name in ("round0", "loop"))
    groups = [g for g in GROUPS if g in last["test"]]
    minutes, seconds = divmod(round(metrics["seconds"]), 60)
    return {
        "headline": f"{short(before)} → {short(after)}",
        "groups": groups,
        "strata": len(groups) > 1,
        "changes": {g: _change(folder, graph, g) for g in groups},
        "last": last,
        "rounds": rounds,
        "rows": [
            {
                "name": row_title(name),
                "what": ROWS.get(name, ""),
                "result": name == "loop",
                "mrr": {g: _mrr(metrics["rows"][name], g) for g in groups},
                "hits": [metrics["rows"][name]["all"]["both"]["realistic"][f"hits@{k}"]
                         for k in (1, 3, 10)],
            }
            for name in ordered_rows(metrics["rows"])
        ],
        "accepted": accepted,
        "rejected": rejected,
        "calibration": metrics["calibration"].get("posterior"),
        "data": {
            "name": graph.name,
            "note": note,
            "fraction": 100 * config.data.fraction,
            "split_seed": config.data.split_seed,
            "given": len(graph.train),
            "valid": len(graph.valid),
            "hidden": len(graph.hidden),
            "test": len(graph.test),
            "queries": {g: last["test"][g]["both"]["realistic"]["queries"] for g in groups},
            "entities": graph.num_entities,
            "relations": graph.num_relations,
            "texts": len(graph.texts),
            "sentences": len(graph.sentences()),
        },
        "model": {
            "gnn": config.gnn.kind,
            "decoder": config.decoder.kind,
            "text": config.text.model,
        },
        "seed": config.runtime.seed,
        "config_sha256": config.sha256(),
        "duration": f"{minutes} min {seconds} s",
        "memory": metrics["peak_memory_mb"],
        "environment": load_json(folder / "environment.json"),
    }  # fmt: skip


def _examples(
    folder: Path, graph: KnowledgeGraph, round_: int
) -> tuple[list[Example], list[Example]]:
    if round_ == 0:
        return [], []
    judged = Judged(folder, graph, round_)
    return judged.accepted(ACCEPTED), judged.rejected(REJECTED)


def _change(folder: Path, graph: KnowledgeGraph, group: str) -> Interval:
    """`loop` minus `round0` in MRR, with its interval over test triples."""
    loop, round0 = (1 / _ranks(folder, name) for name in ("loop", "round0"))
    kept = np.ones(loop.shape[1], dtype=bool)
    if group != "all" and graph.strata is not None:
        kept = graph.strata["test"] == STRATA.index(group)
    a, b = loop[:, kept].ravel()[None], round0[:, kept].ravel()[None]
    units = np.tile(np.arange(int(kept.sum())), len(SIDES))
    return paired_bootstrap(a, b, units, samples=SAMPLES)


def _ranks(folder: Path, row: str) -> np.ndarray:
    """Realistic ranks [sides, T] of a row."""
    ranks = read_ranks(folder / "ranks" / f"{row}.tsv")
    return np.stack([ranks[side][1].realistic for side in SIDES])


def _mrr(test: dict[str, Any], group: str) -> float:
    return float(test[group]["both"]["realistic"]["mrr"])


def _picture(draw: figures.Draw) -> dict[str, str]:
    """Data URIs of a panel for a light and a dark page."""
    drawn = partial(figures.svg, draw)
    palettes: Sequence[tuple[str, figures.Palette]] = (
        ("light", figures.LIGHT),
        ("dark", figures.DARK),
    )
    return {
        name: "data:image/svg+xml;base64," + base64.b64encode(drawn(palette)).decode()
        for name, palette in palettes
    }
