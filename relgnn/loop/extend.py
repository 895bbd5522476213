"""A finished run goes on for further rounds, such as to hear new verdicts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from relgnn.config import Config, load_config
from relgnn.errors import InputError
from relgnn.loop.ledger import Ledger
from relgnn.loop.opened import run_config, run_graph
from relgnn.loop.verdicts import Verdicts
from relgnn.training import load_json
from relgnn.training.spent import spent_before


def extend(folder: Path, changes: Sequence[str]) -> Config:
    """Open a finished run for further rounds; resuming it then judges them.

    The rounds that are there stay as they are. Until the new ones are done the run counts as
    interrupted; its former metrics stay as `metrics.previous.json`.

    Args:
        folder: of the run.
        changes: `loop.rounds=N`, more than are recorded.

    Returns:
        The run's configuration with the new number of rounds.

    Raises:
        InputError: the run has no loop or has not ended, its loop stopped early and no verdict
            lets it go on, its data have changed, or the changes are others.
    """
    old = run_config(folder)
    new = load_config(folder / "config.yaml", changes)
    if old.loop is None or new.loop is None:
        raise InputError(f"{folder}: was trained without a loop, so that it has no rounds to add")
    same = new.model_copy(
        update={"loop": new.loop.model_copy(update={"rounds": old.loop.rounds})}
    )  # fmt: skip
    if same != old:
        raise InputError(
            f"--resume {folder} {' '.join(changes)}: only loop.rounds of a run can change; start a "
            "new one for anything else"
        )
    if not (folder / "metrics.json").is_file():
        raise InputError(
            f"{folder}: has not ended; end it first with `relgnn run --resume {folder}`"
        )
    ledger = Ledger(folder / "ledger")
    done = max(ledger.rounds, default=0)
    if new.loop.rounds <= done:
        raise InputError(
            f"loop.rounds={new.loop.rounds}: {done} rounds of {folder} are recorded and stay; give "
            f"{done + 1} or more"
        )
    metrics = load_json(folder / "metrics.json")
    graph, kept = run_graph(old, folder), metrics.get("round", done)
    out_of_patience = done - kept >= old.loop.patience
    if out_of_patience and not ledger.overruled(kept, Verdicts.of(ledger.verdicts(), graph)):
        raise InputError(
            f"{folder}: its loop stopped after round {done}, worse on valid than round {kept}, and "
            f"would stop there again; record verdicts against round {kept} (`relgnn ledger`), or "
            "start a run with a larger loop.patience"
        )
    spent_before(folder, metrics)
    os.replace(folder / "metrics.json", folder / "metrics.previous.json")
    return new
