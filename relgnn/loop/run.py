"""A run from a configuration to a run folder: train, alternate, evaluate once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from relgnn.config import Config
from relgnn.data import KnowledgeGraph, is_in
from relgnn.data.registry import load_graph
from relgnn.errors import InputError
from relgnn.gnn.backends import set_backend
from relgnn.linkpred.evaluate import evaluate
from relgnn.linkpred.features import encode_features
from relgnn.linkpred.fit import Fitted
from relgnn.linkpred.reading import TextReader
from relgnn.linkpred.supervision import Supervision
from relgnn.loop.calibrate import score_calibration
from relgnn.loop.candidates import given_folds
from relgnn.loop.controls import (
    comention,
    one_of_pairs,
    oracle,
    random_pairs,
    shuffled,
    supervise,
)
from relgnn.loop.pseudo import Pseudo, Role
from relgnn.loop.rounds import Loop, Round
from relgnn.loop.textmodel import publish_text_model
from relgnn.loop.world import World, make_encoder
from relgnn.posterior.calibration import calibration_report
from relgnn.ranking.metrics import write_ranks
from relgnn.rules.rule import read_rules
from relgnn.runtime import Runtime, cache_home
from relgnn.training import CHECKPOINT, Observer, module_tensors, save_json, save_tensors
from relgnn.training.run_folder import carry_out
from relgnn.training.tracking import tracked

Row = tuple[Fitted, Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None]


def cache_folder(config: Config) -> Path:
    """Where encodings are kept: text.cache, RELGNN_CACHE or the user's cache folder."""
    if config.text.cache is not None:
        return config.text.cache
    return cache_home()


def run(
    config: Config,
    folder: Path,
    resume: bool = False,
    test: bool = True,
    observe: Observer | None = None,
) -> dict[str, Any]:
    """Train as configured, evaluate, and leave a run folder.

    Args:
        config: what to do.
        folder: made here; must not hold a run yet, unless `resume`.
        resume: go on with the interrupted run in `folder`, to the same numbers.
        test: False takes the test triples away before anything is trained.
        observe: called after every epoch of a predictor.

    Returns:
        The content of metrics.json.

    Raises:
        InputError: the folder holds a run already, the data are not as they should be, or not
            those that the resumed run began with.
    """

    def load(config: Config) -> KnowledgeGraph:
        set_backend(config.runtime.backend)
        graph = load_graph(config.data)
        _require(config, graph)
        return graph if test else replace(graph, test=graph.test[:0])

    def work(graph: KnowledgeGraph, runtime: Runtime) -> dict[str, Any]:
        encoder = make_encoder(config, runtime, cache_folder(config))
        with tracked(config, folder) as tracker:
            world = World(
                config, runtime, graph, encoder, folder, resume, tracker.observer(observe)
            )  # fmt: skip
            metrics = _train(world)
            for split in ("valid", "test"):
                tracker.result(split, flat(metrics.get(split, {})), config.train.epochs)
        save_json(folder / "calibration.json", metrics["calibration"]["score"])
        return metrics

    return carry_out(config, folder, resume, load, work)


def _train(world: World) -> dict[str, Any]:
    """Train and evaluate every row; writes the models."""
    config, graph = world.config, world.graph
    if config.loop is None:
        with world.stages.lap("graph model"):
            final = world.fit(Supervision.gold(graph.train), "link prediction")
        rounds: list[Round] = []
        rows: dict[str, Row] = {"final": (final, None)}
    else:
        loop = Loop(world)
        rounds = loop.run()
        final = rounds[-1].fitted
        readers = _readers(loop, rounds, graph)
        rows = {"round0": (rounds[0].fitted, None), "loop": (final, None)}
        with world.stages.lap("controls"):
            rows |= _controls(world, rounds, readers)
    _write_model(world, final, rounds)
    with world.stages.lap("evaluation"):
        metrics = _metrics(world, rows, rounds, final)
        metrics["calibration"]["score"] = score_calibration(final, graph, _taught(config, rounds))
    return metrics | {"stages": world.stages.laps}


def _taught(config: Config, rounds: list[Round]) -> np.ndarray:
    """Pseudo triples [A, 3] that the final model has learned, with a warm start in any round."""
    warm = config.loop is not None and config.loop.warm_start
    learned = [one.pseudo.triples for one in (rounds if warm else rounds[-1:])]
    return np.concatenate([np.zeros((0, 3), dtype=np.int64), *learned])


def flat(by_stratum: dict[str, Any]) -> dict[str, float]:
    """The realistic metrics over all queries of a split, as metrics.json nests them."""
    found: dict[str, float] = by_stratum["all"]["both"]["realistic"] if by_stratum else {}
    return found


def _require(config: Config, graph: KnowledgeGraph) -> None:
    if config.loop is None:
        return
    if not graph.texts:
        raise InputError(
            f"{graph.name}: the loop needs unlabelled text and there is none; add texts.jsonl "
            "(see README, 'Your own data') or set loop=null"
        )
    if "oracle" in config.loop.controls and graph.strata is None:
        raise InputError(
            f"loop.controls: 'oracle' needs strata.tsv, which {graph.name} has not; leave it out"
        )
    if len(np.unique(given_folds(graph, config.loop.folds))) < 2:
        raise InputError(
            f"{graph.name}: train.tsv has too few triples ({len(graph.train)}) for judges that "
            "each leave some out; give more, or set loop=null"
        )
    rules = config.loop.rules
    if rules is not None and rules.file is not None:
        read_rules(rules.file, graph.relations)  # they are needed after hours, and are told of now


def _readers(loop: Loop, rounds: list[Round], graph: KnowledgeGraph) -> dict[str, TextReader]:
    """What the last round that counts says of its candidates, for each row that may read it.

    The text alone, for a model that no text has taught; the posterior of all views for the loop's.
    """
    if len(rounds) < 2:
        return {}
    table = loop.table(rounds[-1].number)
    by = table.readers(graph.num_entities, loop.world.num_relations)
    return {"round0": by["text"], "loop": by["all"]}


def _controls(world: World, rounds: list[Round], readers: dict[str, TextReader]) -> dict[str, Row]:
    """The other rows of the loop table: same model, split, initialisation and budget."""
    config, graph = world.config.loop, world.graph
    assert config is not None
    pseudo, edge_text = rounds[-1].pseudo, rounds[-1].edge_text
    rows: dict[str, Row] = {}

    def fit(name: str, triples: Pseudo, text: torch.Tensor | None = None) -> Row:
        # The evidence of an edge belongs to its pair: a control that moves edges has none.
        return world.fit(supervise(graph.train, triples, config, text), name), None

    for control in config.controls:
        if control == "alltext":
            page = encode_features(graph, world.encoder, "page")
            gold = Supervision.gold(graph.train)
            rows["alltext"] = (world.fit(gold, "alltext", features=page), None)
        elif control == "comention":
            kept = one_of_pairs(pseudo)
            untyped = comention(pseudo.subset(kept), graph.num_relations)
            text = edge_text
            if text is not None:
                given = len(graph.train)
                text = torch.cat([text[:given], text[given:][torch.from_numpy(kept)]])
            rows["comention"] = fit("comention", untyped, text)
        elif control == "shuffled":
            permuted = shuffled(pseudo, graph, world.runtime.rng("shuffled"))
            rows["shuffled"] = fit("shuffled", permuted, edge_text)
        elif control == "random_pairs":
            rows["random_pairs"] = fit(
                "random pairs", random_pairs(pseudo, world.runtime.rng("random pairs"))
            )
        elif control == "oracle":
            rows["oracle"] = fit("oracle", oracle(graph, graph.train))
        elif control == "read" and readers:
            drawn = readers["loop"].drawn(world.runtime.rng("true answers"))
            known = np.concatenate([graph.filter_triples("valid"), drawn])
            for name, reader in readers.items():
                fitted = rounds[0 if name == "round0" else -1].fitted
                reading = reader.choose(fitted, graph.valid, known)
                rows[f"{name}+read"] = (fitted, reader.scores(reading))
    return rows


def _write_model(world: World, final: Fitted, rounds: list[Round]) -> None:
    folder = world.folder
    assert folder is not None
    models = {f"rounds/{r.number}": r.fitted for r in rounds}
    for name, fitted in {**models, ".": final}.items():
        path = folder / name / CHECKPOINT
        save_tensors(path, module_tensors(fitted.model), {"weight_decay": fitted.weight_decay})
    save_tensors(
        folder / "context.safetensors",
        _context_tensors(world.graph, rounds[-1] if rounds else None),
    )
    if world.config.loop is not None:
        # Where the loop fell back on round 0, round 1's is the only one that was trained.
        publish_text_model(folder, max(1, rounds[-1].number), world.config.loop.folds)


def _context_tensors(graph: KnowledgeGraph, last: Round | None) -> dict[str, torch.Tensor]:
    """What the final model passes messages over: accepted triples, weights, evidence."""
    pseudo = last.pseudo if last else Pseudo.none()
    shown = np.flatnonzero(pseudo.role != Role.TOLD)
    tensors = {
        "triples": torch.from_numpy(pseudo.triples[shown]),
        "weight": torch.from_numpy(pseudo.weight[shown]).float(),
    }
    if last is not None and last.edge_text is not None:
        given = len(graph.train)
        rows = np.concatenate([np.arange(given), given + shown])
        tensors["edge_text"] = last.edge_text[torch.from_numpy(rows)].half()
    return tensors


def _metrics(
    world: World, rows: dict[str, Row], rounds: list[Round], final: Fitted
) -> dict[str, Any]:
    """Everything that metrics.json holds but time and memory; the one place that reads test.

    `round` is the one whose model is the result: later ones may be in the ledger and dropped.
    """
    graph, folder = world.graph, world.folder
    assert folder is not None
    metrics: dict[str, Any] = {"rows": {}, "rounds": [], "calibration": {}, "extraction": {}}
    metrics["round"] = rounds[-1].number if rounds else 0
    if len(graph.valid):
        metrics["valid"] = evaluate(final, graph, "valid")[1]
    if not len(graph.test):
        return metrics
    for name, (fitted, read) in rows.items():
        ranks, by_stratum = evaluate(fitted, graph, "test", read)
        metrics["rows"][name] = by_stratum
        write_ranks(
            folder / "ranks" / f"{name}.tsv", ranks, graph.test, graph.entities, graph.relations
        )
        if fitted is final and read is None:
            metrics["test"] = by_stratum
    for round_ in rounds:
        accepted = round_.pseudo.of(Role.ACCEPTED)
        entry: dict[str, Any] = {
            "round": round_.number,
            "accepted": len(accepted),
            "connected": len(round_.pseudo.of(Role.CONNECTED)),
            "told": len(round_.pseudo.of(Role.TOLD)),
            "weight_decay": round_.fitted.weight_decay,
            "test": evaluate(round_.fitted, graph, "test")[1],
        }
        if len(graph.valid):
            entry["valid"] = evaluate(round_.fitted, graph, "valid")[1]
        if round_.number:
            entry["precision"] = _precision(graph, accepted)
        metrics["rounds"].append(entry)
    if len(rounds) > 1:
        metrics["calibration"]["posterior"] = _promise(world, rounds[-1])
        metrics["extraction"] = metrics["rounds"][-1]["precision"]
    return metrics


def _truth(graph: KnowledgeGraph, triples: np.ndarray) -> np.ndarray:
    """Which triples the whole data set holds, hidden and test included: only to report."""
    return is_in(triples, graph.filter_triples("test"))


def _precision(graph: KnowledgeGraph, pseudo: Pseudo) -> dict[str, float]:
    """Promised and real precision of the accepted; real counts what the data set holds as true."""
    if not len(pseudo):
        return {"accepted": 0}
    real = float(_truth(graph, pseudo.triples).mean())
    return {"accepted": len(pseudo), "promised": float(pseudo.p.mean()), "real": real}


def _promise(world: World, last: Round) -> dict[str, Any]:
    assert world.folder is not None
    table = Loop(world).table(last.number)
    return calibration_report(table.p, _truth(world.graph, table.triples).astype(float))
