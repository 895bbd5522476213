"""A folder of made-up results that every figure of the paper can be drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments.jobs import PLAIN
from experiments.results import Line, append, ranks_path, save_ranks, save_strata, strata_path
from relgnn.loop.report import ROWS
from relgnn.ranking.metrics import write_ranks
from relgnn.ranking.ranks import Ranks

TRIPLES = 30
MASKS = {
    "all": np.ones(TRIPLES, dtype=bool),
    **{name: np.arange(TRIPLES) % 3 == k for k, name in enumerate(("feature", "corpus", "none"))},
}
SOURCE = (
    "reference: micro-F1 of BERT-base .786 to .806 (30 %), .719 to .739 (10 %), selected on test; "
    "BERT-base (110M) .884 to .893 macro-F1"
)


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
    _write_relations(root, seeds, 33 if large else 3)
    _write_speed(root, 24 if large else 3)
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
        line("speed", "scale_1000", ours_s=1.0),
    ]
    append("speed", lines, root)


def _against(row: str, peer: str, ratio: float | None = None) -> Line:
    measured = {} if ratio is None else {"ratio": ratio, "peer_mb": 900.0}
    return replace(line("speed", row, 1.0, ours_mb=100.0, **measured), peer=peer)
