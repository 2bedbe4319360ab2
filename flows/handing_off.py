"""`ratify handoff`: approved training data, in a folder that TRL trains on elsewhere."""

from __future__ import annotations

import os
import re
import shutil
from importlib.metadata import version
from pathlib import Path

from prefect_ratify import embedded
from prefect_ratify.errors import InputError, one_line
from prefect_ratify.finetune.dataset import DATA, PREFERENCES, count_rows
from prefect_ratify.finetune.handoff import Handoff, readme, require_nothing_private, write_handoff
from prefect_ratify.finetune.training_plan import count_parameters
from prefect_ratify.finetune.trl_files import Job, training_files
from prefect_ratify.flows.gates import require_approval
from prefect_ratify.flows.ledger import head_digest
from prefect_ratify.flows.markdown import escaped
from prefect_ratify.flows.refine import refined_policy
from prefect_ratify.flows.run_folder import Run, evidence_digest
from prefect_ratify.flows.voting import votes_on
from prefect_ratify.records import digest
from prefect_ratify.store import private_folder

HUB_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"  # the embedded model's, elsewhere
_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")
SHORTEST_SECRET = 12  # characters: what is shorter stands in ordinary text too


def hand_off(run: Run, target: Path, base: str = "") -> str:
    """Write a run's approved data and TRL's configurations into `target`; returns a line that says so.

    `base` names the base model there: a hub's name, or a folder's whole path. NotApproved where
    the data gate does not cover what is there now; InputError where the target is taken, or the
    data holds what must not leave.
    """
    target = target.absolute()
    _require_free(target)
    _require_approved(run)
    data = run.stage_folder("generate") / DATA
    require_nothing_private(data, _private(run))
    job = training_job(run, base)
    if not job.stages:
        raise InputError("there is nothing to train elsewhere: of sft and dpo, none is asked for that has rows")
    texts = training_files(job)
    texts["README.md"] = readme(run.project.policy.title, job, _versions(), _approval(run))
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        write_handoff(part, data, handed_off(run, job.base), texts)
        _require_approved(run)  # still: what was copied is what is there now
        part.replace(target)
    except OSError as error:
        raise InputError(f"the folder cannot be written ({error.strerror})", path=target) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    runs = " && ".join(f"trl {stage} --config {stage}.yaml" for stage in job.stages)
    without = f" (without {', '.join(job.left_out)}: the run itself is needed for that)" if job.left_out else ""
    return one_line(f"{target} is ready: run there {runs}{without}, and bring it back with ratify adopt", 1000)


def handed_off(run: Run, base: str) -> Handoff:
    """What is handed off of a run as it is now, but for the digests of the files."""
    return Handoff(
        run=run.id,
        policy=digest(refined_policy(run)),
        base=base,
        base_digest=run.student().digest,
        evidence=evidence_digest(run, "data"),
        ledger=head_digest(run.folder),
        data={},
        configs={},
    )


def training_job(run: Run, base: str = "") -> Job:
    """What is to be trained elsewhere."""
    student = run.student()
    folder = student.folder.resolve()
    return Job(
        base=base or (HUB_NAME if student.name == embedded.NAME else str(folder)),
        parameters=count_parameters(folder),
        plan=run.training,
        seed=run.seed("train"),
        pairs=count_rows(run.stage_folder("generate") / PREFERENCES) >= run.settings.fewest_pairs,
    )


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("trl", "peft")}


def _approval(run: Run) -> str:
    """Who approved the data: what its card, which was approved itself, cannot say."""
    votes = votes_on(run, "data", evidence_digest(run, "data"))
    names = [escaped(vote.approver) for vote in votes if vote.decision == "approve" and not vote.unattended]
    return f"{' and '.join(names) or 'nobody'}, at the data gate of run {run.id}, ledger {head_digest(run.folder)[:16]}"


def _require_approved(run: Run) -> None:
    for gate in ("policy", "data"):
        require_approval(run, gate)


def _require_free(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError("a file or folder of that name is there already", "name a new one", path=target)
    if not target.parent.is_dir():
        raise InputError("there is no such folder", "make it first", path=target.parent)


def _private(run: Run) -> dict[str, str]:
    """Texts of this machine that must not leave it, each with what it is."""
    places = {
        str(run.project.folder.resolve()): "the project's path on this machine",
        str(private_folder()): "the path of this worker's private folder",
        str(run.student().folder.resolve()): "the student's path on this machine",
    }
    secrets = {
        value: f"the value of {name}"
        for name, value in os.environ.items()
        if _SECRET.search(name.upper()) and len(value) >= SHORTEST_SECRET
    }
    return {**places, **secrets}
