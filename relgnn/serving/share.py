"""The vectors of a run, written once to a file that every worker maps into its memory."""

from __future__ import annotations

import hashlib
from pathlib import Path

from relgnn.loop.opened import open_run, run_config
from relgnn.loop.run import cache_folder
from relgnn.training import CHECKPOINT

READ = ("config.yaml", "environment.json", CHECKPOINT, "context.safetensors")
"""Files of a run that its vectors are made of; the last is there after a loop alone."""


def shared_vectors(run: Path) -> Path:
    """The file with a run's vectors, in the cache folder: a run is not written to.

    It is named after what it is made of, so that a run that was trained again has another.

    Raises:
        InputError: the run cannot be opened.
        MachineError: the file cannot be written.
    """
    config = run_config(run)
    digest = hashlib.sha256()
    for name in READ:
        path = run / name
        if path.is_file():
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    path = cache_folder(config) / "served" / f"{digest.hexdigest()[:32]}.safetensors"
    if not path.is_file():
        open_run(run).scorer.save(path)
    return path
