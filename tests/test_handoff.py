"""The handoff: a folder on which TRL's own command trains elsewhere, and the model that comes back.

The base model is a real Llama of two layers with the embedded model's tokenizer, and says nothing
sensible. TRL runs as a program of its own, in this environment, but with a finder in front that
refuses to import this package: what the folder holds has to do.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import yaml

from prefect_ratify import embedded
from prefect_ratify.command_line import main
from prefect_ratify.decisions import LedgerEntry
from prefect_ratify.errors import InputError, NotApproved
from prefect_ratify.finetune.dataset import PREFERENCES, SUPERVISED, count_rows, shard_name, write_rows
from prefect_ratify.finetune.gguf_file import write_gguf
from prefect_ratify.finetune.handoff import HANDOFF, data_digests, read_handoff, sha256
from prefect_ratify.finetune.taking_back import ADAPTER, Trained, find_trained, read_log
from prefect_ratify.finetune.training_defaults import Stage
from prefect_ratify.finetune.training_plan import TrainingPlan
from prefect_ratify.finetune.trl_files import ON_A_CPU, Job, training_files
from prefect_ratify.flows.adopting import adopt
from prefect_ratify.flows.compare import FINETUNED, compare
from prefect_ratify.flows.gates import require_approval
from prefect_ratify.flows.handing_off import hand_off, training_job
from prefect_ratify.flows.ledger import append
from prefect_ratify.flows.model_card import model_card
from prefect_ratify.flows.path import require_approvals
from prefect_ratify.flows.project import Models, Settings
from prefect_ratify.flows.prototype import prototype
from prefect_ratify.flows.run_folder import Run, evidence_digest, open_run
from prefect_ratify.flows.stages import run_stage
from prefect_ratify.flows.train import tuned_model
from prefect_ratify.flows.training_curves import training_steps
from prefect_ratify.records import Message, Response, Sampling
from prefect_ratify.store import read_json, read_records, write_json, write_record
from prefect_ratify.training_rows import Demonstration, PreferencePair, Provenance
from tests.gate_server import until

pytestmark = pytest.mark.model
BIN = Path(sys.executable).parent
FEW = "{max_steps: 2, per_device_train_batch_size: 4}"
TRAINING = f"stages: [sft, dpo]\nsft: {FEW}\ndpo: {FEW}\n"
ROWS = 16
TOKENS = 2000  # of a short vocabulary
REFUSE = """import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "prefect_ratify":
            raise ModuleNotFoundError("this package is not here")

sys.meta_path.insert(0, Refuse())
"""


@dataclass(frozen=True)
class Handed:
    """A run whose data is approved, and the folder that was handed off of it, trained."""

    run: Run
    folder: Path


@pytest.fixture(scope="module")
def begun(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with rows of both kinds, at its data gate."""
    project = tmp_path_factory.mktemp("handoff") / "project"
    assert main(["init", str(project), "--example", "legal-advice"]) == 0
    (project / "training.yaml").write_text(TRAINING)
    models = Models(student=str(tiny), responder=str(tiny))
    settings = Settings(models=models, scenario_limit=4, samples=1, sampling=Sampling(max_tokens=8))
    run = open_run(project, settings)
    run_stage(run, "prototype", prototype)
    run_stage(run, "refine", lambda run, folder: write_record(folder / "policy.json", run.project.policy))
    run_stage(run, "regress", lambda run, folder: write_json(folder / "comparison.json", {}))
    run_stage(run, "generate", with_rows)
    return run


def with_rows(run: Run, folder: Path) -> None:
    rows, pairs = [], []
    good, bad = ((Message(role="assistant", content=text),) for text in ("How long has it lasted?", "No."))
    for number, scenario in zip(range(ROWS), cycle(run.project.suite.split("develop")), strict=False):
        place = {"scenario_id": scenario.id, "clause_ids": scenario.clause_ids, "policy": "p", "seed": number}
        provenance = Provenance(**place, model="fake", method="quick")
        rows.append(Demonstration(prompt=scenario.messages, completion=good, provenance=provenance))
        pairs.append(PreferencePair(prompt=scenario.messages, chosen=good, rejected=bad, provenance=provenance))
    write_rows(rows, folder / SUPERVISED / shard_name(0))
    write_rows(pairs, folder / PREFERENCES / shard_name(0))
    (folder / "data" / "README.md").write_text("# Rows\n")
    (folder / "data" / "notes.txt").write_text("not to leave\n")


def approve(run: Run, gate: str) -> None:
    rule, evidence = run.project.stakeholders.rule_digest(gate), evidence_digest(run, gate)
    entry = LedgerEntry(
        gate=gate, round=run.round, evidence=evidence, rule=rule, decision="approve", approver="Ada", at="2026-01-01"
    )
    append(run.folder, entry)


def without_this_package(folder: Path) -> dict[str, str]:
    """The environment of a program that may not import this package."""
    banned = folder.parent / "banned"
    banned.mkdir(exist_ok=True)
    (banned / "sitecustomize.py").write_text(REFUSE)
    own = {"PYTHONPATH": str(banned), "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder.parent / "cache")}
    return {**os.environ, **own, "OMP_NUM_THREADS": "1"}


def ran(folder: Path, *command: str) -> str:
    """Run a program of this environment in the folder, without this package; returns what it wrote."""
    environment = without_this_package(folder)
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=folder, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def in_two_processes(folder: Path, stage: str) -> None:
    """Run TRL's script by torchrun, until the model is saved.

    On its way out PyTorch's gloo may wait for itself for ever, once all is written (a destructor
    holds the interpreter's lock: pytorch/pytorch issue 56297). The launcher is then ended.
    """
    command = [BIN / "torchrun", "--nproc_per_node", "2", "-m", f"trl.scripts.{stage}"]
    options = ["--config", f"{stage}-cpu.yaml", "--ddp_backend", "gloo", "--output_dir", f"two/{stage}"]
    log = folder.parent / f"{stage}.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, *options], cwd=folder, env=without_this_package(folder), stdout=out, stderr=out
        )
    try:
        until(lambda: "Model saved" in log.read_text() or process.poll() is not None, 200, f"see {log}")
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=3)
        assert not process.returncode, log.read_text()[-3000:]
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def handed(begun: Run, tiny: Path) -> Handed:
    """The folder, handed off by the command, on which `trl sft` and then `trl dpo` ran."""
    approve(begun, "policy")
    approve(begun, "data")
    folder = begun.project.folder.parent / "elsewhere"
    command = ["handoff", str(begun.project.folder), "--to", str(folder), "--base", str(tiny)]
    assert main(command) == 0
    ran(folder, "trl", "sft", "--config", "sft-cpu.yaml")
    ran(folder, "trl", "dpo", "--config", "dpo-cpu.yaml")
    return Handed(begun, folder)


@pytest.fixture
def copy(handed: Handed, tmp_path: Path) -> Path:
    """A copy of the trained folder, to spoil."""
    return Path(shutil.copytree(handed.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("optimizer.pt", "two")))


def configuration(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / name).read_text())
    return found


def test_the_programs_that_train_cannot_import_this_package(handed: Handed) -> None:
    with pytest.raises(AssertionError, match="this package is not here"):
        ran(handed.folder, "python", "-c", "import prefect_ratify")


def test_the_folder_holds_what_was_approved_and_nothing_else(handed: Handed) -> None:
    given, kept = handed.folder / "data", handed.run.stage_folder("generate") / "data"
    assert data_digests(given) == data_digests(kept) == read_handoff(handed.folder).data
    assert sorted(p.relative_to(given).as_posix() for p in given.rglob("*.*")) == sorted(data_digests(kept))
    texts = [p for p in handed.folder.glob("*") if p.is_file()] + list(handed.folder.glob("accelerate/*"))
    for path in texts:
        assert str(handed.run.project.folder) not in path.read_text(), path
        assert path.name == HANDOFF or read_handoff(handed.folder).configs[str(path.relative_to(handed.folder))]
    readme = (handed.folder / "README.md").read_text()
    assert "approved by Ada" in readme and readme.count("\n") == 2 + 5


def test_the_configurations_are_read_as_they_are_meant(handed: Handed) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    for stage in ("sft", "dpo"):
        on_gpu, on_cpu = (configuration(handed.folder, f"{stage}{ending}.yaml") for ending in ("", "-cpu"))
        assert {**on_gpu, **ON_A_CPU} == on_cpu
        assert isinstance(on_gpu["learning_rate"], float) and on_gpu["max_steps"] == 2
    # DPO cannot start from an adapter: SFT leaves a whole model, at the rate for that, a tenth of LoRA's.
    sft, dpo = (configuration(handed.folder, f"{stage}.yaml") for stage in ("sft", "dpo"))
    assert (sft["use_peft"], dpo["use_peft"], dpo["model_name_or_path"]) == (False, True, sft["output_dir"])
    lora = training_job(handed.run).plan.settings("sft", 1)["learning_rate"].value
    assert sft["learning_rate"] == pytest.approx(lora / 10)
    kinds = {
        name: load_config_from_file(str(handed.folder / "accelerate" / f"{name}.yaml")).distributed_type.value
        for name in ("one-gpu", "fsdp2", "zero3")
    }
    assert kinds == {"one-gpu": "NO", "fsdp2": "FSDP", "zero3": "DEEPSPEED"}


def test_trl_alone_trains_on_the_folder(handed: Handed) -> None:
    sft, dpo = (read_log(handed.folder / "output" / stage) for stage in ("sft", "dpo"))
    assert [entry["epoch"] for entry in sft if "loss" in entry] == [0.25, 0.5]
    assert sum("rewards/margins" in entry for entry in dpo) == 2
    assert (handed.folder / "output/sft/model.safetensors").exists()
    adapter = json.loads((handed.folder / "output/dpo/adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "output/sft"


def test_two_cpu_processes_train_on_the_folder(handed: Handed) -> None:
    for stage in ("sft", "dpo"):
        in_two_processes(handed.folder, stage)
        steps = [entry["epoch"] for entry in read_log(handed.folder / "two" / stage) if "loss" in entry]
        assert steps == [0.5, 1.0], "twice as many rows a step as one process"


def test_what_lora_trained_is_merged_for_dpo(copy: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shutil.rmtree(copy / "output" / "sft")
    config = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny), config).eval()
    adapted.save_pretrained(copy / "output" / "sft-adapter")
    AutoTokenizer.from_pretrained(tiny).save_pretrained(copy / "output" / "sft-adapter")
    monkeypatch.chdir(copy)
    runpy.run_path("merge.py")
    merged = AutoModelForCausalLM.from_pretrained("output/sft")
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        assert torch.allclose(merged(ids).logits, adapted(ids).logits, atol=1e-5)


@pytest.mark.parametrize(
    ("stages", "pairs", "trained", "left_out"),
    [
        (None, True, ("sft", "dpo"), ()),
        (("sft", "dpo"), False, ("sft",), ()),
        (("sft",), True, ("sft",), ()),
        (("dpo",), True, ("dpo",), ()),
        (("sft", "kto"), True, ("sft",), ("KTO",)),
        (("kto",), True, (), ("KTO",)),
    ],
)
def test_elsewhere_is_trained_what_the_run_would_train(
    stages: tuple[Stage, ...] | None, pairs: bool, trained: tuple[str, ...], left_out: tuple[str, ...]
) -> None:
    job = Job("org/base", 10**9, TrainingPlan(stages=stages), 0, pairs)
    assert (job.stages, job.left_out) == (trained, left_out)
    files = training_files(job)
    assert [name for name in files if name.endswith("-cpu.yaml")] == [f"{stage}-cpu.yaml" for stage in trained]
    for stage in trained[:1]:
        assert yaml.safe_load(files[f"{stage}.yaml"])["model_name_or_path"] == "org/base"
    assert ("merge.py" in files) == (trained == ("sft", "dpo"))
    assert Job("org/base", 135_000_000, TrainingPlan(), 0, pairs).left_out == ("DPO on own answers",)


def test_an_adapter_of_the_first_stage_is_the_base_models_own(tmp_path: Path) -> None:
    adapter = tmp_path / "output" / "dpo" / ADAPTER
    adapter.parent.mkdir(parents=True)
    adapter.touch()
    assert find_trained(tmp_path, ["dpo"]) == Trained(("dpo",), None, adapter.parent)
    with pytest.raises(InputError, match="output/sft, is gone"):
        find_trained(tmp_path, ["sft", "dpo"])


SHARD = "data/sft/shard-00000.parquet"
SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a shard": (lambda folder: shutil.copy(folder / SHARD, folder / "data/sft/z.parquet"), "sft/z.parquet was added"),
    "no pairs": (lambda folder: (folder / "data/preferences/shard-00000.parquet").unlink(), "is missing since"),
    "a card": (lambda folder: (folder / "data/README.md").write_text("# Other\n"), "README.md was changed"),
    "nothing trained": (lambda folder: shutil.rmtree(folder / "output"), "nothing was trained here"),
    "no handoff": (lambda folder: (folder / HANDOFF).unlink(), "this is no handoff folder"),
    "another policy": (lambda folder: edit(folder / HANDOFF, "policy", "0" * 64), "another refined policy"),
    "another base": (lambda folder: edit(folder / HANDOFF, "base_digest", "0" * 64), "another base model"),
    "another ledger": (lambda folder: edit(folder / HANDOFF, "ledger", "0" * 64), "never ended in"),
    "another size": (lambda folder: edit(folder / "output/sft/config.json", "hidden_size", 64), "hidden_size is 64"),
    "no SFT model": (lambda folder: shutil.rmtree(folder / "output/sft"), "trained on, output/sft, is gone"),
}  # fmt: skip


def edit(path: Path, key: str, value: object) -> None:
    write_json(path, {**read_json(path), key: value})


@pytest.mark.parametrize("spoiled", SPOILED)
def test_a_folder_that_is_not_what_was_handed_off_is_refused_in_one_line(
    spoiled: str, handed: Handed, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, said = SPOILED[spoiled]
    spoil(copy)
    assert main(["adopt", str(handed.run.project.folder), str(copy)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not handed.run.stage_folder("train").exists() and not (handed.run.folder / "rounds").exists()


def test_the_model_comes_back_into_the_run(handed: Handed, copy: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    (copy / "sft.yaml").write_text("# edited\n")
    run = handed.run
    assert main(["adopt", str(run.project.folder), str(copy)]) == 0
    training = read_json(run.stage_folder("train") / "training.json")
    assert training["adopted"]["stages"] == ["sft", "dpo"] and training["adopted"]["edited"] == ["sft.yaml"]
    for stage in ("sft", "dpo"):
        assert sum("loss" in entry for entry in read_json(run.stage_folder("train") / stage / "log.json")) == 2
    assert training["pairs"] == count_rows(copy / "data/preferences") == ROWS
    whole = AutoModelForCausalLM.from_pretrained(copy / "output/sft")
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        before = whole(ids).logits
        wanted = PeftModel.from_pretrained(whole, str(copy / "output/dpo")).eval()(ids).logits
        found = AutoModelForCausalLM.from_pretrained(tuned_model(run).folder).eval()(ids).logits
    assert torch.allclose(found, wanted, atol=1e-5) and not torch.allclose(found, before, atol=1e-5)
    require_approval(run, "data")  # what was decided on is untouched
    for path in run.stage_folder("train").rglob("*.json"):
        assert str(copy) not in path.read_text(), path
    require_approvals(run, "compare")
    run_stage(run, "compare", compare)
    answers = read_records(run.stage_folder("compare") / "responses.jsonl", Response)
    assert sum(answer.condition == FINETUNED and answer.text != "" for answer in answers) == 4
    assert "configurations edited there: sft.yaml" in model_card(run)
    assert [len(step.curves) for step in training_steps(run.stage_folder("train"))] == [1, 4]
    adopt(run, copy)  # once more: what was there is put aside, not lost
    assert [path.name for path in (run.folder / "rounds").iterdir()] == ["1-adopt"]


def test_without_approval_or_pairs_or_a_free_place(begun: Run, handed: Handed, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is there already"):
        hand_off(begun, handed.folder)
    shard = begun.stage_folder("generate") / PREFERENCES / shard_name(0)
    kept = shard.read_bytes()
    shard.unlink()
    try:
        with pytest.raises(NotApproved, match="gate data"):
            hand_off(begun, tmp_path / "new")
        assert not list(tmp_path.iterdir())
        approve(begun, "data")
        hand_off(begun, tmp_path / "new", "org/name")
    finally:
        shard.write_bytes(kept)
    assert not (tmp_path / "new" / "dpo.yaml").exists()
    assert "There is no dpo.yaml" in (tmp_path / "new" / "README.md").read_text()
    sft = configuration(tmp_path / "new", "sft.yaml")
    assert (sft["use_peft"], sft["model_name_or_path"]) == (True, "org/name")


def test_a_row_with_a_secret_does_not_leave(handed: Handed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "How long has it lasted?")
    with pytest.raises(InputError, match=r"row [0-9a-f]{12} holds the value of SOME_API_KEY"):
        hand_off(handed.run, tmp_path / "new")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def written(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The small model in half precision with the whole vocabulary, as a GGUF reader finds it."""
    import gguf

    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    write_gguf(tiny, embedded.gguf_file(), path, "A model")
    return gguf.GGUFReader(path)


@pytest.fixture(scope="module")
def short(tiny: Path, written: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The small model and a GGUF file of its base, with the first tokens of the vocabulary: the rest takes seconds."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("short")
    model = Path(shutil.copytree(tiny, folder / "model"))
    tokenizer = read_json(model / "tokenizer.json")
    words = tokenizer["model"]["vocab"] = {t: n for t, n in tokenizer["model"]["vocab"].items() if n < TOKENS}
    merges = tokenizer["model"]["merges"] = [pair for pair in tokenizer["model"]["merges"] if "".join(pair) in words]
    write_json(model / "tokenizer.json", tokenizer)
    edit(model / "config.json", "vocab_size", TOKENS)
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig.from_pretrained(model)).save_pretrained(model)
    write_base(written, [" ".join(pair) for pair in merges], folder / "base.gguf")
    return model, folder / "base.gguf"


def write_base(whole: Any, merges: list[str], path: Path) -> None:
    """What a GGUF file says of its tokenizer, for the first tokens alone."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    for name, field in whole.fields.items():
        kind, *inner = field.types
        if name.startswith("tokenizer."):
            value = merges if name.endswith("merges") else field.contents()
            writer.add_key_value(name, value[:TOKENS] if inner else value, kind, inner[-1] if inner else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def test_a_gguf_file_gives_the_same_answers(short: tuple[Path, Path], tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, base = short
    write_gguf(model, base, tmp_path / "model.gguf", "A model", "f32")
    ours = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    read = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    spelt = AutoTokenizer.from_pretrained(tmp_path, gguf_file="model.gguf")
    ids = tokenizer("My landlord évicts us <|im_end|>", return_tensors="pt").input_ids
    assert spelt(tokenizer.decode(ids[0])).input_ids == ids[0].tolist()
    assert spelt.chat_template == tokenizer.chat_template
    with torch.no_grad():
        assert torch.equal(ours(ids).logits, read(ids).logits)
    answers = [model.generate(ids, do_sample=False, max_new_tokens=8).tolist() for model in (ours, read)]
    assert answers[0] == answers[1]


def test_half_precision_is_of_matrices_alone(tiny: Path, written: Any) -> None:
    from safetensors.torch import load_file

    tensors = {tensor.name: tensor for tensor in written.tensors}
    assert len(tensors) == len(load_file(tiny / "model.safetensors")) == 2 + 2 * 9
    assert {t.tensor_type.name for t in tensors.values() if len(t.shape) == 2} == {"F16"}
    assert {t.tensor_type.name for t in tensors.values() if len(t.shape) == 1} == {"F32"}
    values = load_file(tiny / "model.safetensors")["model.layers.1.self_attn.v_proj.weight"].numpy()
    assert abs(tensors["blk.1.attn_v.weight"].data - values).max() < 1e-4


def test_the_whole_vocabulary_is_the_bases_own(tiny: Path, written: Any) -> None:
    vocabulary = read_json(tiny / "tokenizer.json")["model"]
    fields = {name: written.fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges")}
    assert fields["tokens"] == sorted(vocabulary["vocab"], key=vocabulary["vocab"].__getitem__)
    assert fields["merges"] == [" ".join(pair) for pair in vocabulary["merges"]]


def test_other_architectures_and_vocabularies_get_one_line(short: tuple[Path, Path], tmp_path: Path) -> None:
    model, base = short
    other = Path(shutil.copytree(model, tmp_path / "other"))
    edit(other / "config.json", "model_type", "qwen3")
    with pytest.raises(InputError, match="no GGUF is written: its architecture is qwen3"):
        write_gguf(other, base, tmp_path / "x.gguf", "x")
    shutil.copy(model / "config.json", other / "config.json")
    tokenizer = read_json(other / "tokenizer.json")
    tokenizer["added_tokens"][-1]["content"] = "<other>"
    write_json(other / "tokenizer.json", tokenizer)
    with pytest.raises(InputError, match="its tokens are not those"):
        write_gguf(other, base, tmp_path / "x.gguf", "x")
    assert not list(tmp_path.glob("*.gguf")) and not list(tmp_path.glob(".*"))


def test_digests_are_as_sha256sum_prints_them(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
