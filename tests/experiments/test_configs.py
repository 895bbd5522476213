"""Every configuration under experiments/configs loads and says what it is to be measured by."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.jobs import jobs
from relgnn.config import (
    AnyOgbConfig,
    Config,
    GenerativeConfig,
    InductiveConfig,
    PretrainingRunConfig,
    RelationConfig,
    load_config,
    load_run_config,
)
from relgnn.data.registry import find, list_datasets
from relgnn.data.relations import read_relations
from relgnn.errors import InputError
from relgnn.text import reader
from relgnn.text.reader import load_data
from tests.experiments.configs import DEMO, PATHS, name
from tests.experiments.sets import LABELS, OGB_SETS

RELATIONS = [path for path in PATHS if isinstance(load_run_config(path), RelationConfig)]
GENERATIVE = [path for path in PATHS if isinstance(load_run_config(path), GenerativeConfig)]

OGB = [path for path in PATHS if isinstance(load_run_config(path), AnyOgbConfig)]


@pytest.mark.parametrize("path", [*PATHS, DEMO], ids=name)
def test_config_loads_and_says_what_to_expect(path: Path) -> None:
    config = load_run_config(path)
    assert config.source and config.budget is not None
    data = str(config.data.name)
    assert data in {entry.name for entry in list_datasets()} | LABELS.keys() | OGB_SETS.keys()
    with pytest.raises(InputError, match="unknown key 'data.nam'"):
        load_run_config(path, [f"data.nam={data}"])


@pytest.mark.parametrize("path", PATHS, ids=name)
def test_a_table_is_named_after_its_data(path: Path) -> None:
    config, table = load_run_config(path), path.parent.name
    data = str(config.data.name)
    if isinstance(config, InductiveConfig):
        # what is published asks the graph of the same version
        asked = config.inductive.asked
        assert config.expected.keys() == (set() if asked else {"hits@10_of_50"})
        assert f"grail_inductive/{path.stem}".startswith(data)
        assert (asked or f"{data}_ind") in {entry.name for entry in list_datasets()}
    elif isinstance(config, AnyOgbConfig):
        assert table == "ogb" and path.stem.startswith(data)
    else:
        assert f"_{data.removesuffix('_fewlabel')}" in table
    if isinstance(config, Config):
        assert (config.loop is not None) == table.startswith("loop_")


@pytest.fixture(scope="module")
def read_once() -> Iterator[None]:
    """Reads each data set once for all configurations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "read_relations", functools.cache(read_relations))
        yield


@pytest.mark.usefixtures("read_once")
@pytest.mark.parametrize("path", RELATIONS, ids=name)
def test_relation_config_loads_with_its_data(path: Path) -> None:
    config = load_run_config(path)
    assert isinstance(config, RelationConfig)
    if find(str(config.data.name)) is None:
        pytest.skip(f"{config.data.name} is not here")
    data = load_data(config)
    assert data.valid and data.test
    all_labels = config.data.model_copy(update={"fraction": 1.0})
    whole = load_data(config.model_copy(update={"data": all_labels}))
    given = len(data.train)
    assert given == pytest.approx(len(whole.train) * config.data.fraction, rel=0.03)
    assert given + len(data.unlabelled) <= len(whole.train)
    if config.data.negatives is not None:
        stated = given - sum(one.relation == data.negative for one in data.train)
        assert stated < given <= (1 + config.data.negatives) * stated


@pytest.mark.parametrize("path", GENERATIVE, ids=name)
def test_generative_config_has_words_for_every_label(path: Path) -> None:
    config = load_run_config(path)
    assert isinstance(config, GenerativeConfig)
    assert config.generative.verbalisers.keys() == set(LABELS[str(config.data.name)])


@pytest.mark.parametrize("data", LABELS)
def test_toys_have_the_labels_of_the_real_sets(data: str, shared_data: Path) -> None:
    lines = (shared_data / data / "relations.tsv").read_text(encoding="utf-8").splitlines()
    assert LABELS[data] == [line.partition("\t")[0] for line in lines]


def test_every_data_set_of_ogb_has_its_row() -> None:
    assert {_set_of_ogb(path) for path in OGB} == OGB_SETS.keys()


@pytest.mark.parametrize("path", OGB, ids=name)
def test_rows_of_ogb_say_which_machine_they_need(path: Path) -> None:
    config = load_run_config(path)
    data = _set_of_ogb(path)
    assert config.budget is not None and config.data.name == data
    small = data in ("ogbl_ddi", "ogbn_arxiv")
    assert config.budget.gpu == (not small or path.stem.endswith("_gpu"))


def _set_of_ogb(path: Path) -> str:
    """The data set that a row is of: its name without the way or the machine that it ends with."""
    return path.stem.removesuffix("_gpu").removesuffix("_autoencoder")


def test_the_other_kind_of_configuration_is_refused() -> None:
    kinds = {type(load_run_config(path)): path for path in PATHS}
    with pytest.raises(InputError, match="is a run of relation extraction"):
        load_config(kinds[RelationConfig])
    with pytest.raises(InputError, match="is a run of pre-training"):
        load_config(kinds[PretrainingRunConfig])
    with pytest.raises(InputError, match="is a run of inductive link prediction"):
        load_config(kinds[InductiveConfig])


def test_rows_of_a_table() -> None:
    by_name = {job.name: job for job in jobs("loop_codex_s", seeds=[1])}
    assert by_name.keys() == {"rgcn", "compgcn", "complex"}
    assert by_name["rgcn"].rows["loop+read"] == "loop+read"
    assert by_name["compgcn"].rows["loop"] == "compgcn/loop"
    config = by_name["rgcn"].config
    assert (config.runtime.seed, config.data.split_seed) == (1, 1)
    assert [job.name for job in jobs("loop_codex_s", ["compgcn/loop"], [0])] == ["compgcn"]
