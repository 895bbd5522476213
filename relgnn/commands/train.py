"""`relgnn demo`, `run` and `evaluate`: train, and measure what was trained."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relgnn.commands.console import (
    SETTINGS,
    AsJson,
    note,
    print_json,
    print_metrics,
    print_table,
    start_quietly,
)
from relgnn.errors import InputError

if TYPE_CHECKING:
    from relgnn.config import AnyConfig

REPLAY, TOLERANCE = 0.3, 0.02
"""Of a continued run, where nothing else is said."""


class Gnn(StrEnum):
    """Graph encoders that the demo knows."""

    rgcn = "rgcn"
    compgcn = "compgcn"


class Split(StrEnum):
    """Splits that can be evaluated."""

    test = "test"
    valid = "valid"


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run and its report.")] = Path(
        "runs/demo"
    ),
    fraction: Annotated[
        float, typer.Option(help="Share of the triples that is given: 0.03, 0.1, 0.3 or 1.")
    ] = 0.1,
    gnn: Annotated[Gnn, typer.Option(help="Graph encoder.")] = Gnn.rgcn,
    as_json: AsJson = False,
) -> None:
    """Watch text teach a graph network: the main job end to end, with a report.

    Runs on CoDEx-S where it is at hand, else on the small graph that comes with relgnn.
    """
    from relgnn.loop.demo import run_demo
    from relgnn.training import Interrupted

    try:
        metrics = run_demo(out, fraction, gnn.value, SETTINGS.quiet or as_json)
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted("stopped; the same command goes on from here") from None
    if as_json:
        print_json({"run": str(out), **metrics})


def run(
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="A configuration (YAML).")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Changes, such as train.epochs=10."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The run folder; by default runs/<configuration's name>-<its hash>."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on with this interrupted run, in place of CONFIG; with loop.rounds=N, with a "
            "finished one to more rounds.",
            metavar="RUN",
        ),
    ] = None,
    continue_: Annotated[
        Path | None,
        typer.Option(
            "--continue",
            metavar="RUN",
            help="Tune this finished run of relation extraction further, on the labelled sentences "
            "of --data, in place of CONFIG.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="With --continue: folder of new marked sentences.")
    ] = None,
    replay: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help=f"With --continue: share of the old sentences that is learnt again; {REPLAY}.",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help=f"With --continue: how far F1 on the old valid set may fall; {TOLERANCE}.",
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Put the continued run in the old one's place, if valid did not get worse; what "
            "was there stays as *.previous.*.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train as a configuration says, evaluate, and write a run folder.

    Ctrl-C stops it so that --resume goes on to the same numbers.
    """
    if data is not None and continue_ is None:
        raise InputError(
            f"--data {data}: give --continue RUN --data NEW to tune a run further; the data of a "
            f"configuration are data.path={data}"
        )
    for name, given in (("--replay", replay), ("--tolerance", tolerance)):
        if given is not None and continue_ is None:
            raise InputError(f"{name}: give --continue RUN --data NEW with it, or leave it away")
    if replace and continue_ is None and resume is None:
        raise InputError("--replace: give --continue RUN --data NEW with it, or leave it away")
    settings, folder = _chosen(
        config, overrides or [], out, resume, continue_, data, replay, tolerance
    )
    if resume is not None and (folder / "metrics.json").is_file():
        _finished(folder, as_json)
    else:
        _show_run(folder, _run(settings, folder, resume is not None), as_json)
    if replace:
        from relgnn.text.retune import replace_run

        note(f"{replace_run(folder)} now has the checkpoint of {folder}")


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    split: Annotated[Split, typer.Option(help="What to rank.")] = Split.test,
    ranks: Annotated[
        Path | None, typer.Option(help="Also write the rank of every query to this TSV file.")
    ] = None,
    typed: Annotated[
        bool,
        typer.Option(help="Rank only entities of a type that the relation has in that place."),
    ] = False,
    categories: Annotated[
        bool, typer.Option(help="Also by category of the relation: 1-1, 1-N, N-1, N-N.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compute a run's metrics again from its checkpoint."""
    start_quietly()
    from relgnn.config import (
        AnyOgbConfig,
        AnyScoreConfig,
        Config,
        InductiveConfig,
        RulesConfig,
        config_of_run,
    )
    from relgnn.linkpred.evaluate import metrics_by_category
    from relgnn.linkpred.ogb_run import evaluate_ogb
    from relgnn.loop.runs import evaluate_any
    from relgnn.ranking.metrics import write_ranks
    from relgnn.text.runs import evaluate_text

    kind = config_of_run(run)
    ranked = Config | InductiveConfig | RulesConfig | AnyScoreConfig
    if kind is not None and not isinstance(kind, ranked):
        of_ogb = isinstance(kind, AnyOgbConfig)
        if ranks is not None or typed or categories:
            what = "on a data set of OGB, which OGB alone judges"
            if not of_ogb:
                what = "of relation extraction, which ranks nothing"
            raise InputError(
                f"{run}: is a run {what}; leave --ranks, --typed and --categories away"
            )
        evaluate_again = evaluate_ogb if of_ogb else evaluate_text
        _show_scores({split.value: evaluate_again(run, split.value)}, as_json)
        return
    if typed and isinstance(kind, InductiveConfig | RulesConfig):
        what = "of rules" if isinstance(kind, RulesConfig) else "on unseen entities"
        raise InputError(f"{run}: is a run {what}, which ranks all entities; leave --typed")
    if typed and isinstance(kind, AnyScoreConfig):
        raise InputError(f"{run}: is a run whose candidates are all entities; leave --typed")
    graph, found, metrics = evaluate_any(kind, run, split.value, typed)
    if categories:
        metrics |= metrics_by_category(found, graph, split.value)
    if ranks is not None:
        write_ranks(ranks, found, getattr(graph, split.value), graph.entities, graph.relations)
    if as_json:
        print_json({split.value: metrics})
    else:
        among = ", among entities of the right type" if typed else ""
        print_metrics(f"{run}, filtered{among}, realistic", {split.value: metrics})


def default_folder(path: Path, config: AnyConfig) -> Path:
    """runs/<configuration's name>-<its hash>, and the seed where it is not 0: it is not hashed."""
    seed = config.runtime.seed
    return Path("runs") / f"{path.stem}-{config.sha256()[:8]}{f'-seed{seed}' if seed else ''}"


def _chosen(
    config: Path | None,
    overrides: list[str],
    out: Path | None,
    resume: Path | None,
    continue_: Path | None,
    data: Path | None,
    replay: float | None,
    tolerance: float | None,
) -> tuple[AnyConfig, Path]:
    """What `run` is to do and the folder of it: CONFIG's, --resume's or --continue's."""
    # where a run stands in CONFIG's place, so may a change
    changes = [*([str(config)] if config is not None else []), *overrides]
    if continue_ is not None:
        from relgnn.text.retune import continued_config

        if resume is not None or data is None:
            raise InputError(f"--continue {continue_}: give --data NEW with it, and no --resume")
        share = REPLAY if replay is None else replay
        least = TOLERANCE if tolerance is None else tolerance
        further = continued_config(continue_, data, share, least, changes)
        return further, out or default_folder(continue_, further)
    if resume is not None and all("=" in change for change in changes):
        if not (resume / "config.yaml").is_file():
            raise InputError(f"{resume}: is no run folder (it has no config.yaml); check the path")
        if out is not None:
            raise InputError(f"--out {out}: a resumed run stays in its folder; leave --out away")
        return _resumed(resume, changes), resume
    if config is not None and resume is None:
        from relgnn.config import load_run_config

        settings = load_run_config(config, overrides)
        return settings, out or default_folder(config, settings)
    raise InputError(
        "give a configuration file, or --resume RUN to go on with a run, or --continue RUN "
        "--data NEW to tune one further; one of them alone"
    )


def _resumed(folder: Path, changes: list[str]) -> AnyConfig:
    from relgnn.config import load_run_config

    if not changes:
        return load_run_config(folder / "config.yaml")
    from relgnn.loop.extend import extend

    return extend(folder, changes)


def _run(settings: AnyConfig, folder: Path, resume: bool) -> dict[str, Any]:
    start_quietly()
    from relgnn.loop.runs import run_any
    from relgnn.training import Interrupted

    try:
        return run_any(settings, folder, resume)
    except (KeyboardInterrupt, Interrupted):
        if not (folder / "config.yaml").is_file():
            raise
        raise Interrupted(f"stopped; go on with: relgnn run --resume {folder}") from None


def _finished(folder: Path, as_json: bool) -> None:
    from relgnn.training import load_json

    note(f"{folder} is finished already; these are its results")
    _show_run(folder, load_json(folder / "metrics.json"), as_json)


def _show_run(folder: Path, metrics: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({"run": str(folder), **metrics})
        return
    rows = metrics["rows"]
    if rows and "all" not in next(iter(rows.values())):
        names = ("valid", "test", "held_out")
        parts: dict[str, Any] = {name: metrics[name] for name in names if name in metrics}
        _show_scores(parts or rows)
        if "continued" in metrics:
            _show_continued(metrics["continued"])
    elif rows:
        print_metrics("Test, filtered, realistic", metrics["rows"])
    elif "valid" in metrics:
        print_metrics("Valid, filtered, realistic", {"final": metrics["valid"]})
    _show_accepted(metrics.get("extraction"))
    _show_stages(metrics.get("stages", []))
    print(f"{folder}: {metrics['seconds']:.0f} s, {metrics['peak_memory_mb']:,.0f} MB")


def _show_accepted(found: dict[str, Any] | None) -> None:
    """How many triples the loop accepted, and how many of them it promises to be true."""
    if found and found.get("accepted"):
        promised = f"of which {found['promised']:.0%} should be true"
        print(f"The texts gave {found['accepted']:,} triples, {promised} (relgnn ledger show)")


def _show_stages(laps: list[dict[str, Any]]) -> None:
    """How long each stage took, and the memory in use until its end."""
    from relgnn.training.stages import by_stage

    if len(laps) < 3:  # training and evaluation alone say nothing that the last line does not
        return
    rows = [
        [one["stage"], str(one["laps"]), f"{one['seconds']:.0f}", f"{one['peak_memory_mb']:,.0f}"]
        for one in by_stage(laps)
    ]
    print_table("Stages", ["", "times", "seconds", "MB at most"], rows)


def _show_continued(found: dict[str, Any]) -> None:
    """Old and new sets before and after, and whether the result was accepted."""
    before, after = found["before"], found["after"]
    metrics = list(next(iter(before.values())))
    rows = [
        [
            name.replace("_", " "),
            *(f"{when[name][m]:.3f}" for m in metrics for when in (before, after)),
        ]
        for name in before
    ]
    header = ["", *(f"{when} {m}" for m in metrics for when in ("before", "after"))]
    print_table("Before and after", header, rows)
    print("accepted" if found["accepted"] else f"not accepted: {found['worse']}")


def _show_scores(parts: dict[str, dict[str, float]], as_json: bool = False) -> None:
    """What a classifier or language model scored on each part; the first one's metrics."""
    if as_json:
        print_json(parts)
        return
    header = ["", *next(iter(parts.values()))]
    rows = [[name, *(f"{part[k]:.3f}" for k in header[1:])] for name, part in parts.items()]
    print_table("Scores", header, rows)
