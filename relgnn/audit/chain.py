"""A log that shows tampering: every entry holds the hash of the one before it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from relgnn.errors import InputError, MachineError
from relgnn.training.appending import append_lines

GENESIS = "0" * 64
"""What the first entry holds in place of a hash."""
FIELDS = frozenset(("n", "time", "action", "by", "about", "prev", "hash"))
_HEAD = re.compile(r"(\d{1,18}):([0-9a-f]{64})")


class Head(NamedTuple):
    """How many entries there are, and the hash of the last one; written `N:HASH`.

    Whoever notes it elsewhere can show later that nothing up to it was changed or cut off.
    """

    entries: int
    hash: str

    def __str__(self) -> str:
        """`N:HASH`."""
        return f"{self.entries}:{self.hash}"

    @classmethod
    def parse(cls, written: str) -> Head:
        """The head that somebody noted.

        Raises:
            InputError: it is none.
        """
        found = _HEAD.fullmatch(written.strip())
        if found is None:
            raise InputError(
                f"--head {written!r}: expected N:HASH, as `relgnn audit verify` printed it"
            )
        return cls(int(found[1]), found[2])


NOTHING = Head(0, GENESIS)


@dataclass(frozen=True)
class Action:
    """What is to be recorded.

    Args:
        action: one or two words.
        by: who did it; the name of a key or of a user.
        about: what it was done to; JSON without free text, since it can never be taken out again.
    """

    action: str
    by: str
    about: Mapping[str, Any]


class AuditLog:
    """A file of entries, one line of JSON each, that is only added to.

        hash_n = SHA-256(canonical JSON of entry n without its hash),   entry n holds hash_{n-1}

    A changed, removed, inserted or moved entry breaks the chain after it. Whoever rewrites the
    chain from there on, or cuts off its end, is found out by a head that was noted elsewhere
    (Schneier and Kelsey, "Secure audit logs to support computer forensics", 1999).

    Args:
        path: the file; made with its first entry.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, actions: Sequence[Action]) -> None:
        """Record actions in their order, all or none, on disk before this returns.

        Several processes may; each waits for its turn.

        Raises:
            InputError: the last entry is damaged, so that nothing can follow it.
            MachineError: the file cannot be written.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")

        def lines(last: bytes) -> str:
            head, found = self._head_of(last), ""
            for one in actions:
                entry: dict[str, Any] = {
                    "n": head.entries + 1, "time": now, "action": one.action, "by": one.by,
                    "about": dict(one.about), "prev": head.hash,
                }  # fmt: skip
                entry["hash"] = _hash(entry)
                found += _line(entry) + "\n"
                head = Head(head.entries + 1, entry["hash"])
            return found

        if not actions:
            return
        try:
            append_lines(self.path, lines)
        except OSError as error:
            raise MachineError(
                f"{self.path}: the entry is not recorded ({error.strerror}); free space and repeat"
            ) from error

    def since(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Whole entries from a byte on, and the byte after them; none of an absent file.

        The chain is not checked: see `verify`.

        Raises:
            InputError: a line is no entry.
            MachineError: the file cannot be read.
        """
        data = self._read(offset)
        whole = data[: data.rfind(b"\n") + 1]
        entries = []
        for line in whole.splitlines():
            try:
                entry = json.loads(line)
                if not isinstance(entry, dict) or entry.keys() != FIELDS:
                    raise ValueError
            except ValueError:
                raise InputError(
                    f"{self.path}: holds a line that is no entry; see `relgnn audit verify "
                    f"{self.path}`"
                ) from None
            entries.append(entry)
        return entries, offset + len(whole)

    def verify(self, noted: Head = NOTHING) -> Head:
        """Check every entry and the chain.

        Args:
            noted: a head of former times, which the log must still hold.

        Returns:
            The head to note now.

        Raises:
            InputError: an entry was changed, removed, inserted or moved, or the end is gone; names
                the first one that is wrong.
            MachineError: the file cannot be read.
        """
        head = NOTHING
        for head, fault in self._links():
            if fault is None and head.entries == noted.entries and head.hash != noted.hash:
                fault = "is not the one that the noted head names: the log was rewritten"
            if fault is not None:
                raise InputError(f"{self.path}:{head.entries}: entry {head.entries} {fault}")
        if head.entries < noted.entries:
            raise InputError(
                f"{self.path}: entry {head.entries + 1} is missing: the noted head counts "
                f"{noted.entries} entries, there are {head.entries}; the end was cut off"
            )
        return head

    def _links(self) -> Iterator[tuple[Head, str | None]]:
        """The head after each line, and what is wrong with that line."""
        data, head = self._read(0), NOTHING
        lines = data.split(b"\n")
        for number, line in enumerate(lines, 1):
            if number == len(lines):
                if line:
                    yield Head(number, ""), "is not whole: it was cut off or changed"
                return
            fault = _fault(line, head)
            head = Head(number, head.hash if fault else json.loads(line)["hash"])
            yield head, fault

    def _read(self, offset: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                return file.read()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise MachineError(
                f"{self.path}: cannot be read ({error.strerror}); check the path and its rights"
            ) from error

    def _head_of(self, line: bytes) -> Head:
        if not line:
            return NOTHING
        try:
            entry = json.loads(line)
            if _fault(line, Head(entry["n"] - 1, entry["prev"])) is None:
                return Head(entry["n"], entry["hash"])
        except (ValueError, KeyError, TypeError):
            pass
        raise InputError(
            f"{self.path}: its last entry was changed, so that none can follow; see `relgnn audit "
            f"verify {self.path}`, and restore the file from a copy"
        )


def _fault(line: bytes, before: Head) -> str | None:
    """What is wrong with a line that should follow a head; None where nothing is."""
    try:
        entry = json.loads(line)
        own = isinstance(entry, dict) and entry.keys() == FIELDS and _line(entry).encode() == line
    except ValueError:
        own = False
    if not own or entry["hash"] != _hash({k: v for k, v in entry.items() if k != "hash"}):
        return "was changed: it does not have the hash of its content"
    if entry["prev"] != before.hash or entry["n"] != before.entries + 1:
        return "does not follow the one before it: an entry was removed, inserted, moved or changed"
    return None


def _hash(entry: Mapping[str, Any]) -> str:
    return hashlib.sha256(_line(entry).encode()).hexdigest()


def _line(entry: Mapping[str, Any]) -> str:
    """Canonical JSON: the same content, the same bytes."""
    return json.dumps(entry, sort_keys=True, separators=(",", ":"))
