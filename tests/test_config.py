from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from experiments.results import read_lines, tables
from relgnn.config import (
    BiEncoderConfig,
    Config,
    CrossEncoderConfig,
    EnsembleConfig,
    FewShotConfig,
    GenerativeConfig,
    PretrainingRunConfig,
    RelationConfig,
    RerankConfig,
    known_keys,
    load_config,
    load_run_config,
    make_config,
)
from relgnn.config.base import YOUNGER
from relgnn.errors import InputError
from tests.conftest import ROOT

MINIMAL = {"data": {"name": "codex_s"}}


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def failure(content: object, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        make_config(content, overrides, origin="a.yaml")
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    return message


def test_every_knob_has_a_description() -> None:
    def check(model: type[BaseModel]) -> None:
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    check(kind)

    for kind in (
        Config, RelationConfig, FewShotConfig, GenerativeConfig, PretrainingRunConfig,
        BiEncoderConfig, CrossEncoderConfig, EnsembleConfig, RerankConfig,
    ):  # fmt: skip
        check(kind)


def test_known_keys_reach_the_deepest_section() -> None:
    keys = list(known_keys())
    assert {"data", "data.name", "loop.extractor.lr", "budget.hours"} <= set(keys)
    assert len(keys) == len(set(keys))


def test_defaults_and_no_loop() -> None:
    config = make_config(MINIMAL)
    assert config.loop is None
    assert config.data.fraction == 1.0
    assert config.runtime.device == "auto"


def test_yaml_gives_back_an_equal_configuration(tmp_path: Path) -> None:
    config = make_config(
        {"data": {"path": "my/daten-ü"}, "loop": {}, "expected": {"mrr": 0.4}, "source": "a: b"}
    )
    again = load_config(write(tmp_path, config.to_yaml()))
    assert again == config
    assert again.sha256() == config.sha256()
    assert again.data.path == Path("my/daten-ü")


@pytest.mark.parametrize("name", ["1e3", "12", "1.5", "true", "null", "2020-01-01", "a: b"])
def test_a_folder_may_be_called_like_anything(name: str, tmp_path: Path) -> None:
    config = make_config({"data": {"path": name}})
    assert load_config(write(tmp_path, config.to_yaml())) == config


@given(st.floats(min_value=1e-12, max_value=1e3, exclude_min=True))
def test_any_learning_rate_survives_yaml(lr: float) -> None:
    config = make_config({**MINIMAL, "train": {"lr": lr}})
    assert make_config(yaml.safe_load(config.to_yaml())) == config
    assert make_config(MINIMAL, [f"train.lr={lr!r}"]) == config


def test_file_and_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, "data: {name: codex_s, fraction: 0.1}\ntrain: {lr: 3e-4}\n")
    config = load_config(path, ["train.epochs=7", "loop.extractor.lr=1e-5", "train.epochs=8"])
    assert config.train.lr == 3e-4
    assert config.train.epochs == 8
    assert config.loop is not None and config.loop.extractor.lr == 1e-5
    assert load_config(path, ["loop.rounds=3", "loop=null"]).loop is None


def test_hash_leaves_out_what_does_not_change_the_result() -> None:
    config = make_config(MINIMAL)
    same = make_config(
        MINIMAL, ["runtime.seed=4", "source=a paper", "expected.mrr=0.3", "budget.hours=2"]
    )
    assert same.sha256() == config.sha256()
    for override in ("data.fraction=0.1", "train.lr=0.1", "loop={}", "data.split_seed=1"):
        assert make_config(MINIMAL, [override]).sha256() != config.sha256()
    assert make_config(MINIMAL, ["train.epochs=200"]).sha256() == config.sha256()


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("train.epoch", "train.epochs"),
        ("trian", "train"),
        ("fraction", "data.fraction"),
        ("train.bases", "gnn.bases"),
        ("train.precison", "runtime.precision' or 'loop.precision"),
        ("train.dropout", "gnn.dropout' or 'decoder.dropout"),
        ("loop.extractor.max_candidate", "loop.extractor.max_candidates"),
    ],
)
def test_unknown_key_names_the_nearest(key: str, nearest: str) -> None:
    message = failure(MINIMAL, f"{key}=1")
    assert f"unknown key '{key}'" in message
    assert f"did you mean '{nearest}'?" in message
    assert message.startswith(f"override '{key}=1'")


def test_unknown_key_without_a_near_one_lists_the_section() -> None:
    message = failure({**MINIMAL, "decoder": {"zzzzzz": 1}})
    assert message == "a.yaml: unknown key 'decoder.zzzzzz'; known here are: kind, dim, dropout"


def test_unknown_key_is_told_before_the_one_it_leaves_missing() -> None:
    assert "did you mean 'data'?" in failure({"dta": {"name": "codex_s"}})


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.epochs=many", "'train.epochs' is 'many'; input should be a valid integer"),
        ("train.epochs=true", "'train.epochs' is True"),
        ("train.epochs=0", "greater than or equal to 1"),
        ("train.epochs='5'", "'train.epochs' is '5'"),
        ("train.lr=.nan", "'train.lr' is nan"),
        ("data.fraction=0", "greater than 0"),
        ("data.fraction=2", "less than or equal to 1"),
        ("decoder.kind=bilinear", "'distmult', 'complex'"),
        ("decoder=", "'decoder' is empty"),
        ("data.path=here", "'data' needs exactly one of data.name and data.path"),
        ("data.name=null", "needs exactly one"),
        ("data.name.more=1", "'name' is 'codex_s', not a section"),
        ("data.name=2020-01-01x: [", "not YAML"),
        ("source=2026-13-45", "not YAML (month must be in 1..12); put the value in quotes"),
        ("budget={}", "'budget.hours' is missing"),
        ("train.epochs", "expected key=value"),
        (".epochs=3", "expected key=value"),
        ("expected={1: 2, [1]: 3}", "a key must be a word"),
        ("expected={2020-01-01: 2}", "give plain YAML"),
        ("expected=&a [*a]", "Circular reference"),
        ("source=!!bool abc", "not YAML"),
        ("source=!!timestamp abc", "not YAML"),
        ("train.weight_decay=[]", "is []; input should be a valid number or a list of at least 1"),
        ("train.int=3", "unknown key 'train.int'; known here are: "),
        ("train.path=1", "unknown key 'train.path'"),
        ("train.weight_decay=[0.1, -1]", "'train.weight_decay.1' is -1; input should be greater"),
        (
            "train.weight_decay=x",
            "'train.weight_decay' is 'x'; input should be a valid number or a valid ",
        ),
    ],
)
def test_wrong_override_is_one_line(override: str, told: str) -> None:
    message = failure(MINIMAL, override)
    assert told in message
    assert override.partition("=")[0] in message


@pytest.mark.parametrize("content", [None, [], "data", 3])
def test_content_that_is_no_mapping(content: object) -> None:
    assert "expected sections" in failure(content)


def test_missing_data_section() -> None:
    assert "'data' is missing" in failure({})


def test_the_first_mistake_is_told_whatever_its_key_is_called() -> None:
    for data in ({"path": 5}, {"path": 5, "fraction": 3}):
        assert "'data.path' is 5; input should be a valid string" in failure({"data": data})


def test_a_long_value_is_cut() -> None:
    assert len(failure(MINIMAL, "train.epochs=" + "x" * 5000).partition(": ")[2]) < 200


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("data: {name: codex_s\n", "not YAML"),
        ("data:\n  name: codex_s\n  name: umls\n", "line 3: not YAML (key 'name' is given twice)"),
        ("data: !!python/object:os.system {}\n", "not YAML"),
        ("data: \x07\n", "not YAML"),
        ("? [a, b]\n: 1\n", "a key must be a word"),
        ("2020-01-01: 3\n", "keys are words"),
        ("", "is empty"),
    ],
)
def test_bad_file_is_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_config(path)
    message = str(caught.value).replace(str(path), "a.yaml").replace("holds empty", "is empty")
    assert told in message
    assert "\n" not in message


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such configuration file"):
        load_config(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match="cannot read"):
        load_config(tmp_path)
    path = tmp_path / "latin.yaml"
    path.write_bytes("data: {name: caf\xe9}".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        load_config(path)


def test_a_date_is_a_text() -> None:
    assert make_config(MINIMAL, ["source=2020-01-01"]).source == "2020-01-01"


def test_sections_are_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        make_config(MINIMAL).train.epochs = 3


def test_younger_keys_leave_the_hash_of_recorded_results_alone() -> None:
    lines = [line for table in tables() for line in read_lines(table) if table != "speed"]
    recorded = {line.config_sha256 for line in lines if not line.dirty}
    config = load_config(ROOT / "experiments/configs/lp_codex_s/complex.yaml")
    assert config.sha256() in recorded
    tuned = "experiments/configs/re_semeval2010/tuned_10.yaml"
    assert load_run_config(ROOT / tuned).sha256() in recorded
    semi = load_run_config(ROOT / tuned, ["semi={}"])
    assert semi.sha256() != load_run_config(ROOT / tuned, ["semi=null"]).sha256()
    others = {
        "gnn.decomposition": "block",
        "gnn.alpha": "false",
        "gnn.heads": "2",
        "gnn.fan_out": "[5]",
        "gnn.evidence_mask": "pair",
        "data.descriptions": "texts",
        "text.weights": "int8",
    }
    of_kinds = (RELATIONS_YOUNGER, FEW_SHOT_YOUNGER, RERANK_YOUNGER, INDUCTIVE_YOUNGER)
    assert set().union(others, LOOP_YOUNGER, *of_kinds) == YOUNGER.keys()
    margin = ["train.loss=margin"]
    for key, value in others.items():
        changed = make_config(MINIMAL, [*margin, f"{key}={value}"])
        assert changed.sha256() != make_config(MINIMAL, margin).sha256()


RELATIONS_YOUNGER = {
    "extraction.loss": "bce",
    "extraction.multi_label": "true",
    "extraction.attention": "10",
    "extraction.adversarial": "{}",
    "extraction.contrast": "{}",
    "extraction.mixup": "0.5",
    "extraction.debias": "{}",
    "extraction.fairness": "{groups: {a: [x], b: [y]}}",
    "semi": "{}",
    "pretraining": "{}",
    "data.negatives": "1.0",
    "continued": "[{run: a, data: b}]",
    "augmentation": "{}",
    "attack": "{}",
    "extraction.efficient": "{}",
    "text.device_map": "auto",
    "extraction.optimizer": "adafactor",
    "extraction.accumulate": "2",
    "extraction.averaging": "0.9",
    "extraction.ensemble": "2",
    "extraction.checkpointing": "true",
}


def test_younger_keys_of_relation_extraction_leave_recorded_hashes_alone() -> None:
    path = ROOT / "experiments/configs/re_semeval2010/tuned_10.yaml"
    lines = read_lines("re_semeval2010")
    assert load_run_config(path).sha256() in {line.config_sha256 for line in lines}
    needs = {
        "extraction.multi_label": ["extraction.loss=bce"],
        "data.negatives": ["data.fraction=1.0"],
    }
    for key, value in RELATIONS_YOUNGER.items():
        base = needs.get(key, [])
        changed = load_run_config(path, [*base, f"{key}={value}"])
        assert changed.sha256() != load_run_config(path, base).sha256()


FEW_SHOT_YOUNGER = {"few_shot.description": "0.5", "metric": "{sources: [scierc]}"}


INDUCTIVE_YOUNGER = {
    "inductive.asked": "other",
    "inductive.schedule": "linear",
    "text": "{nodes: true}",
}


RERANK_YOUNGER = {"rerank.read": "some"}


@pytest.mark.parametrize(
    ("row", "younger"),
    [
        ("re_fewrel/one_shot", FEW_SHOT_YOUNGER),
        ("inductive_grail/fb237_v1", INDUCTIVE_YOUNGER),
        ("lp_codex_s/reranked", RERANK_YOUNGER),
    ],
)
def test_younger_keys_leave_recorded_hashes_alone(row: str, younger: dict[str, str]) -> None:
    path = ROOT / f"experiments/configs/{row}.yaml"
    plain = load_run_config(path)
    assert plain.sha256() in {line.config_sha256 for line in read_lines(row.partition("/")[0])}
    for key, value in younger.items():
        assert load_run_config(path, [f"{key}={value}"]).sha256() != plain.sha256()


LOOP_YOUNGER = {
    "loop.cross_fitted": "false",
    "loop.coreference": "true",
    "loop.defence": "{}",
    "loop.pooling": "noisy_or",
    "loop.rules": "{}",
    "loop.weighing": "em",
    "train.adversarial": "{}",
    "train.contrast": "{}",
    "train.relation_prediction": "0.5",
    "loop.target_weighting": "uniform",
    "loop.target_floor": "0.5",
    "loop.context_weight": "0.5",
    "loop.pseudo_loss": "gce",
    "loop.gce_q": "0.5",
    "loop.bootstrap_beta": "0.5",
    "loop.consistency": "{}",
    "loop.coteaching": "{}",
    "loop.memory": "{}",
    "loop.polish_epochs": "3",
    "loop.polish_lr": "0.01",
    "loop.label_frequency_by_relation": "true",
    "loop.precision_start": "0.99",
    "loop.threshold": "0.5",
    "loop.voters": "1",
    "loop.delta": "0.05",
    "loop.bound": "hoeffding_bentkus",
    "loop.cap": "2.0",
}


def test_younger_keys_of_the_loop_leave_recorded_hashes_alone() -> None:
    path = ROOT / "experiments/configs/loop_codex_s/rgcn.yaml"
    config = load_config(path)
    assert config.sha256() in {line.config_sha256 for line in read_lines("loop_codex_s")}
    for key, value in LOOP_YOUNGER.items():
        assert load_config(path, [f"{key}={value}"]).sha256() != config.sha256()


def test_what_joins_the_loss_must_fit_encoder_and_loss() -> None:
    message = failure(MINIMAL, "train.contrast={}", "gnn.kind=none")
    assert "set train.contrast=null or another gnn.kind" in message
    for kind in ("gce", "bootstrap"):
        message = failure(MINIMAL, f"loop.pseudo_loss={kind}", "train.loss=bce")
        assert f"loop.pseudo_loss={kind} is of a softmax" in message
    for override in ("loop.gce_q=0", "loop.coteaching.forget=1", "loop.target_floor=1.1"):
        assert override.partition("=")[0] in failure(MINIMAL, override)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("loop.precision=0.9", "loop.precision_start=0.8"), "a start of at least the latter"),
        (("loop.voters=4",), "less than or equal to 3"),
        (("loop.delta=1",), "less than 1"),
        (("loop.cap=0",), "greater than 0"),
        (("loop.selector=oracle",), "'precision', 'budget'"),
        (
            ("loop.selector=conformal", "loop.label_frequency_by_relation=true"),
            "set loop.bound=hoeffding_bentkus",
        ),
        (
            ("loop.selector=agreement", "loop.voters=3"),
            "loop.rules, or set loop.voters=2",
        ),
        (("loop.selector=conformal", "loop.weighing=em"), "set loop.weighing=fused or another"),
        (("loop.precision=0",), "'loop.precision' is 0; input should be greater than 0"),
        (("loop.min_probability=0",), "'loop.min_probability' is 0; input should be greater"),
        (("loop.min_probability=1.1",), "less than or equal to 1"),
    ],
)
def test_a_selector_needs_numbers_that_fit(overrides: tuple[str, ...], told: str) -> None:
    selector = () if "selector" in overrides[0] else ("loop.selector=curriculum",)
    assert told in failure(MINIMAL, *selector, *overrides)


def test_fan_out_must_fit_layers_and_loss() -> None:
    assert "one for each layer" in failure(MINIMAL, "gnn.fan_out=[5,5]", "train.loss=margin")
    assert "set train.loss=self_adversarial or margin" in failure(MINIMAL, "gnn.fan_out=[5]")


@pytest.mark.parametrize(
    "section",
    ["few_shot", "joint", "document", "generative", "pretraining", "extraction", "inductive",
     "pairs: {benchmark: ogbl-ddi}"],
)  # fmt: skip
def test_descriptions_are_texts_of_link_prediction_alone(section: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"data: {{name: umls}}\n{section}{'' if ':' in section else ': {}'}\n")
    load_run_config(path)
    with pytest.raises(InputError, match="'data' has descriptions=texts.*; leave the key away"):
        load_run_config(path, ["data.descriptions=texts"])


@pytest.mark.parametrize("kind", ["few_shot", "joint", "document", "pretraining"])
def test_what_a_run_of_texts_would_not_follow_is_refused(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"data: {{name: x}}\n{kind}: {{}}\n")
    cases = {
        "text.device_map=auto": "'text' has a device_map, which runs with 'extraction:' follow",
        "text.model=characters": "'text' has model 'characters', which runs with 'extraction:'",
    }
    if kind == "pretraining":
        cases["data.fraction=0.5"] = "data.fraction is of labels"
    for change, told in cases.items():
        with pytest.raises(InputError) as caught:
            load_run_config(path, [change])
        assert told in str(caught.value)
        assert "\n" not in str(caught.value)
    found = load_run_config(path)
    # what older runs wrote opens as it did
    assert load_run_config(write(tmp_path, found.to_yaml())) == found
