"""Configuration files for TRL's own command, in which nothing of this package is needed.

`trl dpo` starts from a whole model and cannot start from an adapter (TRL 1.16 asks the folder for a
config.json, which an adapter has not). So where DPO follows, supervised finetuning is of all
weights, at the rate that the table has for that, and DPO trains a LoRA adapter upon its output.
`merge.py` is for those who want LoRA in both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from prefect_ratify.errors import InputError
from prefect_ratify.finetune.dataset import PREFERENCES, SUPERVISED
from prefect_ratify.finetune.training_defaults import Stage
from prefect_ratify.finetune.training_plan import COLUMNS, TrainingPlan
from prefect_ratify.finetune.trl_config import as_declared, run_settings

OUTPUT = "output"
FOLDERS: dict[Stage, str] = {"sft": SUPERVISED, "dpo": PREFERENCES}  # what trains elsewhere, and its rows
ON_A_CPU = {"use_cpu": True, "bf16": False, "activation_checkpointing": False}
# peft's names for what TRL's command takes, and TRL's names for it.
LORA_NAMES = {
    "r": "lora_r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "target_modules": "lora_target_modules",
    "target_parameters": "lora_target_parameters",
    "modules_to_save": "lora_modules_to_save",
    "task_type": "lora_task_type",
    "use_rslora": "use_rslora",
    "use_dora": "use_dora",
}
_MACHINE = {
    "compute_environment": "LOCAL_MACHINE",
    "machine_rank": 0,
    "main_training_function": "main",
    "mixed_precision": "bf16",
    "num_machines": 1,
    "rdzv_backend": "static",
    "same_network": True,
    "use_cpu": False,
}
# For `--accelerate_config`; how many processes there are is said beside it.
ACCELERATE: dict[str, dict[str, Any]] = {
    "one-gpu": {**_MACHINE, "distributed_type": "NO", "num_processes": 1},
    "fsdp2": {
        **_MACHINE,
        "distributed_type": "FSDP",
        "num_processes": 8,
        "fsdp_config": {
            "fsdp_version": 2,
            "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "fsdp_reshard_after_forward": True,
            "fsdp_cpu_ram_efficient_loading": True,
            "fsdp_offload_params": False,
            "fsdp_activation_checkpointing": False,  # TRL has its own
            "fsdp_state_dict_type": "FULL_STATE_DICT",  # else no whole model is left to go on from
        },
    },
    "zero3": {
        **_MACHINE,
        "distributed_type": "DEEPSPEED",
        "num_processes": 8,
        "deepspeed_config": {
            "zero_stage": 3,
            "zero3_init_flag": True,
            "zero3_save_16bit_model": True,  # as above
            "offload_optimizer_device": "none",
            "offload_param_device": "none",
            "deepspeed_multinode_launcher": "standard",
        },
    },
}
MERGE = '''"""Makes output/sft of output/sft-adapter, for `trl dpo`: see README.md."""

from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

merged = AutoPeftModelForCausalLM.from_pretrained("output/sft-adapter").merge_and_unload()
merged.save_pretrained("output/sft")
AutoTokenizer.from_pretrained("output/sft-adapter").save_pretrained("output/sft")
'''


@dataclass(frozen=True)
class Job:
    """What is trained elsewhere: a base by name, of so many parameters, by a plan; whether there are enough pairs."""

    base: str
    parameters: int
    plan: TrainingPlan
    seed: int
    pairs: bool

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What `trl` is run for, in order: SFT and DPO, as the run trains them, and DPO where pairs are enough."""
        wanted, _ = self.plan.steps(self.parameters)
        return tuple(stage for stage in FOLDERS if stage in wanted and (stage == "sft" or self.pairs))

    @property
    def left_out(self) -> tuple[str, ...]:
        """What the run would train as well, and nobody can elsewhere: it needs the run's checks or judges."""
        stages, rounds = self.plan.steps(self.parameters)
        own = ("DPO on own answers",) if rounds else ()
        return (*(stage.upper() for stage in stages if stage not in FOLDERS), *own)

    def uses_lora(self, stage: Stage) -> bool:
        """Whether a stage leaves an adapter: see the module's own words."""
        return self.plan.lora is not None and stage == self.stages[-1]


def training_files(job: Job) -> dict[str, str]:
    """The files of a job by name, each as text: two for each stage, three for accelerate, and merge.py."""
    files = {}
    for stage in job.stages:
        config = _config(job, stage)
        files[f"{stage}.yaml"] = as_yaml(config)
        files[f"{stage}-cpu.yaml"] = as_yaml({**config, **ON_A_CPU})
    files |= {f"accelerate/{name}.yaml": as_yaml(config) for name, config in ACCELERATE.items()}
    return {**files, "merge.py": MERGE} if by_adapter(job) else files


def stages_of(names: Collection[str]) -> list[Stage]:
    """The stages whose files are among these, in order."""
    return [stage for stage in FOLDERS if f"{stage}.yaml" in names]


def by_adapter(job: Job) -> str:
    """The command that does by LoRA what sft.yaml does with all weights; '' where that is no question."""
    if job.plan.lora is None or job.stages != ("sft", "dpo"):
        return ""
    rate = job.plan.settings("sft", job.parameters)["learning_rate"].value
    return f"trl sft --config sft.yaml --use_peft --learning_rate {rate} --output_dir {OUTPUT}/sft-adapter"


def as_yaml(config: Mapping[str, Any]) -> str:
    """A configuration as YAML, in its own order; numbers are written as 5.0e-05, since 5e-05 would be a text."""
    import yaml

    text: str = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=10_000)
    return text


def _config(job: Job, stage: Stage) -> dict[str, Any]:
    return {
        "model_name_or_path": job.base if stage == job.stages[0] else f"{OUTPUT}/{job.stages[0]}",
        # By file, so that the card's header need not be understood; the other columns are left behind.
        "datasets": [{"path": "parquet", "data_files": f"{FOLDERS[stage]}/*.parquet", "columns": list(COLUMNS[stage])}],
        **_values(job, stage),
        **run_settings(f"{OUTPUT}/{stage}", job.seed, job.plan.report_to),
        "use_peft": job.uses_lora(stage),
        **_lora(job),
    }


def _values(job: Job, stage: Stage) -> dict[str, Any]:
    """A stage's settings; a rate that was chosen for LoRA is not taken for all weights."""
    plan, lora = job.plan, job.uses_lora(stage)
    if plan.lora is not None and not lora:
        given = {key: value for key, value in plan.section(stage).items() if key != "learning_rate"}
        plan = plan.model_copy(update={"lora": None, stage: given})
    found = plan.settings(stage, job.parameters)
    return {key: as_declared(stage, key, number.value) for key, number in found.items()}


def _lora(job: Job) -> dict[str, Any]:
    settings = job.plan.lora_settings(job.parameters)
    if settings is None:
        return {}
    for key in settings:
        if key not in LORA_NAMES:
            raise InputError(f"the trl command has no setting for lora: {key}", "leave it out of training.yaml")
    # peft's default, where the command has another one.
    return {"lora_dropout": 0.0, **{LORA_NAMES[key]: number.value for key, number in settings.items()}}
