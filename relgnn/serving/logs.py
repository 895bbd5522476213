"""One line of JSON for each event, without texts, keys, addresses and messages of exceptions."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from relgnn.serving.privacy import mask_patterns

LOGGER = logging.getLogger("relgnn.serving")


class JsonLines(logging.Formatter):
    """Formats a record and what `event` was given; of an exception its type and place alone."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": mask_patterns(record.getMessage()),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = place_of(record.exc_info[1])
        return json.dumps(line, ensure_ascii=True)


def event(name: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log an event; `fields` hold neither texts nor keys: see that they do not."""
    LOGGER.log(level, name, extra={"fields": fields})


def place_of(error: BaseException) -> str:
    """Type of an exception and the line that raised it; its message may hold what was sent."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"


def log_lines(stream: TextIO | None = None) -> None:
    """Send what this service and its server log to `stream`, by default standard error."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    for logger in (LOGGER, logging.getLogger("uvicorn"), logging.getLogger("asyncio")):
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if logger is LOGGER else logging.WARNING)
