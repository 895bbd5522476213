"""The demo: the main job end to end on the best data at hand, with a report."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from relgnn.config import Config, load_config
from relgnn.data import KnowledgeGraph
from relgnn.data.registry import load_default
from relgnn.errors import InputError, RelgnnError
from relgnn.loop.figures import short
from relgnn.loop.report import GROUPS, ordered_rows, row_title, write_report
from relgnn.loop.run import run
from relgnn.training import load_json, quiet_bars, save_json

MARKER = "demo.json"
"""What tells a folder that the demo may replace from any other."""


def run_demo(
    folder: Path,
    fraction: float = 0.1,
    gnn: str = "rgcn",
    quiet: bool = False,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Teach a graph network from text and report what came of it.

    CoDEx-S where it is at hand, else the embedded graph. A demo that was interrupted in `folder`
    goes on; one that had ended starts afresh.

    Args:
        folder: where the run and its report go.
        fraction: share of train and valid triples that is given, in (0, 1].
        gnn: "rgcn" or "compgcn".
        quiet: neither progress nor table.
        overrides: further `key.sub=value` changes of the demo's configuration.

    Returns:
        The content of metrics.json, and `report`, `picture`, `data` as strings.

    Raises:
        InputError: `folder` holds something that the demo did not make, or verdicts of a person.
    """
    with quiet_bars(quiet):
        console = Console(quiet=quiet)
        graph, note = load_default()
        config = demo_config(graph, fraction, gnn, overrides)
        resume = _make_room(folder, config)
        console.print(Text(_opening(config, graph, note, folder, resume)), soft_wrap=True)
        save_json(folder / MARKER, {"data": note, "config_sha256": config.sha256()})
        metrics = run(config, folder, resume)
        report = write_report(folder, graph.at_fraction(fraction, config.data.split_seed), note)
        console.print(demo_table(metrics))
        console.print(Text(_closing(config, graph, metrics, report)), soft_wrap=True)
        return metrics | {
            "report": str(report), "picture": str(report.with_suffix(".png")), "data": note,
        }  # fmt: skip


def demo_config(
    graph: KnowledgeGraph, fraction: float, gnn: str, overrides: Sequence[str] = ()
) -> Config:
    """The demo's configuration for a graph: all controls that its data permit."""
    with as_file(files("relgnn.loop").joinpath("demo.yaml")) as path:
        changes = [f"data.name={graph.name}", f"data.fraction={fraction}", f"gnn.kind={gnn}"]
        if graph.strata is None:
            loop = load_config(path).loop
            assert loop is not None
            kept = ", ".join(name for name in loop.controls if name != "oracle")
            changes.append(f"loop.controls=[{kept}]")
        return load_config(path, [*changes, *overrides])


def demo_table(metrics: dict[str, Any]) -> Table:
    """Rows and rounds with MRR by stratum and hits, for a terminal."""
    table = Table(
        title="Test MRR, all and by stratum, and hits; filtered, realistic ranks",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    table.add_column("row", no_wrap=True)
    columns = [g for g in GROUPS if any(g in row for row in metrics["rows"].values())]
    for name in [*(f"MRR\n{c}" for c in columns), "Hits\n@1", "Hits\n@3", "Hits\n@10"]:
        table.add_column(name, justify="right")
    last = metrics["rounds"][-1]["round"]
    for entry in metrics["rounds"]:
        number = entry["round"]
        title = {0: "round 0, before", last: f"round {number}, result"}
        name = title.get(number, f"round {number}")
        table.add_row(name, *_cells(entry["test"], columns), style="bold" if number == last else "")
    table.add_section()
    for name in ordered_rows(metrics["rows"]):
        if name not in ("round0", "loop"):
            table.add_row(row_title(name), *_cells(metrics["rows"][name], columns))
    return table


def _cells(test: dict[str, Any], columns: list[str]) -> list[str]:
    by_stratum = [test[c]["both"]["realistic"]["mrr"] if c in test else None for c in columns]
    whole = test["all"]["both"]["realistic"]
    return [short(v) for v in (*by_stratum, whole["hits@1"], whole["hits@3"], whole["hits@10"])]


def _make_room(folder: Path, config: Config) -> bool:
    """Empty the folder of an older demo; True where an interrupted one is to go on."""
    if not folder.exists() or not any(folder.iterdir()):
        return False
    if not (folder / MARKER).exists():
        raise InputError(
            f"{folder}: holds files that are not the demo's; give another folder with --out"
        )
    verdicts = folder / "ledger" / "verdicts.jsonl"
    if verdicts.exists() and verdicts.stat().st_size:
        raise InputError(
            f"{folder}: holds a person's verdicts, which a new demo would delete; "
            f"move {verdicts} away or give another folder with --out"
        )
    if (folder / "config.yaml").exists() and not (folder / "metrics.json").exists():
        try:
            before = load_json(folder / MARKER)["config_sha256"]
        except (RelgnnError, KeyError):
            before = ""
        if before == config.sha256():
            return True
    shutil.rmtree(folder)
    return False


def _opening(config: Config, graph: KnowledgeGraph, note: str, folder: Path, resume: bool) -> str:
    loop = config.loop
    assert loop is not None
    share = f"{100 * config.data.fraction:g} %"
    lines = [
        f"Data: {note}.",
        f"Given: {share} of {len(graph.train):,} triples, and {len(graph.texts):,} pages of text. "
        f"Rounds of reading: {loop.rounds}, with {config.gnn.kind}; then the controls.",
    ]
    if resume:
        lines.append(f"An interrupted demo in {folder} goes on.")
    elif config.budget is not None and _usual(config, graph):
        minutes = 60 * config.budget.hours
        lines.append(f"It takes up to {minutes:.0f} minutes on {config.source}.")
    return "\n".join(lines)


def _closing(config: Config, graph: KnowledgeGraph, metrics: dict[str, Any], report: Path) -> str:
    minutes, seconds = divmod(round(metrics["seconds"]), 60)
    lines = [f"Took {minutes} min {seconds} s and {metrics['peak_memory_mb']:,.0f} MB."]
    if config.expected and _usual(config, graph):
        figures = ", ".join(f"{key} {short(value)}" for key, value in config.expected.items())
        lines.append(f"Expected: {figures} ({config.source}).")
    elif not _usual(config, graph):
        lines.append("Expect other numbers than README's: they are for CoDEx-S at 10 % and rgcn.")
    lines.append(f"Report: {report}, picture: {report.with_suffix('.png')}")
    return "\n".join(lines)


def _usual(config: Config, graph: KnowledgeGraph) -> bool:
    """Whether the expected figures are for this run."""
    return graph.name == "codex_s" and config.data.fraction == 0.1 and config.gnn.kind == "rgcn"
