"""A folder of made-up results that every figure of the paper can be drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import experiments.explained
import experiments.text_map
from experiments.jobs import PLAIN, table_configs
from experiments.results import Line, append, ranks_path, save_ranks, save_strata, strata_path
from paper_figures import cost, inductive, scale, text_map
from relgnn.data import STRATA
from relgnn.loop.report import ROWS
from relgnn.ranking.metrics import write_ranks
from relgnn.ranking.ranks import Ranks
from relgnn.ranking.sampled import HITS_10_OF_50
from relgnn.training import save_json

TRIPLES = 30
MASKS = {
    "all": np.ones(TRIPLES, dtype=bool),
    **{name: np.arange(TRIPLES) % 3 == k for k, name in enumerate(("feature", "corpus", "none"))},
}
SOURCE = (
    "reference: micro-F1 of BERT-base .786 to .806 (30 %), .719 to .739 (10 %), selected on test; "
    "BERT-base (110M) .884 to .893 macro-F1"
)
DATA = ("codex_s", "codex_m", "fb15k237", "wn18rr")
HITS = {HITS_10_OF_50: 0.9}


def line(table: str, row: str, fraction: float = 0.1, seed: int = 0, **metrics: float) -> Line:
    """A clean line."""
    return Line(
        table=table, row=row, fraction=fraction, seed=seed, metrics=metrics, expected={},
        command="python -m experiments.reproduce", config_sha256="a" * 64, git_commit="c" * 40,
        dirty=False, split_seed=seed, seconds=60.0 + seed, peak_memory_mb=900.0,
        hardware="two cores, 24 GB", versions={},
    )  # fmt: skip


def write_results(root: Path, large: bool = False) -> Path:
    """Write every table that a figure reads, and return the folder.

    Args:
        root: the folder.
        large: with more rows, shares, seeds, graph networks and data sets than there are today.
    """
    seeds = range(5) if large else range(2)
    shares = (0.03, 0.1, 0.3, 1.0) if large else (0.03, 0.1)
    prefixes = ("", "compgcn/", "attention/") if large else ("", "compgcn/")
    _write_loop(root, seeds, shares, prefixes)
    _write_loop_ablation(root, seeds, 40 if large else 3)
    _write_relations(root, seeds, 33 if large else 3)
    _write_speed(root, 24 if large else 3)
    _write_sizes(root, large)
    _write_rows(root, inductive.TABLE, seeds if large else seeds[:1], None if large else 5)
    for data in DATA if large else DATA[:1]:
        _write_rows(root, cost.PREFIX + data, seeds, None if large else 4)
    _write_map(root, 300 if large else 40)
    _write_explanation(root, 5 if large else 1)
    return root


def _write_loop(
    root: Path, seeds: Sequence[int], shares: Sequence[float], prefixes: Sequence[str]
) -> None:
    table = "loop_codex_s"
    lines = []
    for share in shares:
        # as today, the smallest share has one seed
        for seed in seeds if share > 0.05 else seeds[:1]:
            for number, prefix in enumerate(prefixes):
                ranks = _ranks(seed + 10 * number)
                for row, one in ranks.items():
                    mrr = {
                        "mrr" if name == "all" else f"mrr_{name}": float((1 / one[:, mask]).mean())
                        for name, mask in MASKS.items()
                    }
                    lines.append(line(table, prefix + row, share, seed, **mrr))
                if share == 0.1:
                    path = ranks_path(table, prefix.strip("/") or PLAIN, share, seed, root)
                    _save(ranks, path, root / "run")
    append(table, lines, root)
    save_strata(MASKS, strata_path(table, root))
    read = {"precision": 0.8, "precision_low": 0.75, "precision_high": 0.85, "judged": 300.0}
    audit = [
        line("audit_loop_codex_s", "accepted", **read, promised=0.85),
        line("audit_loop_codex_s", "answers", **read),
    ]
    append("audit_loop_codex_s", audit, root)


def _write_loop_ablation(root: Path, seeds: Sequence[int], rows: int) -> None:
    numbers = (0, 1, 3, 4, 5) if rows > 3 else (0, 1)
    names = ["loop", *(f"row_{number}" for number in range(rows))]
    names += [f"rounds_{n}" for n in numbers] + [f"noise_{10 * n}" for n in numbers[1:]]
    table = "ablation_loop_codex_s"
    lines = []
    for number, row in enumerate(names):
        # the last row has one seed only, and one that the loop lacks
        for seed in seeds if row != f"row_{rows - 1}" else [0, 99]:
            mrr = 0.3 - number / 500 + seed / 100
            strata = {f"mrr_{name}": mrr - k / 50 for k, name in enumerate(STRATA)}
            lines.append(line(table, row, 0.1, seed, mrr=mrr, **strata))
    append(table, lines, root)


def _ranks(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {row: random.integers(1, 9, size=(2, TRIPLES)).astype(float) for row in ROWS}


def _save(ranks: dict[str, np.ndarray], path: Path, run: Path) -> None:
    triples = np.zeros((TRIPLES, 3), dtype=np.int64)
    for row, one in ranks.items():
        whole = one.astype(np.int64)
        sides = {
            side: Ranks(whole[k], whole[k], np.full(TRIPLES, 20))
            for k, side in enumerate(("head", "tail"))
        }
        write_ranks(run / "ranks" / f"{row}.tsv", sides, triples, ["e"], ["r"])
    save_ranks(run, ranks, path)


def _write_relations(root: Path, seeds: Sequence[int], rows: int) -> None:
    table = "ablation_re_semeval2010_10"
    lines = [line(table, "baseline", seed=seed, macro_f1=0.7 + seed / 100) for seed in seeds]
    for number in range(rows):
        # the first row has one seed only, and one that the baseline lacks
        which = [0, 99] if not number else list(seeds)
        lines += [
            line(table, f"addition_{number}", seed=s, macro_f1=0.71 + 0.02 * s - number / 1000)
            for s in which
        ]
    append(table, lines, root)
    ece = {"ece": 0.02, "ece_chance": 0.03, "trained_parameters": 23e6}
    table = "re_semeval2010"
    lines = []
    for seed in seeds:
        for row, share in (("tuned_05", 0.05), ("tuned_10", 0.1), ("tuned", 1.0), ("frozen", 1.0)):
            f1 = 0.9 - 0.1 / (1 + 10 * share) + seed / 100
            lines.append(line(table, row, share, seed, macro_f1=f1, micro_f1=f1, **ece))
    lines[0].expected["source"] = SOURCE
    append(table, lines, root)
    for number in range(rows // 3):
        table = f"re_toy{number}"
        one = line(table, "tuned", 1.0, ece=0.05, ece_chance=0.03, macro_f1=0.5)
        append(table, [one, line(table, "frequency", 1.0, micro_f1=0.1)], root)
    table = "efficient_re_semeval2010"
    append(
        table,
        [
            line(
                table, f"method_{k}", seed=seed, macro_f1=0.6 + k / 100, trained_parameters=7e5 + k
            )
            for k in range(min(rows, 12))
            for seed in (seeds if k else seeds[:1])
        ],
        root,
    )


def _write_speed(root: Path, rows: int) -> None:
    lines = [
        _against(f"layer_{k}", f"PyG Layer-{k} (torch-geometric 2.8.1)", 0.5 * 1.4**k)
        for k in range(rows)
    ]
    lines += [
        _against("layer_same", "PyG Layer-0 (torch-geometric 2.8.1)", 2.0),
        _against("layer_huge", "PyG Huge (torch-geometric 2.8.1): out of memory (asks for 1 GB)"),
        _against("rank_bf16", "ours (relgnn, float32)", 1.5),
    ]
    append("speed", lines, root)


def _write_sizes(root: Path, large: bool) -> None:
    """As today: graphs alone; or linking and OGB's too."""
    lines = [
        line(
            "speed",
            f"scale_{n}",
            1.0,
            ours_s=n / 2e6,
            step_s=0.05,
            build_s=n / 3e6,
            ours_mb=500 + n / 2e3,
        )
        for n in (10_000, 1_000_000, 16_000_000)
    ]
    fitted = {f"exponent_{name}": 0.97 for name in ("forward_s", "step_s", "build_s", "memory_mb")}
    lines[-1].metrics.update(fitted)
    if large:
        lines += [
            line("speed", f"linking_{n}", 1.0, ours_s=n / 1e4, ours_mb=300.0, sentences_s=1e4)
            for n in (100_000, 1_000_000)
        ]
        ogb = [
            line(
                scale.OGB, f"ogb_{n}", 1.0, edges=2e6 * n, step_s=0.7 * n, peak_memory_mb=900.0 * n
            )
            for n in range(1, 9)
        ]
        append(scale.OGB, ogb, root)
    append("speed", lines, root)


def _write_rows(root: Path, table: str, seeds: Sequence[int], most: int | None) -> None:
    """Lines of the first rows that a table has, as dear as they are many."""
    lines = [
        replace(
            line(table, row, 1.0, seed, mrr=0.3 + 0.01 * place + seed / 100, **HITS),
            seconds=60.0 * 2**place,
        )
        for place, row in enumerate(list(table_configs(table))[:most])
        for seed in seeds
    ]
    append(table, lines, root)


def _write_map(root: Path, count: int) -> None:
    random = np.random.default_rng(0)
    names = [f"Relation-Number{k}" for k in range(9)] + [text_map.OTHER]
    one = {"neighbours": 0.5, "places": random.normal(size=(count, 2)).tolist()}
    relations = [names[k % len(names)] for k in range(count)]
    content = {"command": "python -m experiments.text_map", "dirty": False, "relations": relations}
    save_json(root / experiments.text_map.FILE, content | dict.fromkeys(text_map.MAPS, one))


def _write_explanation(root: Path, many: int) -> None:
    """An explanation with one of everything, or as many and as long ones as there may be."""
    long = " ".join(["International Union of Very Long Names"] * (1 + many // 5))
    step = "languages spoken, written, or signed"
    sentences = [f"T{k}:0-9" for k in range(many)]
    told = {
        "triple": f"{long} –{step}→ Ada",
        "paths": [
            {"path": f"{long} –{step}→ {long} ←{step}– B–C ←{step}– Ada", "count": 70 + k,
             "rule": "r" if k else None, "confidence": 0.5 if k else None}
            for k in range(many)
        ],
        "edges": [
            {"edge": f"{long} –{step}→ Ada", "source": "accepted", "importance": 0.1 - k / 20}
            for k in range(many)
        ],
        "log_probability": [-3.0, -0.5],
        "believed": {
            "posterior": 0.97,
            "views": [{"player": v, "share": 2.0 - k} for k, v in enumerate(("text", "graph"))],
            "view_odds": [-1.0, 6.9],
            "sentences": [{"player": one, "share": 1.0 - k} for k, one in enumerate(sentences)],
            "odds": [-1.0, 6.9],
            "texts": [f"{long} is what it says. " * 5] * many,
            "without": [{"what": one, "posterior": 0.5} for one in (*sentences, "T0")],
        },
    }  # fmt: skip
    content = {"command": "python -m experiments.explained", "dirty": False,
               "ranks": {"before": 8.0, "after": 1.0}, "explanation": told}  # fmt: skip
    save_json(root / experiments.explained.FILE, content)


def _against(row: str, peer: str, ratio: float | None = None) -> Line:
    measured = {} if ratio is None else {"ratio": ratio, "peer_mb": 900.0}
    return replace(line("speed", row, 1.0, ours_mb=100.0, **measured), peer=peer)
