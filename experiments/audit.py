"""People's word on what the loop accepted, and on answers that the data set calls false.

    python -m experiments.audit draw RUN                 # what is to be judged, and sheets to read
    python -m experiments.audit score                    # precision, its interval, agreement

`draw` takes 300 accepted triples of a finished run, as many from each fifth of them by posterior,
and the 100 surest answers to test queries that are in no split. It writes what they are to
experiments/loop_benchmark/audit/<set>.json, and a sheet without any probability, in another order,
to runs/audit/<set>.sheet.jsonl: one object a line with the triple in words and the sentences that
were read. Two judges write `{"id", "verdict": true | false, "reason"}` a line, each without the
other, to <set>.judge1.jsonl and <set>.judge2.jsonl beside the first file; <set>.settled.jsonl holds
a third word where they differ. A triple is true where it holds in the world, as far as the
sentences and common knowledge tell.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import cohen_kappa_score

from experiments.command import make_parser, tells_errors
from experiments.commit import at_end, provenance
from experiments.results import RESULTS, ROOT, append_rows
from relgnn.audit.guard import numbers_of
from relgnn.config import make_config
from relgnn.data.graph import is_in
from relgnn.errors import InputError
from relgnn.loop.opened import OpenRun, open_run
from relgnn.loop.records import RoundTable, evidence_id, read_round
from relgnn.training import load_json, save_json
from relgnn.training.checkpoint import save_text

FOLDER = ROOT / "loop_benchmark" / "audit"
SHEETS = ROOT.parent / "runs" / "audit"
TABLE = "audit_loop_codex_s"
STRATA, ACCEPTED, ANSWERS = 5, 300, 100
SENTENCES = 4
"""Sentences of a pair on a sheet at most."""
LARGEST = 0.25
"""The variance of a verdict that is as often yes as no."""
JUDGES = ("judge1", "judge2")


def accepted_items(run: OpenRun, table: RoundTable, seed: int) -> list[dict[str, Any]]:
    """A draw of the accepted triples, as many from each `STRATA`th of them by posterior."""
    rows = np.flatnonzero(table.accepted > 0)
    rows = rows[np.argsort(-table.p[rows], kind="stable")]
    rng = np.random.default_rng(seed)
    items = []
    for stratum, part in enumerate(np.array_split(rows, STRATA)):
        for row in rng.choice(part, min(ACCEPTED // STRATA, len(part)), replace=False).tolist():
            item = _item(run, table.triples[row], table.evidence[row])
            share = len(part) / len(rows)
            items.append(item | {"p": float(table.p[row]), "stratum": stratum, "share": share})
    return items


@torch.inference_mode()
def answer_items(run: OpenRun, table: RoundTable) -> list[dict[str, Any]]:
    """The surest answers to test queries that no split of the data set holds."""
    graph, scorer = run.graph, run.scorer
    heads, relations, tails = torch.from_numpy(graph.test.copy()).T
    known = {tuple(t) for t in graph.filter_triples("test").tolist()}
    found: dict[tuple[int, int, int], float] = {}
    for backward in (False, True):
        given = tails if backward else heads
        asked = relations + scorer.num_relations * backward
        queries = torch.unique(torch.stack([given, asked], 1), dim=0)
        for end, relation in queries.tolist():
            scores = scorer.score_tails(torch.tensor([end]), torch.tensor([relation]))
            best = scores[0].log_softmax(0).topk(min(ANSWERS, graph.num_entities))
            r = relation - scorer.num_relations * backward
            for score, e in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                triple = (e, r, end) if backward else (end, r, e)
                if triple not in known:
                    found[triple] = max(score, found.get(triple, score))
    surest = sorted(found, key=lambda t: -found[t])[:ANSWERS]
    evidence = {
        tuple(t): ids for t, ids in zip(table.triples.tolist(), table.evidence, strict=True)
    }
    return [
        _item(run, np.array(t), evidence.get(t, [])) | {"p": float(np.exp(found[t]))}
        for t in surest
    ]  # fmt: skip


def _item(run: OpenRun, triple: np.ndarray, evidence: list[str]) -> dict[str, Any]:
    graph = run.graph
    h, r, t = numbers_of(triple)
    held = bool(is_in(triple[None], graph.filter_triples("test"))[0])
    return {
        "head": graph.entities[h], "relation": graph.relations[r], "tail": graph.entities[t],
        "evidence": evidence[:SENTENCES], "in_data_set": held,
    }  # fmt: skip


def write_sheet(run: OpenRun, items: Sequence[dict[str, Any]], path: Path) -> None:
    """What judges read: a triple in words and its sentences, shuffled, nothing that tells p."""
    graph = run.graph
    sentences = {evidence_id(s): s.text for s in run.world.sentences}
    words = {
        graph.entities[i]: f"{graph.entity_names[i]} ({graph.entity_descriptions[i]})"
        for i in range(graph.num_entities)
    }
    relation = {
        graph.relations[i]: f"{graph.relation_names[i]}: {graph.relation_descriptions[i]}"
        for i in range(graph.num_relations)
    }
    lines = [
        json.dumps(
            {
                "id": number, "head": words[item["head"]], "relation": relation[item["relation"]],
                "tail": words[item["tail"]],
                "sentences": [sentences[name] for name in item["evidence"]],
            },
            ensure_ascii=False,
        )
        for number, item in enumerate(items)
    ]  # fmt: skip
    order = np.random.default_rng(len(lines)).permutation(len(lines))
    save_text(path, "".join(f"{lines[i]}\n" for i in order))


def draw(folder: Path, out: Path = FOLDER, sheets: Path = SHEETS) -> None:
    """Choose what is judged of a run's last round that counts.

    Raises:
        InputError: it is no finished run with a loop, or the round that counts accepted nothing.
    """
    run, metrics = open_run(folder), load_json(folder / "metrics.json")
    number = metrics.get("round", 0)
    table = read_round(folder / "rounds" / str(number), run.graph) if number else None
    if table is None or not (table.accepted > 0).any():
        raise InputError(f"{folder}: accepted nothing that counts; give a run whose loop did")
    config = run.world.config
    about = {
        "config": config.model_dump(mode="json"), "seed": config.runtime.seed,
        "promised": float(table.p[table.accepted > 0].mean()),
        "accepted": int((table.accepted > 0).sum()), "code": provenance(folder),
        "cost": {name: metrics[name] for name in ("seconds", "peak_memory_mb")},
        "environment": load_json(folder / "environment.json"),
    }  # fmt: skip
    sets = {
        "accepted": accepted_items(run, table, config.runtime.seed),
        "answers": answer_items(run, table),
    }
    for name, items in sets.items():
        save_json(out / f"{name}.json", about | {"items": items})
        write_sheet(run, items, sheets / f"{name}.sheet.jsonl")
        print(f"{name}: {len(items)} to judge, in {sheets / name}.sheet.jsonl")


def read_verdicts(path: Path, count: int | None = None) -> dict[int, bool]:
    """Verdicts by id.

    Raises:
        InputError: a line is broken, or not all of `count` are judged.
    """
    found: dict[int, bool] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            entry = json.loads(line)
            id_, verdict = entry["id"], entry["verdict"]
        except (ValueError, KeyError, TypeError):
            id_ = verdict = None
        if type(id_) is not int or type(verdict) is not bool:
            raise InputError(
                f'{path}:{number}: expected {{"id": number, "verdict": true or false, "reason": …}}'
            )
        found[id_] = verdict
    if count is not None and sorted(found) != list(range(count)):
        raise InputError(f"{path}: judges {len(found)} of {count} triples; judge each once")
    return found


def assess(name: str, folder: Path = FOLDER) -> dict[str, float]:
    """Precision with its 95 % interval, weighted by stratum, and the judges' agreement.

    Where the judges differ the settled word counts, else half. The variance is that of a stratified
    draw, Σ_s share_s² · v_s / n_s with v_s the variance within stratum s (Cochran, Sampling
    Techniques, 1977, section 5.3), and its finite-population correction is left out. One triple
    says nothing of its stratum's variance, which then counts as the largest there is.

    Raises:
        InputError: a file is absent or broken.
    """
    about = load_json(folder / f"{name}.json")
    items = about["items"]
    paths = [folder / f"{name}.{judge}.jsonl" for judge in JUDGES]
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: is not there; a judge writes it from the sheet")
    verdicts = [read_verdicts(path, len(items)) for path in paths]
    one, two = (np.array([v[i] for i in range(len(items))], dtype=float) for v in verdicts)
    truth = (one + two) / 2
    settled = folder / f"{name}.settled.jsonl"
    for i, verdict in (read_verdicts(settled) if settled.is_file() else {}).items():
        truth[i] = verdict if one[i] != two[i] else truth[i]
    stratum = np.array([item.get("stratum", 0) for item in items])
    mean = variance = 0.0
    for s in np.unique(stratum):
        part = truth[stratum == s]
        share = items[int(np.flatnonzero(stratum == s)[0])].get("share", 1.0)
        mean += share * part.mean()
        variance += share**2 * (part.var(ddof=1) if len(part) > 1 else LARGEST) / len(part)
    half = 1.96 * variance**0.5
    held = np.array([item["in_data_set"] for item in items])
    found = {
        "precision": mean, "precision_low": mean - half, "precision_high": mean + half,
        "judged": float(len(items)), "in_data_set": float(held.mean()),
    }  # fmt: skip
    if len({*one, *two}) > 1:  # where all verdicts are the same, kappa is 0 / 0
        found["kappa"] = float(cohen_kappa_score(one, two))
    return found | ({"promised": about["promised"]} if name == "accepted" else {})


def score(folder: Path = FOLDER, results: Path = RESULTS) -> None:
    """Record what the judges said of each set that was judged."""
    for path in sorted(folder.glob("*.json")):
        about, name = load_json(path), path.stem
        metrics = assess(name, folder)
        append_rows(
            TABLE, {name: metrics}, about["seed"], make_config(about["config"]),
            "python -m experiments.audit score", at_end(about["code"]), about["cost"],
            about["environment"], results,
        )  # fmt: skip
        print(f"{name}: " + ", ".join(f"{k} {v:.3f}" for k, v in metrics.items()))


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("experiments.audit", __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("draw", help="choose what is to be judged")
    one.add_argument("run", type=Path, help="a finished run with a loop")
    commands.add_parser("score", help="record what the judges said")
    given = parser.parse_args(arguments)
    draw(given.run) if given.command == "draw" else score()
    return 0


if __name__ == "__main__":
    sys.exit(main())
