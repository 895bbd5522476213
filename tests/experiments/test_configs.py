"""Every configuration under experiments/configs loads, and runs for a step or two on tiny data."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.reproduce import CONFIGS, Job, jobs, line_metrics
from relgnn.config import (
    AnyOgbConfig,
    Config,
    DocumentConfig,
    FewShotConfig,
    GenerativeConfig,
    InductiveConfig,
    JointConfig,
    PretrainingRunConfig,
    RelationConfig,
    RulesConfig,
    load_config,
    load_run_config,
)
from relgnn.data import ogb
from relgnn.data.registry import find, list_datasets
from relgnn.errors import InputError
from relgnn.loop.run import run
from relgnn.loop.runs import run_any
from relgnn.text.reader import load_data
from relgnn.text.relation_run import run_relations
from relgnn.text.runs import run_text
from tests import ogb_sets
from tests.experiments.tiny import (
    SMALL,
    SMALL_LOOP,
    SMALL_RELATIONS,
    write_tiny,
    write_tiny_documents,
    write_tiny_joint,
    write_tiny_relations,
)
from tests.linkpred.families import write_families
from tests.text.augment.wordnet import write_wordnet
from tests.text.causal import write_causal

PATHS = sorted(CONFIGS.glob("*/*.yaml"))
RULES = [path for path in PATHS if isinstance(load_run_config(path), RulesConfig)]
INDUCTIVE = [path for path in PATHS if isinstance(load_run_config(path), InductiveConfig)]
GRAPHS = [path for path in PATHS if isinstance(load_run_config(path), Config)]
FEW_SHOT = [path for path in PATHS if isinstance(load_run_config(path), FewShotConfig)]
PRETRAINING = [p for p in PATHS if isinstance(load_run_config(p), PretrainingRunConfig)]
RELATIONS = [path for path in PATHS if isinstance(load_run_config(path), RelationConfig)]
JOINT = [path for path in PATHS if isinstance(load_run_config(path), JointConfig)]
DOCUMENTS = [path for path in PATHS if isinstance(load_run_config(path), DocumentConfig)]
GENERATIVE = [path for path in PATHS if isinstance(load_run_config(path), GenerativeConfig)]

OGB = [path for path in PATHS if isinstance(load_run_config(path), AnyOgbConfig)]
OGB_SETS = {
    "ogbl_ddi": ogb_sets.write_ddi, "ogbl_collab": ogb_sets.write_collab,
    "ogbl_citation2": ogb_sets.write_citation, "ogbl_biokg": ogb_sets.write_biokg,
    "ogbl_wikikg2": ogb_sets.write_wikikg, "ogbn_arxiv": ogb_sets.write_arxiv,
}  # fmt: skip


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", GRAPHS, ids=name)
def test_config_loads_and_says_what_to_expect(path: Path) -> None:
    config = load_config(path)
    assert config.source
    assert config.data.name in {entry.name for entry in list_datasets()}
    assert path.parent.name.endswith(config.data.name)
    assert (config.loop is not None) == path.parent.name.startswith("loop_")


@pytest.mark.parametrize("path", GRAPHS, ids=name)
def test_config_runs_on_tiny_data(path: Path, tmp_path: Path) -> None:
    small = [*SMALL, f"data.path={write_tiny(tmp_path / 'tiny')}", f"text.cache={tmp_path}/cache"]
    if load_config(path).loop is not None:
        small += SMALL_LOOP
    config = load_config(path, small)
    metrics = run(config, tmp_path / "run")
    rows = set(Job(path.parent.name, path.stem, 0, config).rows)
    # a loop that kept round 0 has read nothing
    kept_round_0 = len(metrics["rounds"]) == 1
    assert set(metrics["rows"]) == {r for r in rows if not (kept_round_0 and r.endswith("+read"))}
    for row in metrics["rows"].values():
        found = line_metrics(row)
        assert found.keys() >= {"mrr", "hits@1", "hits@3", "hits@10", "mrr_none"}
        assert all(0 <= value <= 1 for value in found.values())


@pytest.mark.parametrize("path", RULES, ids=name)
def test_rules_config_runs_on_tiny_data(path: Path, tmp_path: Path) -> None:
    assert path.parent.name.endswith(str(load_run_config(path).data.name))
    config = load_run_config(
        path, [f"data.path={write_tiny(tmp_path / 'tiny')}", "data.name=null", "data.fraction=1"]
    )
    assert config.source
    metrics = run_any(config, tmp_path / "run")
    assert 0 < line_metrics(metrics["rows"]["final"])["mrr"] <= 1


@pytest.mark.parametrize("path", INDUCTIVE, ids=name)
def test_inductive_config_runs_on_tiny_data(path: Path, tmp_path: Path) -> None:
    config = load_run_config(path)
    assert config.source and config.expected.keys() == {"hits@10_of_50"}
    assert path.stem.removesuffix("_pagerank") == str(config.data.name).rpartition("/")[2]
    assert {f"{config.data.name}{end}" for end in ("", "_ind")} < {x.name for x in list_datasets()}
    folder = write_families(tmp_path / "tree", 20, 24)
    small = [f"data.path={folder}", "data.name=null", "inductive.epochs=1", "inductive.dim=4"]
    metrics = run_any(load_run_config(path, small), tmp_path / "run")
    found = line_metrics(metrics["rows"]["final"])
    assert found.keys() >= {"mrr", "hits@1", "hits@3", "hits@10", "hits@10_of_50"}
    assert all(0 <= value <= 1 for value in found.values())


@pytest.mark.parametrize("path", RELATIONS, ids=name)
def test_relation_config_loads_with_its_data(path: Path) -> None:
    config = load_run_config(path)
    assert isinstance(config, RelationConfig)
    assert config.source
    assert f"re_{str(config.data.name).removesuffix('_fewlabel')}" in path.parent.name
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


@pytest.mark.parametrize("path", RELATIONS, ids=name)
def test_relation_config_runs_on_tiny_data(path: Path, tmp_path: Path) -> None:
    folder = write_tiny_relations(tmp_path / "tiny")
    small = [*SMALL_RELATIONS, f"data.path={folder}"]
    config = load_run_config(path, small)
    assert isinstance(config, RelationConfig)
    if config.augmentation is not None:
        if "wordnet" in config.augmentation.kinds:
            small.append(f"augmentation.wordnet={write_wordnet(tmp_path / 'wordnet')}")
        if "paraphrase" in config.augmentation.kinds:
            small.append(f"augmentation.paraphraser={write_causal(tmp_path / 'causal')}")
    if config.attack is not None:
        small += ["attack.budget=3", "attack.sentences=4"]
    config = load_run_config(path, small)
    assert isinstance(config, RelationConfig)
    metrics = run_relations(config, tmp_path / "run")
    [row] = Job(path.parent.name, path.stem, 0, config).rows
    found = line_metrics(metrics["rows"][row])
    assert found.keys() >= {"macro_f1", "micro_f1", "ece", "log_loss", "trained_parameters"}
    assert all(0 <= found[name] <= 1 for name in ("macro_f1", "micro_f1", "ece"))


@pytest.mark.parametrize("path", FEW_SHOT, ids=name)
def test_few_shot_config_runs_on_tiny_data(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELGNN_DATA", str(tmp_path))
    folder = write_tiny_relations(tmp_path / "tiny")
    write_tiny_relations(tmp_path / "other", "birth", "home", shift=4)
    small = [f"data.path={folder}", "data.name=null", "few_shot.episodes=5", "few_shot.ways=3"]
    learned = load_run_config(path)
    assert isinstance(learned, FewShotConfig)
    if learned.metric is not None:
        small += ["metric.sources=[other]", "metric.ways=2", "metric.epochs=1", "metric.steps=2"]
    config = load_run_config(path, [*small, "few_shot.queries=2"])
    assert isinstance(config, FewShotConfig)
    assert config.source
    rows = Job(path.parent.name, path.stem, 0, config).rows
    metrics = run_text(config, tmp_path / "run")
    assert set(metrics["rows"]) == set(rows)
    for row in metrics["rows"].values():
        assert 0 <= line_metrics(row)["accuracy"] <= 1


@pytest.mark.parametrize("path", PRETRAINING, ids=name)
def test_pretraining_config_runs_on_tiny_data(path: Path, tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny")
    small = [f"data.path={folder}", "data.name=null", "text.max_tokens=32", "pretraining.epochs=1"]
    config = load_run_config(path, small)
    assert isinstance(config, PretrainingRunConfig)
    assert config.source
    [row] = Job(path.parent.name, path.stem, 0, config).rows
    found = line_metrics(run_text(config, tmp_path / "run")["rows"][row])
    assert {f"{key}_before" for key in found if not key.endswith("_before")} < found.keys()


@pytest.mark.parametrize("path", [*JOINT, *DOCUMENTS], ids=name)
def test_joint_and_document_config_runs_on_tiny_data(
    path: Path, tmp_path: Path, tiny_bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELGNN_CACHE", str(tmp_path / "cache"))
    small = [f"text.model={tiny_bert}", "text.max_tokens=64", "data.name=null"]
    if path in JOINT:
        small += [f"data.path={write_tiny_joint(tmp_path / 'tiny')}", "joint.epochs=1"]
    else:
        small += [
            f"data.path={write_tiny_documents(tmp_path / 'tiny')}", "document.tuning.epochs=1"
        ]  # fmt: skip
    config = load_run_config(path, small)
    assert isinstance(config, (JointConfig, DocumentConfig))
    assert config.source
    assert path.parent.name == f"re_{load_run_config(path).data.name}"
    [row] = Job(path.parent.name, path.stem, 0, config).rows
    found = line_metrics(run_text(config, tmp_path / "run")["rows"][row])
    assert 0 <= found["micro_f1"] <= 1


@pytest.mark.parametrize("path", GENERATIVE, ids=name)
def test_generative_config_knows_its_labels_and_runs_on_tiny_data(
    path: Path, tmp_path: Path
) -> None:
    config = load_run_config(path)
    assert isinstance(config, GenerativeConfig)
    assert config.source
    if find(str(config.data.name)) is not None:
        assert set(config.generative.verbalisers) == set(load_data(config).labels)
    small = [
        "data.name=null", "data.fraction=1.0",
        f"data.path={write_tiny_relations(tmp_path / 'tiny')}",
        f"generative.model={write_causal(tmp_path / 'causal')}", "generative.verbalisers={}",
        "generative.limit=4", "generative.epochs=1",
    ]  # fmt: skip
    [row] = Job(path.parent.name, path.stem, 0, config).rows
    tiny = load_run_config(path, small)
    assert isinstance(tiny, GenerativeConfig)
    metrics = run_text(tiny, tmp_path / "run")
    assert 0 <= line_metrics(metrics["rows"][row])["macro_f1"] <= 1


def test_every_data_set_of_ogb_has_its_row() -> None:
    assert {path.stem.removesuffix("_gpu") for path in OGB} == OGB_SETS.keys()


@pytest.mark.parametrize("path", OGB, ids=name)
def test_ogb_config_runs_on_tiny_data(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ogb, "_export_apart", ogb_sets.export_here)
    config = load_run_config(path)
    row = path.stem.removesuffix("_gpu")
    assert config.source and config.budget is not None and config.data.name == row
    assert config.budget.gpu == (row not in ("ogbl_ddi", "ogbn_arxiv") or path.stem != row)
    folder = OGB_SETS[row](tmp_path / "set")
    small = ["data.name=null", f"data.path={folder}", "runtime.device=cpu"]
    if "triples" in config.model_fields_set:
        small += ["decoder.dim=8", "train.epochs=1", "train.batch_size=16"]
    else:
        section = "nodes" if "nodes" in config.model_fields_set else "pairs"
        small += [f"{section}.dim=8", f"{section}.epochs=1"]
    metrics = run_any(load_run_config(path, small), tmp_path / "run")
    found = line_metrics(metrics["rows"]["final"])
    assert found.keys() > config.expected.keys() and len(config.expected) == 1
    assert all(0 <= found[metric] <= 1 for metric in config.expected)


def test_the_other_kind_of_configuration_is_refused() -> None:
    with pytest.raises(InputError, match="is a run of relation extraction"):
        load_config(RELATIONS[0])
    with pytest.raises(InputError, match="is a run of pre-training"):
        load_config(PRETRAINING[0])
    with pytest.raises(InputError, match="is a run of inductive link prediction"):
        load_config(INDUCTIVE[0])


def test_rows_of_a_table() -> None:
    rgcn, compgcn = sorted(jobs("loop_codex_s", seeds=[1]), key=lambda job: -len(job.name) % 5)
    assert {rgcn.name, compgcn.name} == {"rgcn", "compgcn"}
    by_name = {job.name: job for job in (rgcn, compgcn)}
    assert by_name["rgcn"].rows["loop+read"] == "loop+read"
    assert by_name["compgcn"].rows["loop"] == "compgcn/loop"
    config = by_name["rgcn"].config
    assert (config.runtime.seed, config.data.split_seed) == (1, 1)
    assert [job.name for job in jobs("loop_codex_s", ["compgcn/loop"], [0])] == ["compgcn"]
