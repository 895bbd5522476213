"""What every run folder begins and ends with, and what its data were."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from relgnn.config import Config, RulesConfig, make_config
from relgnn.data.registry import load
from relgnn.errors import InputError
from relgnn.training import load_json
from relgnn.training.run_folder import carry_out, finished_config, require_finished

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
    with pytest.raises(InputError, match="is no finished run of a graph; give the folder of one"):
        finished_config(folder, Config, "run of a graph")
    assert start(folder, Facts("one"), resume=True)["data"] == str(Facts("one"))
    require_finished(folder)
    assert finished_config(folder, Config, "run of a graph") == CONFIG
    with pytest.raises(InputError, match="is no finished run of rules"):
        finished_config(folder, RulesConfig, "run of rules")


def test_data_without_a_checksum_are_taken_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, ["a text"], work=stopped)
    assert "data" not in load_json(tmp_path / "environment.json")
    # as a run of before there was one has none either
    assert start(tmp_path, Facts("one"), resume=True)["seconds"] >= 0
    with pytest.raises(InputError, match="holds a run already"):
        start(tmp_path, Facts("one"))


def refused(data: object, runtime: object) -> dict[str, Any]:
    raise InputError("text.model: 'nosuch' cannot be loaded")


def test_where_nothing_was_trained_the_same_command_works_once_the_input_is_mended(
    tmp_path: Path,
) -> None:
    folder, graph = tmp_path / "run", load("atlas")
    with pytest.raises(InputError, match="nosuch"):
        start(folder, graph, work=refused)
    assert not folder.exists()
    start(folder, graph)
    split = load_json(folder / "splits.json")
    assert (split["train"], split["fraction"]) == (len(graph.train), CONFIG.data.fraction)
    names = (folder / "vocab" / "entities.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in names] == list(graph.entities)


@pytest.mark.parametrize("name", ["metrics.json", "log.jsonl", "resume/cv.txt"])
def test_what_a_run_would_write_over_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"holds {name.partition('/')[0]}, which a run would"):
        start(tmp_path, Facts("one"))
    assert (tmp_path / name).read_text() == "mine"
    with pytest.raises(InputError, match="is a file; give a folder for the run"):
        start(tmp_path / name, Facts("one"))


def test_what_the_user_or_an_earlier_part_left_stays(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="nosuch"):
        start(tmp_path, Facts("one"), work=refused)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]

    def learned(data: object, runtime: object) -> dict[str, Any]:
        (tmp_path / "log.jsonl").write_text("{}\n")
        raise InputError("the loss is not finite")

    with pytest.raises(InputError, match="not finite"):
        start(tmp_path, Facts("one"), work=learned)
    assert {path.name for path in tmp_path.iterdir()} >= {"note.txt", "log.jsonl", "config.yaml"}
    with pytest.raises(InputError, match="nosuch"):
        start(tmp_path, Facts("one"), work=refused, resume=True)
    assert (tmp_path / "config.yaml").is_file()
