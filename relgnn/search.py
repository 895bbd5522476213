"""Search over the keys of a configuration with Optuna, by what valid says."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relgnn.config import AnyConfig, Config, RelationConfig, load_run_config
from relgnn.config.tree import parse
from relgnn.data.registry import load_graph
from relgnn.errors import Diverged, InputError, lacks_memory
from relgnn.loop.run import flat, run
from relgnn.runtime import optional_import, rng
from relgnn.text.reader import load_data
from relgnn.text.relation_run import run_relations
from relgnn.training import EpochRecord, Interrupted, atomic_file, save_json, save_text

if TYPE_CHECKING:
    import optuna

Say = Callable[[str], None]


@dataclass(frozen=True)
class Choice:
    """One of several values; any YAML."""

    values: tuple[Any, ...]

    def draw(self, trial: optuna.Trial, key: str) -> Any:
        """The trial's value; the storage knows it by its JSON."""
        return json.loads(trial.suggest_categorical(key, [_json(one) for one in self.values]))

    def ends(self) -> Sequence[Any]:
        """Every value."""
        return self.values


@dataclass(frozen=True)
class Range:
    """A number from low to high, both included; an integer where both are."""

    low: float
    high: float
    log: bool = False

    def draw(self, trial: optuna.Trial, key: str) -> float:
        """The trial's value."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(key, self.low, self.high, log=self.log)
        return trial.suggest_float(key, self.low, self.high, log=self.log)

    def ends(self) -> Sequence[float]:
        """Both ends."""
        return self.low, self.high


Space = Mapping[str, Choice | Range]


def read_space(path: Path) -> Space:
    """Read what is searched: `key.sub: [values]` or `key.sub: {low: …, high: …, log: true}`.

    Raises:
        InputError: the file cannot be read, or an entry is neither.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: cannot be read as UTF-8 text; check the path") from None
    content = parse(text, str(path))
    if not isinstance(content, dict) or not content:
        raise InputError(
            f"{path}: expected keys, such as 'extraction.lr: {{low: 1e-5, high: 1e-3}}'"
        )
    return {str(key): _entry(value, f"{path}: '{key}'") for key, value in content.items()}


def _entry(value: Any, place: str) -> Choice | Range:
    if isinstance(value, list) and value:
        return Choice(tuple(value))
    if isinstance(value, dict) and {"low", "high"} <= value.keys() <= {"low", "high", "log"}:
        low, high, log = value["low"], value["high"], value.get("log", False)
        numbers = all(type(x) in (int, float) and math.isfinite(x) for x in (low, high))
        if numbers and low < high and type(log) is bool and (low > 0 or not log):
            return Range(low, high, log)
    raise InputError(
        f"{place} is {value!r}; expected a list of values, or {{low: number, high: number}} with "
        "low < high, and 0 < low where log is true"
    )


def search(
    path: Path,
    overrides: Sequence[str],
    space: Space,
    trials: int,
    out: Path,
    storage: Path | None = None,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Try configurations until so many trials have ended, and write what was found.

    A trial trains and is judged on valid, by the metric that selects its epoch; test is never seen.
    One whose metric after an epoch is below the median of the others' is given up, and so is one
    whose loss is not finite, or whose values the configuration refuses together. Values are drawn
    by the tree-structured Parzen estimator (Bergstra et al., 2011). An interrupted search goes on
    with the values it had drawn.

    Args:
        path: of the configuration that is searched around.
        overrides: changes of it that all trials share.
        space: keys and their values.
        trials: that shall have ended, those of an earlier call included.
        out: gets best.yaml, trials.tsv, importance.png, and the trials' run folders.
        storage: the SQLite file of the study; by default out/study.db.
        say: told of each trial.

    Returns:
        best (its trial, value and parameters), trials and importance.

    Raises:
        InputError: Optuna is not installed, a key or value is wrong, the storage has another
            search, or no trial came to an end: then what
            the last that was refused was refused for, if any was.
        Interrupted: on Ctrl-C.
    """
    optuna = _optuna()
    base = load_run_config(path, overrides)
    metric = _metric(base)
    _require_legal(path, overrides, space)
    _require_data(base)
    study = _open(optuna, base, space, storage or out / "study.db")
    refused: InputError | None = None
    while (done := _ended(study)) < trials:
        seed = int(rng(f"search/{done}", base.runtime.seed).integers(2**31))
        study.sampler = optuna.samplers.TPESampler(seed=seed)
        trial = study.ask()
        drawn = {key: one.draw(trial, key) for key, one in space.items()}
        changes = _changes(drawn)
        try:
            config = load_run_config(path, [*overrides, *changes])
            folder = out / "trials" / f"{trial.number:04d}"
            state, value = _try(optuna, trial, config, metric, folder)
        except InputError as error:
            # a configuration or a model that refuses these values may take others
            refused = error
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            say(f"trial {trial.number}: given up with {' '.join(changes)}: {error}")
            continue
        study.tell(trial, value, state)
        shown = "given up" if value is None else f"{metric} {value:.4f}"
        say(f"trial {trial.number}: {shown} with {' '.join(changes)}")
    if refused and not study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE]):
        raise refused
    return _report(optuna, study, path, overrides, base.runtime.seed, metric, out)


def _optuna() -> Any:
    with optional_import("search"):
        import optuna
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _metric(config: AnyConfig) -> str:
    if isinstance(config, RelationConfig):
        return config.extraction.metric
    if isinstance(config, Config):
        return "mrr"
    raise InputError(
        "a search needs a configuration of link prediction or with 'extraction:'; give one of those"
    )


def _require_data(config: AnyConfig) -> None:
    """Refuse data with which no trial could come to an end.

    Raises:
        InputError: they are nowhere, or broken, or there is nothing to judge a trial on.
    """
    if isinstance(config, RelationConfig):
        load_data(config)
    elif isinstance(config, Config) and not len(load_graph(config.data).valid):
        raise InputError("the data have no valid triples; a search needs some")


def _require_legal(path: Path, overrides: Sequence[str], space: Space) -> None:
    """Refuse a value that the configuration refuses whatever the other keys' values are.

    One that it takes beside some of them is searched, and given up beside the others.

    Raises:
        InputError: there is one, or a key is unknown.
    """

    def load(values: Mapping[str, Any]) -> None:
        load_run_config(path, [*overrides, *_changes(values)])

    def legal(values: Mapping[str, Any]) -> bool:
        try:
            load(values)
        except InputError:
            return False
        return True

    each: list[dict[str, Any]] = [{k: end} for k, one in space.items() for end in one.ends()]
    rows = [
        {key: one.ends()[min(number, len(one.ends()) - 1)] for key, one in space.items()}
        for number in range(max(len(one.ends()) for one in space.values()))
    ]
    beside = [*rows, *(row | one for row in rows for one in each)]
    for value in each:
        if not any(legal(other | value) for other in beside):
            load(value)  # alone, so that the error names it
            load(rows[0] | value)


def _changes(values: Mapping[str, Any]) -> list[str]:
    """Overrides of a configuration; JSON is YAML."""
    return [f"{key}={_json(value)}" for key, value in values.items()]


def _json(value: Any) -> str:
    # a date, which YAML knows and JSON does not, is a text to a configuration too
    return json.dumps(value, default=str)


def _open(optuna: Any, base: AnyConfig, space: Space, storage: Path) -> optuna.Study:
    from sqlalchemy.exc import DBAPIError

    storage.parent.mkdir(parents=True, exist_ok=True)
    try:
        study = optuna.create_study(
            study_name="relgnn", storage=f"sqlite:///{storage}", direction="maximize",
            load_if_exists=True, pruner=optuna.pruners.MedianPruner(n_warmup_steps=1),
        )  # fmt: skip
    except DBAPIError as error:
        raise InputError(
            f"{storage}: is not the SQLite file of a search, or cannot be written ({error.orig}); "
            "give another --storage"
        ) from None
    about = json.dumps([base.sha256(), base.runtime.seed, repr(sorted(space.items()))])
    mark = hashlib.sha256(about.encode()).hexdigest()
    if study.user_attrs.get("search", mark) != mark:
        raise InputError(
            f"{storage}: holds a search of another configuration or space; give another --out, and "
            "another --storage where you give one"
        )
    study.set_user_attr("search", mark)
    for trial in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _ended(study: optuna.Study) -> int:
    return sum(trial.state.is_finished() and trial.state.name != "FAIL" for trial in study.trials)


def _try(
    optuna: Any, trial: optuna.Trial, config: AnyConfig, metric: str, folder: Path
) -> tuple[Any, float | None]:
    """Train one configuration; its state and, where it came to an end, its best valid metric.

    One that diverges, or for which the memory is not enough, is given up like a bad one.
    """
    first: list[str] = []

    def observe(task: str, record: EpochRecord) -> None:
        first.append(task)
        if task == first[0] and metric in record.valid:
            trial.report(record.valid[metric], record.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    states = optuna.trial.TrialState
    try:
        if isinstance(config, Config):
            metrics = run(config, folder, test=False, observe=observe)
            value = flat(metrics["valid"])[metric]
        else:
            assert isinstance(config, RelationConfig)  # `_metric` refuses all others
            metrics = run_relations(config, folder, test=False, observe=observe)
            value = metrics["valid"][metric]
    except (optuna.TrialPruned, Diverged):
        return states.PRUNED, None
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        return states.PRUNED, None
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted("stopped; the same command goes on from here") from None
    return states.COMPLETE, float(value)


def _report(
    optuna: Any,
    study: optuna.Study,
    path: Path,
    overrides: Sequence[str],
    seed: int,
    metric: str,
    out: Path,
) -> dict[str, Any]:
    complete = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    if not complete:
        raise InputError(
            f"none of {len(study.trials)} trials came to an end; narrow the space, or try more"
        )
    best, names = study.best_trial, list(study.best_trial.params)
    # a choice is stored by its JSON
    found = {k: json.loads(v) if isinstance(v, str) else v for k, v in best.params.items()}
    config = load_run_config(path, [*overrides, *_changes(found)])
    save_text(out / "best.yaml", config.to_yaml())
    rows = [["trial", "state", metric, "seconds", *names]]
    for trial in study.get_trials(deepcopy=False):
        seconds = f"{trial.duration.total_seconds():.1f}" if trial.duration else ""
        value = "" if trial.value is None else f"{trial.value:.6f}"
        drawn = [str(trial.params.get(name, "")) for name in names]
        rows.append([str(trial.number), trial.state.name.lower(), value, seconds, *drawn])
    save_text(out / "trials.tsv", "".join("\t".join(row) + "\n" for row in rows))
    importance = _importance(optuna, study, seed)
    if importance:
        _plot(importance, metric, out / "importance.png")
    report = {
        "best": {"trial": best.number, metric: best.value, "parameters": found},
        "trials": len(study.trials),
        "importance": importance,
    }
    save_json(out / "search.json", report)
    return report


def _importance(optuna: Any, study: optuna.Study, seed: int) -> dict[str, float]:
    """Share of the metric's variance that each key explains (fANOVA; Hutter et al., 2014).

    Empty where too few trials came to an end, or all alike.
    """
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    try:
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (ValueError, RuntimeError):
        return {}
    return {key: float(value) for key, value in found.items()}


def _plot(importance: Mapping[str, float], metric: str, path: Path) -> None:
    from matplotlib.figure import Figure

    names = list(importance)[::-1]
    figure = Figure(figsize=(6, 0.8 + 0.35 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, [importance[name] for name in names])
    axes.set_xlabel(f"share of the variance of valid {metric}")
    with atomic_file(path) as beside:
        figure.savefig(beside, format="png", dpi=150)
