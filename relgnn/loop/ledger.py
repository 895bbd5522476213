"""The ledger: an append-only record of every pseudo-label and why it was taken or not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from relgnn.errors import InputError, MachineError
from relgnn.loop.verdicts import Triple, Verdicts, require_verdict, triple_of
from relgnn.training.appending import append_lines, is_json
from relgnn.training.checkpoint import atomic_file, load_json, save_json

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
GENESIS = "0" * 64
VERDICT_LOG = "verdicts.jsonl"
HEAD = "head.json"
"""The last round and the hash of the last event: nothing after that event would tell on it."""


class Ledger:
    """Events of rounds, one immutable Parquet file each, and human verdicts.

    Every event holds the hash of the one before it, and `head.json` that of the last one, so that a
    change to the past shows. The state is the replay of both: a later round replaces an earlier
    one, a verdict overrules every round.

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
            # Before the events are there: a stop in between loses no more than the round itself,
            # which is then judged again.
            save_json(self.folder / HEAD, {"round": round_, "last_hash": previous})

    def path(self, round_: int) -> Path:
        """File of a round's events."""
        return self.folder / f"events-{round_}.parquet"

    def read(self, round_: int) -> list[dict[str, Any]]:
        """A round's events, in order.

        Raises:
            InputError: the file is absent or damaged.
        """
        path = self.path(round_)
        try:
            rows: list[dict[str, Any]] = pq.read_table(path, schema=SCHEMA).to_pylist()
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:100]
            raise InputError(
                f"{path}: cannot be read as events of a round ({reason}); restore it from a copy"
            ) from error
        return rows

    def held(self, round_: int) -> dict[Triple, str]:
        """What a round taught the graph model, and how: "accepted", "connected" (its pair, untyped)
        or "told" (its memory, with the posterior); nothing in round 0."""
        events, taught = self.read(round_) if round_ else [], ("accepted", "connected", "told")
        return {triple_of(e): e["decision"] for e in events if e["decision"] in taught}

    def overruled(self, round_: int, verdicts: Verdicts) -> bool:
        """Whether a round taught what verdicts reject, or not what they accept."""
        if not verdicts:
            return False
        held = self.held(round_)
        taught = {triple for triple, decision in held.items() if decision == "accepted"}
        return bool(verdicts.reject & held.keys()) or not verdicts.accept <= taught

    def accepted(self, round_: int) -> dict[Triple, float]:
        """A round's accepted triples and their weights; none in round 0."""
        events = self.read(round_) if round_ else []
        return {triple_of(e): e["weight"] for e in events if e["decision"] == "accepted"}

    def add_verdicts(self, lines: Sequence[Mapping[str, str]]) -> None:
        """Record verdicts in their order, all or none, on disk before this returns.

        Args:
            lines: with head, relation, tail, verdict and by, and maybe reason and time.

        Raises:
            InputError: a verdict is neither "accept" nor "reject".
            MachineError: they cannot be written.
        """
        for line in lines:
            require_verdict(line["verdict"])
        now = datetime.now(UTC).isoformat(timespec="seconds")
        text = "".join(
            json.dumps({"time": now, **line}, ensure_ascii=False) + "\n" for line in lines
        )
        path = self.folder / VERDICT_LOG
        try:
            append_lines(path, lambda last: text)
        except OSError as error:
            raise MachineError(
                f"{path}: the verdict is not recorded ({error.strerror}); free space and repeat it"
            ) from error

    def unheard(self, lines: Iterable[Mapping[str, str]]) -> list[Mapping[str, str]]:
        """Those of some verdicts that say anything new, in their order.

        One with a time is old where it is recorded as it stands. One without is old where it
        repeats the last word on its triple: who changes their mind twice says something new.

        Args:
            lines: as of `add_verdicts`.
        """
        known = [dict(line) for line in self.verdicts()]
        last = {triple_of(line): _without_time(line) for line in known}
        new = []
        for line in lines:
            said = _without_time(line)
            old = dict(line) in known if "time" in line else last.get(triple_of(line)) == said
            if not old:
                new.append(line)
                known.append(dict(line))
                last[triple_of(line)] = said
        return new

    def verdicts(self) -> list[dict[str, str]]:
        """Human verdicts in the order they were given, without one that is being written.

        Raises:
            InputError: a line is no verdict.
        """
        path = self.folder / VERDICT_LOG
        if not path.exists():
            return []
        found = []
        *lines, last = path.read_bytes().split(b"\n")
        for number, line in enumerate([*lines, *([last] if is_json(last) else [])], 1):
            try:
                if line:
                    found.append(json.loads(line))
                    require_verdict(found[-1]["verdict"])
                    triple_of(found[-1])
            except (ValueError, KeyError, TypeError, InputError):
                raise InputError(
                    f"{path}:{number}: is no verdict; restore the file from a copy, or take the "
                    "line out"
                ) from None
        return found

    def state(self, round_: int | None = None) -> dict[Triple, float]:
        """Accepted triples and their weights: a round, then the verdicts.

        Args:
            round_: by default the last one.
        """
        if round_ is None:
            round_ = self.rounds[-1] if self.rounds else 0
        return Verdicts.of(self.verdicts()).replay(self.accepted(round_))

    def verify(self) -> None:
        """Check the chain of hashes.

        A ledger that was written before there was a `head.json` cannot tell whether its last
        event was changed.

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
        head = self.folder / HEAD
        if not head.exists():
            return
        last = {"round": self.rounds[-1] if self.rounds else 0, "last_hash": previous}
        if load_json(head) != last:
            raise InputError(
                f"{self.folder}: does not end with the event that {HEAD} names: the ledger was "
                "changed; restore it from a copy, or go on with `relgnn run --resume` if the run "
                "was stopped"
            )

    def _last_hash(self) -> str:
        for round_ in reversed(self.rounds):
            if events := self.read(round_):
                return event_hash(events[-1])
        return GENESIS


def _without_time(line: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in line.items() if name != "time"}


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
