"""What every run folder begins and ends with, and what its data were."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from relgnn.config import make_config
from relgnn.errors import InputError
from relgnn.training import load_json
from relgnn.training.run_folder import carry_out, require_finished

CONFIG = make_config({"data": {"name": "toy"}, "runtime": {"device": "cpu"}})


@dataclass(frozen=True)
class Facts:
    """Data with a checksum."""

    checksum: str
    name: str = "facts"


def stopped(data: object, runtime: object) -> dict[str, Any]:
    raise KeyboardInterrupt


def done(data: object, runtime: object) -> dict[str, Any]:
    return {"data": str(data)}


def start(folder: Path, data: object, **options: Any) -> dict[str, Any]:
    work = options.pop("work", done)
    return carry_out(CONFIG, folder, options.pop("resume", False), lambda _: data, work)


def test_a_run_goes_on_with_the_data_that_it_began_with(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        start(folder, Facts("one"), work=stopped)
    environment = load_json(folder / "environment.json")
    assert environment["data"] == {"facts": "one"} and environment["versions"]
    told = r"the data facts have changed since the run began \(checksum two, was one\); put the"
    with pytest.raises(InputError, match=told):
        start(folder, Facts("two"), resume=True)
    assert load_json(folder / "environment.json") == environment
    with pytest.raises(InputError, match="the run is not finished"):
        require_finished(folder)
    assert start(folder, Facts("one"), resume=True)["data"] == str(Facts("one"))
    require_finished(folder)


def test_data_without_a_checksum_are_taken_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, ["a text"], work=stopped)
    assert "data" not in load_json(tmp_path / "environment.json")
    # as a run of before there was one has none either
    assert start(tmp_path, Facts("one"), resume=True)["seconds"] >= 0
    with pytest.raises(InputError, match="holds a run already"):
        start(tmp_path, Facts("one"))
