"""The ledger: an append-only record of every pseudo-label and why it was taken or not."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from relgnn.errors import InputError, MachineError
from relgnn.training.checkpoint import atomic_file

SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("time", pa.string()),
        ("round", pa.int64()),
        ("head", pa.string()),
        ("relation", pa.string()),
        ("tail", pa.string()),
        ("evidence_ids", pa.list_(pa.string())),
        ("p_text", pa.float64()),
        ("p_graph", pa.float64()),
        ("p_rules", pa.float64()),
        ("p", pa.float64()),
        ("decision", pa.string()),
        ("weight", pa.float64()),
        ("reason", pa.string()),
        ("fold", pa.int64()),
        ("prev_hash", pa.string()),
    ]
)
DECISIONS = ("accepted", "rejected")
VERDICTS = ("accept", "reject")
GENESIS = "0" * 64


class Ledger:
    """Events of rounds, one immutable Parquet file each, and human verdicts.

    Every event holds the hash of the one before it, so that a change to the past shows. The state
    is the replay of both: a later round replaces an earlier one, a verdict overrules every round.

    Args:
        folder: `ledger/` of a run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def rounds(self) -> list[int]:
        """Rounds that are recorded, ascending."""
        return sorted(int(p.stem.split("-")[1]) for p in self.folder.glob("events-*.parquet"))

    def append(self, round_: int, events: Sequence[dict[str, Any]]) -> None:
        """Write a round's events.

        Args:
            round_: the round; must not be recorded yet and follow those that are.
            events: columns of `SCHEMA` without event_id, time, round and prev_hash. NaN
                probabilities become null.

        Raises:
            InputError: the round is recorded already.
            MachineError: the file cannot be written.
        """
        if round_ in self.rounds or (self.rounds and round_ < self.rounds[-1]):
            raise InputError(
                f"{self.folder}: round {round_} is recorded already and events never change; "
                "start a new run folder"
            )
        previous = self._last_hash()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        rows = []
        for number, event in enumerate(events):
            row = {k: _null(v) for k, v in event.items()}
            row |= {
                "event_id": f"{round_}-{number}",
                "time": now,
                "round": round_,
                "prev_hash": previous,
            }
            previous = event_hash(row)
            rows.append(row)
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        with atomic_file(self.path(round_)) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    def path(self, round_: int) -> Path:
        """File of a round's events."""
        return self.folder / f"events-{round_}.parquet"

    def read(self, round_: int) -> list[dict[str, Any]]:
        """A round's events, in order."""
        rows: list[dict[str, Any]] = pq.read_table(self.path(round_), schema=SCHEMA).to_pylist()
        return rows

    def add_verdict(self, head: str, relation: str, tail: str, verdict: str, by: str) -> None:
        """Record a person's word on a triple, on disk before this returns.

        Raises:
            InputError: the verdict is neither "accept" nor "reject".
            MachineError: it cannot be written.
        """
        if verdict not in VERDICTS:
            raise InputError(f"verdict {verdict!r}: expected one of {', '.join(VERDICTS)}")
        line = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "head": head, "relation": relation, "tail": tail, "verdict": verdict, "by": by,
        }  # fmt: skip
        path = self.folder / "verdicts.jsonl"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _append_line(path, json.dumps(line, ensure_ascii=False))
        except OSError as error:
            raise MachineError(
                f"{path}: the verdict is not recorded ({error.strerror}); free space and repeat it"
            ) from error

    def verdicts(self) -> list[dict[str, str]]:
        """Human verdicts in the order they were given."""
        path = self.folder / "verdicts.jsonl"
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line]

    def state(self) -> dict[tuple[str, str, str], float]:
        """Accepted triples and their weights: the last round, then the verdicts."""
        accepted: dict[tuple[str, str, str], float] = {}
        if self.rounds:
            for event in self.read(self.rounds[-1]):
                if event["decision"] == "accepted":
                    key = (event["head"], event["relation"], event["tail"])
                    accepted[key] = event["weight"]
        for verdict in self.verdicts():
            key = (verdict["head"], verdict["relation"], verdict["tail"])
            if verdict["verdict"] == "accept":
                accepted[key] = 1.0
            else:
                accepted.pop(key, None)
        return accepted

    def verify(self) -> None:
        """Check the chain of hashes.

        Raises:
            InputError: an event was changed, removed or added after it was written.
        """
        previous = GENESIS
        for round_ in self.rounds:
            for event in self.read(round_):
                if event["prev_hash"] != previous:
                    raise InputError(
                        f"{self.path(round_)}: event {event['event_id']} does not follow the one "
                        "before it: the ledger was changed; restore it from a copy"
                    )
                previous = event_hash(event)

    def _last_hash(self) -> str:
        for round_ in reversed(self.rounds):
            if events := self.read(round_):
                return event_hash(events[-1])
        return GENESIS


def _append_line(path: Path, line: str) -> None:
    """Add a line that is on disk when this returns, or leave the file as it was."""
    with path.open("ab", buffering=0) as file:
        end, rest = file.seek(0, os.SEEK_END), (line + "\n").encode()
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(end)
            raise


def event_hash(event: dict[str, Any]) -> str:
    """sha256 of an event's canonical JSON, its own prev_hash included."""
    content = {name: event[name] for name in SCHEMA.names}
    return hashlib.sha256(
        json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def _null(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and np.isnan(value) else value
