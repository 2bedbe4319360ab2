"""training.yaml: passed through to TRL as it is, and what TRL would refuse is refused first, with its line."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ratify import embedded
from prefect_ratify.command_line import main
from prefect_ratify.errors import InputError
from prefect_ratify.finetune.training_defaults import TABLE, by_size, defaults, lora_defaults
from prefect_ratify.finetune.training_plan import STAGES, TrainingPlan, count_parameters, unknown_module
from prefect_ratify.flows.project import Settings, load_project, run_digest
from prefect_ratify.flows.training_file import load_training, require_trainable

needs_trl = pytest.mark.model  # importing TRL takes seconds


def written(folder: Path, text: str) -> Path:
    path = folder / "training.yaml"
    path.write_text(text)
    return path


def test_without_a_file_the_table_decides(tmp_path: Path) -> None:
    plan = load_training(tmp_path / "training.yaml")
    assert plan == TrainingPlan()
    assert plan.steps(135_000_000) == (("sft",), 1) and plan.steps(7_000_000_000) == (("sft", "dpo"), 0)
    assert plan.settings("sft", 135_000_000)["learning_rate"].value == 2e-3
    require_trainable(tmp_path / "training.yaml", plan)


def test_what_people_write_stands_over_the_table_verbatim(tmp_path: Path) -> None:
    plan = load_training(
        written(
            tmp_path,
            "stages: [sft, kto]\non_policy_rounds: 2\nreport_to: tensorboard\nlora: none\n"
            "sft:\n  learning_rate: 1.0e-5\n  model_init_kwargs: {attn_implementation: sdpa}\n",
        )
    )
    assert plan.stages == ("sft", "kto") and plan.steps(10**9) == (("sft", "kto"), 2)
    assert plan.lora is None and plan.lora_settings(10**9) is None and plan.report_to == ("tensorboard",)
    told = plan.settings("sft", 10**9)
    assert told["learning_rate"].value == 1e-5 and told["learning_rate"].source == "given"
    assert told["model_init_kwargs"].value == {"attn_implementation": "sdpa"}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("stages: [sft]\nsfft: {}\n", 2, "unknown key 'sfft'"),
        ("stages:\n  - sft\n  - ppo\n", 3, "there is no stage 'ppo'"),
        ("stages: [dpo, sft]\n", 1, "sft cannot come after dpo"),
        ("stages: [sft, sft]\n", 1, "sft cannot come after sft"),
        ("stages: [grpo]\n", 1, "grpo without sft"),
        ("stages: []\n", 1, "nothing is trained"),
        ("on_policy_rounds: -1\n", 1, "fewer rounds than none"),
        ("on_policy_rounds: some\n", 1, "a whole number is expected"),
        ("lora: full\n", 1, "'none' for full finetuning"),
        ("stages: [sft]\nkto:\n  beta: 0.2\n", 2, "kto is not among the stages"),
        ("sft: [1]\n", 1, "a mapping is expected"),
    ],
)
def test_a_wrong_form_gives_one_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as error:
        load_training(path)
    assert str(error.value).startswith(f"{path}:{line}: ") and said in str(error.value)


@needs_trl
@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("sft:\n  learning_rat: 1\n", 2, "SFTConfig of TRL"),
        ("sft:\n  learning_rat: 1\n", 2, "did you mean 'learning_rate'?"),
        ("dpo:\n  beta: 0.1\n  output_dir: x\n", 3, "'output_dir' may not be set here; a run keeps its checkpoints"),
        ("sft: {seed: 3}\n", 1, "give --seed"),
        ("sft:\n  eval_strategy: steps\n", 2, "held-out scenarios are for the comparison"),
        ("sft:\n  learning_rate: fast\n", 2, "learning_rate takes a number, not 'fast'"),
        ("sft:\n  max_steps: 1.5\n", 2, "max_steps takes a whole number"),
        ("sft:\n  epochs: 2\n  lr_scheduler_type: x\n", 2, "has no 'epochs'"),
        ("sft:\n  packing: true\n  lr_scheduler_type: steep\n", 3, "not a valid SchedulerType"),
        ("dpo:\n  loss_type: [sigmoid]\n  loss_weights: [1, 2]\n", 2, "`loss_weights` must have the same length"),
        ("lora:\n  rank: 8\n", 2, "LoraConfig of peft"),
        ("lora:\n  r: many\n", 2, "r takes a whole number"),
        ("sft:\n  max_steps: 3\n  learning_rate: -1\n", 3, "learning_rate takes a number above 0, not -1"),
        ("sft:\n  learning_rate: -5e-5\n", 2, "learning_rate takes a number above 0, not '-5e-5'"),
        ("sft: {num_train_epochs: .inf}\n", 1, "num_train_epochs takes a number above 0"),
        ("dpo: {max_length: 0}\n", 1, "max_length takes a whole number from 1 on"),
        ("dpo: {warmup_steps: -5}\n", 1, "warmup_steps takes no number below 0"),
        ("sft: {adam_beta2: 1.0}\n", 1, "adam_beta2 takes a number from 0 to below 1"),
        ("lora:\n  r: 0\n", 2, "r takes a whole number from 1 on, not 0"),
        ("lora: {lora_dropout: 2}\n", 1, "lora_dropout takes a number from 0 to 1"),
        ("lora:\n  r: 8\n  lora_alpha: -1\n", 3, "lora_alpha takes a number above 0, not -1"),
        ("dpo:\n  beta: -1\n", 2, "beta takes a number above 0, not -1"),
        ("dpo: {beta: .nan}\n", 1, "beta takes a number above 0, not nan"),
        ("dpo: {label_smoothing: 0.7}\n", 1, "label_smoothing takes a number from 0 to below 0.5"),
        ("dpo: {loss_type: [sigmoid, nonsense]}\n", 1, "loss_type takes sigmoid, hinge"),
        ("dpo: {f_divergence_type: nonsense}\n", 1, "f_divergence_type takes reverse_kl"),
        ("sft: {loss_type: nonsense}\n", 1, "loss_type takes nll, dft, chunked_nll, not 'nonsense'"),
        ("sft: {max_steps: 0}\n", 1, "max_steps takes a whole number from 1 on, or -1 for none, not 0"),
        ("sft: {weight_decay: -1}\n", 1, "weight_decay takes no number below 0"),
        ("stages: [sft, kto]\nkto: {loss_type: nonsense}\n", 2, "loss_type takes kto, apo_zero_unpaired"),
        ("stages: [sft, kto]\nkto: {per_device_train_batch_size: 1}\n", 2, "a whole number from 2 on, not 1"),
        ("stages: [sft, grpo]\ngrpo: {loss_type: nonsense}\n", 2, "loss_type takes grpo, dr_grpo"),
        ("stages: [sft, grpo]\ngrpo: {temperature: 0}\n", 2, "temperature takes a number above 0, not 0"),
        ("report_to: [carrier-pigeon]\n", 1, "there is no tracker 'carrier-pigeon'"),
    ],
)
def test_what_trl_would_refuse_is_refused_first(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as error:
        require_trainable(path, load_training(path))
    assert str(error.value).startswith(f"{path}:{line}: ") and said in str(error.value)
    assert "\n" not in str(error.value)


@needs_trl
def test_what_only_one_section_refuses_passes_in_another(tmp_path: Path) -> None:
    text = (
        "stages: [sft, dpo, grpo]\nsft: {per_device_train_batch_size: 1, loss_type: dft, max_steps: -1}\n"
        "dpo: {loss_type: [sigmoid, sft]}\ngrpo: {beta: 0, loss_type: dapo, dataloader_multiprocessing_context: null}\n"
    )
    path = written(tmp_path, text)
    require_trainable(path, load_training(path))


@needs_trl
def test_a_tracker_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.integrations import integration_utils

    monkeypatch.setattr(integration_utils, "is_wandb_available", lambda: False)
    path = written(tmp_path, "report_to: [wandb]\n")
    with pytest.raises(InputError, match=r"training.yaml:1: nothing can be reported to wandb: .*install"):
        require_trainable(path, load_training(path))


@needs_trl
def test_numbers_that_yaml_reads_as_texts_are_numbers_to_trl(tmp_path: Path) -> None:
    from prefect_ratify.finetune.trl_config import stage_config

    path = written(tmp_path, "dpo: {learning_rate: 5e-5, loss_type: ipo, lr_scheduler_kwargs: {a: 1}}\n")
    plan = load_training(path)
    require_trainable(path, plan)
    told = {key: number.value for key, number in plan.settings("dpo", 10**9).items()}
    config = stage_config("dpo", told, str(tmp_path / "out"), 2**40, ())
    assert config.learning_rate == 5e-5 and config.loss_type == ["ipo"] and config.seed == 0
    assert not (tmp_path / "out").exists()


@needs_trl
def test_trl_takes_all_that_the_table_says(tmp_path: Path) -> None:
    from prefect_ratify.finetune.trl_config import LORA, make_config, stage_config

    for size in TABLE:
        parameters = int(min(size.most, 1e12))
        for stage in STAGES:
            for lora in (True, False):
                told = defaults(stage, parameters, lora=lora)
                config = stage_config(stage, {k: n.value for k, n in told.items()}, str(tmp_path), 1, ())
                assert {key: getattr(config, key) for key in told} == {key: n.value for key, n in told.items()}
        adapter = make_config(LORA, {key: number.value for key, number in lora_defaults(parameters).items()})
        assert adapter.r == size.rank.value


@given(st.integers(min_value=1, max_value=10**12))
def test_larger_models_are_never_told_to_learn_faster(parameters: int) -> None:
    smaller, larger = by_size(parameters), by_size(parameters * 10)
    for rates in ("sft_rates", "dpo_rates"):
        pairs = zip(getattr(smaller, rates), getattr(larger, rates), strict=True)
        assert all(a.value >= b.value for a, b in pairs)
    for size in (smaller, larger):
        assert all(full.value < lora.value for lora, full in (size.sft_rates, size.dpo_rates))


def test_every_number_of_the_table_says_where_it_comes_from() -> None:
    for size in TABLE:
        for stage in STAGES:
            assert all(number.source for number in defaults(stage, int(min(size.most, 1e12)), lora=True).values())
    assert "not tuned for KTO" in defaults("kto", 135_000_000, lora=True)["learning_rate"].source


def test_parameters_are_counted_without_loading_them(tmp_path: Path) -> None:
    for number, shapes in enumerate([{"a": [2, 3], "b": [4]}, {"c": []}]):
        header = {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
        text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
        (tmp_path / f"model-{number}.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    assert count_parameters(tmp_path) == 2 * 3 + 4 + 1


@pytest.mark.parametrize(
    ("targets", "unknown"),
    [
        ("all-linear", ""),
        ("all-linea", "all-linea"),
        ("[", "["),
        (r".*\.q_proj", ""),
        (["q_proj", "mlp.up"], ""),
        (["q_proj", "v_pro"], "v_pro"),
        (["proj"], "proj"),
    ],
)
def test_modules_that_the_student_has_not_are_named(tmp_path: Path, targets: str | list[str], unknown: str) -> None:
    assert unknown_module(tmp_path, targets) == "", "nobody can tell without weights"
    names = ("model.layers.0.attn.q_proj.weight", "model.layers.0.mlp.up.weight")
    text = json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 0]} for name in names}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    assert unknown_module(tmp_path, targets) == unknown


@needs_trl
def test_a_module_that_the_student_has_not_is_refused_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "lora:\n  r: 4\n  target_modules: [q_proj, v_pro]\n")
    with pytest.raises(InputError, match=r"training.yaml:3: the student has no module 'v_pro'; 'all-linear' stands"):
        require_trainable(path, load_training(path), lambda: embedded.checkpoint()[0])


def test_another_training_is_another_run_and_is_copied_with_it(project: Path) -> None:
    from prefect_ratify.flows.run_folder import open_run, run_in

    before = run_digest(load_project(project), Settings())
    written(project, "on_policy_rounds: 2\n")
    run = open_run(project, Settings(sft_steps=3))
    assert run_digest(load_project(project), Settings()) != before
    written(project, "on_policy_rounds: 5\n")
    again = run_in(run.folder)
    assert again.training.on_policy_rounds == 2 and again.training.sft == {"max_steps": 3}


@needs_trl
def test_check_and_run_say_what_is_wrong_before_anything(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(project, "sft:\n  learning_rat: 1\n")
    for command in ("check", "run"):
        assert main([command, str(project)]) == 2
        assert f"{project / 'training.yaml'}:2: SFTConfig" in capsys.readouterr().err
    assert not (project / ".ratify").exists()
    (project / "training.yaml").unlink()
    assert main(["run", str(project), "--unattended", "--train-on", "a/b"]) == 2
    assert "--unattended asks nobody" in capsys.readouterr().err
