"""The command `ratify`: everything that a person does without the Prefect UI.

Heavy imports happen inside the commands, so that `ratify --help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ratify.arguments import ROLES, parser
from prefect_ratify.errors import InputError, RatifyError, one_line

if TYPE_CHECKING:
    from prefect_ratify.flows.project import Settings
    from prefect_ratify.flows.regressing import Measuring

# The libraries talk much and would like to phone home; this tool does neither.
ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PYTHONWARNINGS": "ignore",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status (2 for wrong input, 1 for a run that cannot go on)."""
    options = parser().parse_args(arguments)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if _machine_is_busy():
        # Torch's threads spin while they wait. That is a tenth faster on a quiet machine, and twenty
        # times slower beside another process that keeps every core busy (both measured).
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import warnings

    warnings.filterwarnings("ignore")
    try:
        status: int = COMMANDS[options.command](options)
        return status
    except RatifyError as error:
        print(f"ratify: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("ratify: stopped; the same command goes on from the last finished stage", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _machine_is_busy() -> bool:
    return hasattr(os, "getloadavg") and os.getloadavg()[0] >= (os.cpu_count() or 1)


def _settings(options: argparse.Namespace) -> Settings:
    from prefect_ratify.finetune.data_settings import DataSettings
    from prefect_ratify.flows.project import Models, Settings

    given = {role: getattr(options, role) for role in ROLES if getattr(options, role, None)}
    given |= {"judge": ",".join(given["judge"])} if "judge" in given else {}
    fields: dict[str, object] = {"models": Models(**given)}
    same = ("samples", "seed", "refine_calls", "refine_dollars", "refine_with", "sft_steps")
    for name, field in (*zip(same, same, strict=True), ("limit", "scenario_limit")):
        if getattr(options, name, None) is not None:
            fields[field] = getattr(options, name)
    data = {name: getattr(options, name, None) for name in DataSettings.model_fields}
    fields["data"] = DataSettings(**{name: value for name, value in data.items() if value is not None})
    if getattr(options, "max_tokens", None):
        fields["sampling"] = Settings().sampling.model_copy(update={"max_tokens": options.max_tokens})
    return Settings(**fields)  # type: ignore[arg-type]


def _init(options: argparse.Namespace) -> int:
    import shutil

    shipped = Path(__file__).parent / "scenarios" / "shipped"
    names = sorted(path.name for path in shipped.iterdir() if path.is_dir())
    if options.example not in names:
        raise InputError(f"there is no example {options.example!r}", f"there are: {', '.join(names)}")
    if options.folder.exists() and (not options.folder.is_dir() or any(options.folder.iterdir())):
        raise InputError("a file or folder of that name is there already", "name a new one", path=options.folder)
    try:
        shutil.copytree(shipped / options.example, options.folder, dirs_exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder cannot be made ({error.strerror})", path=options.folder) from None
    (options.folder / ".gitignore").write_text(".ratify/\n")
    print(f"{options.folder} is ready. Edit policy.md and scenarios.yaml, then:\n  ratify check {options.folder}")
    return 0


def _check(options: argparse.Namespace) -> int:
    from prefect_ratify.flows import jury
    from prefect_ratify.flows.codes import is_enrolled
    from prefect_ratify.flows.project import load_project
    from prefect_ratify.flows.training_file import TRAINING, require_trainable
    from prefect_ratify.scenarios.pluralism.plan import described
    from prefect_ratify.scenarios.precedents import dangling
    from prefect_ratify.scenarios.suite import misjudged

    problems: list[InputError] = []
    project = load_project(options.folder, problems)
    for problem in problems:
        print(f"ratify: {problem}", file=sys.stderr)
    if problems:
        return 2
    require_trainable(options.folder / TRAINING, project.training)
    suite, policy = project.suite, project.policy
    wrong = misjudged(suite)
    for found in wrong:
        place = f"{options.folder / 'scenarios.yaml'}:{found.line}"
        did = "refuses a good reply" if found.said == "good" else "accepts a bad reply"
        line = f"{place}: the check of clause {found.clause_id!r} {did} ({found.reason}): {found.reply}"
        print(one_line(line), file=sys.stderr)
    scenario_ids = {scenario.id for scenario in (*suite.scenarios, *suite.unrelated)}
    unused = dangling(project.precedents, policy.clause_ids, scenario_ids)
    for line in unused:
        print(one_line(f"{options.folder / 'precedents.jsonl'}: {line}"), file=sys.stderr)
    print(
        f"{policy.title}: {len(policy.clauses)} clauses; {len(suite.split('develop'))} develop and "
        f"{len(suite.split('held_out'))} held-out scenarios; {len(suite.unrelated)} unrelated requests."
    )
    for clause in policy.clauses:
        guide = suite.guide(clause.id)
        if guide.check is None:
            print(f"  {clause.id}: no check; its verdicts need a judge model (--judge), or are undecided")
        elif not guide.examples:
            print(f"  {clause.id}: no worked examples; the embedded model cannot write training sentences for it")
    for line in (*described(project.pluralism), *jury.described(project)):
        print(f"  {one_line(line)}")
    for person in project.stakeholders.people:
        if not is_enrolled(person.name):
            print(f"  {person.name} has no one-time codes on this machine: ratify enroll {shlex.quote(person.name)}")
    return 2 if wrong or unused else 0


def _try(options: argparse.Namespace) -> int:
    if options.watch:
        from prefect_ratify.flows.watching import watch

        watch(options.folder, _settings(options))
        return 0
    from prefect_ratify.flows.trying import show, try_query

    show(try_query(options.folder, options.query, _settings(options)))
    return 0


def _run(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.running import run_path

    outcome = run_path(
        options.folder,
        _settings(options),
        fresh=options.fresh,
        nobody_asked=options.unattended,
        task_runner=options.task_runner,
        train_on=options.train_on,
        until=options.until,
    )
    print(outcome)
    return 0


def _measuring(options: argparse.Namespace) -> Measuring:
    from prefect_ratify.budget import Budget
    from prefect_ratify.flows.regressing import Measuring

    settings = _settings(options)
    return Measuring(
        responder=settings.models.responder,
        judge=settings.models.judge,
        embedder=settings.models.embedder,
        samples=options.samples or 1,
        seed=settings.seed,
        sampling=settings.sampling,
        split=options.split,
        limit=options.limit or 0,
        budget=Budget(calls=options.budget_calls, tokens=options.budget_tokens, dollars=options.budget_dollars),
    )


def _regress(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.regressing import plans, regress, set_up, write_pages
    from prefect_ratify.flows.regression_text import show, show_plan
    from prefect_ratify.store import require_writable

    require_writable(options.html, options.markdown)
    bench = set_up(options.folder, [options.subject, *options.against], _measuring(options), options.rule)
    if options.dry_run:
        show_plan(plans(bench))
        return 0
    regression = regress(bench)
    show(regression)
    write_pages(bench, regression, html=options.html, markdown=options.markdown)
    return 1 if regression.fails(strict=options.strict) else 0


def _variants(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.taking import take
    from prefect_ratify.flows.variants_text import show, told_taken

    if options.take:
        if options.dry_run:
            raise InputError("--take asks no model: there is nothing to count", "leave out --dry-run")
        print(told_taken(options.folder, take(options.folder, options.take)))
        return 0
    from prefect_ratify.flows.regressing import plans
    from prefect_ratify.flows.regression_text import show_plan
    from prefect_ratify.flows.variants import set_up_variants, try_variants
    from prefect_ratify.flows.variants_page import write_pages
    from prefect_ratify.store import require_writable

    require_writable(options.html, options.markdown)
    versions, bench = set_up_variants(options.folder, _measuring(options))
    if options.dry_run:
        show_plan(plans(bench))
        return 0
    tried = try_variants(versions, bench)
    show(versions, bench, tried)
    write_pages(versions, bench, tried, html=options.html, markdown=options.markdown)
    return 1 if tried.regression.not_run else 0


def _attack(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.attacking import attack_project, flips_check, show, write_markdown
    from prefect_ratify.store import require_writable

    require_writable(options.markdown)
    attacks = attack_project(options.folder, options.judge, options.clause, options.limit)
    show(attacks)
    if options.markdown:
        write_markdown(options.markdown, attacks)
    return 1 if flips_check(attacks) else 0


def _label(options: argparse.Namespace) -> int:
    import getpass
    import io

    from prefect_ratify.flows.labelling import label, set_up

    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a reason that is no UTF-8 must not end the sitting
    sitting = set_up(
        options.folder,
        by=options.by or getpass.getuser(),
        run=options.run,
        responses=options.responses,
        clause=options.clause,
        split=options.split,
        count=options.count,
    )
    print(f"Labels by {sitting.by} (--by NAME), kept one by one in {sitting.path}")
    kept = label(sitting, input, print)
    print(f"\n{kept} labels kept. Then: ratify calibrate {shlex.quote(str(options.folder))} --judge MODEL")
    return 0


def _calibrate(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.calibrating import calibrate_judges, set_up
    from prefect_ratify.flows.calibration_markdown import markdown
    from prefect_ratify.flows.calibration_text import show
    from prefect_ratify.store import require_writable, write_for_people

    require_writable(options.markdown)
    problems: list[InputError] = []
    bench = set_up(options.folder, options.labels, options.judge, problems)
    for problem in problems:
        print(f"ratify: {problem}", file=sys.stderr)
    if problems:
        return 2
    report = calibrate_judges(bench)
    show(report)
    print(f"Kept in {bench.path}")
    if options.markdown:
        write_for_people(options.markdown, markdown(report))
    return 0


def _import_scenarios(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.exchanging import import_scenarios

    import_scenarios(options.folder, options.source, options.format)
    return 0


def _import_votes(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.importing_votes import import_votes
    from prefect_ratify.flows.votes_text import told

    folder, source = options.folder, options.source
    draft = import_votes(folder, source, top=options.top, groups=options.groups, replace=options.replace)
    print("\n".join(told(draft, source, folder)))
    return 0


def _import_preferences(options: argparse.Namespace) -> int:
    from prefect_ratify.budget import Budget
    from prefect_ratify.flows.importing_preferences import hold_against, import_preferences, planned
    from prefect_ratify.flows.inverting import Inverting
    from prefect_ratify.flows.preferences_text import markdown, told_against, told_draft
    from prefect_ratify.store import require_writable, write_for_people

    require_writable(options.markdown)
    folder, source, against = options.folder or options.against, options.source, bool(options.against)
    budget = Budget(calls=options.budget_calls, tokens=options.budget_tokens, dollars=options.budget_dollars)
    inverting = Inverting(options.judge, options.embedder, options.limit, options.top, budget)
    if options.dry_run:
        print(f"{planned(folder, source, inverting, against=against, replace=options.replace)}; none was made now")
        return 0
    if against:
        data, found = hold_against(folder, source, inverting)
        lines = told_against(data, found)
    else:
        draft = import_preferences(folder, source, inverting, replace=options.replace)
        data, found, lines = draft.data, draft.found, told_draft(draft, folder)
    if options.markdown:
        write_for_people(options.markdown, markdown(data, found))
    print("\n".join(lines))
    return 0


def _import_document(options: argparse.Namespace) -> int:
    from prefect_ratify.budget import Budget
    from prefect_ratify.flows.document_text import told
    from prefect_ratify.flows.importing_document import import_document, planned

    folder, source, name = options.folder, options.source, options.refiner
    if options.dry_run:
        if not name:
            raise InputError("without --refiner no model is asked: there is nothing to count", "leave out --dry-run")
        print(f"{planned(folder, source, name, replace=options.replace)}; none was made now")
        return 0
    budget = Budget(calls=options.budget_calls, tokens=options.budget_tokens, dollars=options.budget_dollars)
    draft = import_document(folder, source, model_name=name, budget=budget, replace=options.replace)
    print("\n".join(told(draft, folder)))
    return 0


def _export_inspect(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.exchanging import export_inspect

    export_inspect(options.folder, options.target, options.split)
    return 0


def _export_gguf(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.answering import chosen_run
    from prefect_ratify.flows.exporting_model import export_gguf

    run = chosen_run(options.folder, options.run)
    print(export_gguf(run, options.target, options.source, options.weights))
    return 0


def _approve(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.answering import answer_gate, needs_code, waiting_gate

    if sys.stdin.isatty() and not (options.decision and options.approver):
        print(waiting_gate(options.folder, options.run))
    decision = options.decision or _asked("Decision (approve, request changes, reject): ")
    approver = options.approver or _asked("Your name: ")
    comment = options.comment if options.comment is not None else _asked("Comment: ")
    code = options.code or ""
    if not code and needs_code(options.folder, options.run):
        code = _asked("The code that your authenticator app shows: ")  # last: it is good for a minute
    print(answer_gate(options.folder, decision, approver, comment, code, options.run))
    return 0


def _gates(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.answering import waiting_gates

    for folder in options.folder:
        if not folder.is_dir():
            raise InputError("there is no such project folder", path=folder)
    found = [(folder, waiting) for folder in options.folder for waiting in waiting_gates(folder)]
    for folder, waiting in found:
        print(f"{folder}  gate {waiting['gate']}, round {waiting['round']}, run {waiting['run']} ({waiting['state']})")
        if waiting["state"] not in ("Paused", "Suspended"):
            print(f"  waits no more; to be asked again: Retry in Prefect, or ratify run {folder}")
            continue
        print(f"  waiting for {waiting['waiting_for']}")
        print(f"  since {waiting['since']}; evidence {waiting['evidence'][:16]}; {_ui(waiting)}")
    if not found:
        print("no gate waits")
    return 0


def _ui(waiting: dict[str, str]) -> str:
    return f"{waiting['api'].rstrip('/').removesuffix('/api')}/runs/flow-run/{waiting['flow_run']}"


def _enroll(options: argparse.Namespace) -> int:
    import segno

    from prefect_ratify.flows.codes import enroll

    if options.png:
        try:
            options.png.touch(mode=0o600)  # before there is a seed, and anything to read in it
            options.png.chmod(0o600)
        except OSError as error:
            raise InputError(f"the picture cannot be written ({error.strerror})", path=options.png) from None
    picture = segno.make(enroll(options.name, replace=options.replace), micro=False)
    picture.terminal(compact=True)
    if options.png:
        picture.save(str(options.png), kind="png", scale=6)
    print(f"{options.name}: scan this with an authenticator app, now; it is not shown again.")
    print(
        "Whoever sees it can decide in this name: clear the screen"
        + (", and delete the picture." if options.png else ".")
    )
    return 0


def _serve(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.serving import serve

    serve(options.folder, notify=options.notify, webhook=options.webhook, most=options.runs)
    return 0


def _verify(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.answering import chosen_run
    from prefect_ratify.flows.verifying import verify

    print(verify(chosen_run(options.folder, options.run), options.head))
    return 0


def _trace(options: argparse.Namespace) -> int:
    import json

    from prefect_ratify.flows.answering import chosen_run
    from prefect_ratify.flows.trace_text import show
    from prefect_ratify.flows.tracing import trace

    found = trace(chosen_run(options.folder, options.run), options.what, options.limit)
    if options.json:
        print(json.dumps(found.model_dump(mode="json"), indent=1))
    else:
        show(found)
    return 0


def _handoff(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.answering import chosen_run
    from prefect_ratify.flows.handing_off import hand_off

    print(hand_off(chosen_run(options.folder, options.run), options.target, options.base))
    return 0


def _adopt(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.adopting import adopt
    from prefect_ratify.flows.answering import chosen_run

    print(adopt(chosen_run(options.folder, options.run), options.source))
    return 0


def _report(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.project import load_project
    from prefect_ratify.flows.report import write_report
    from prefect_ratify.flows.run_folder import latest_run

    print(f"Report: {write_report(latest_run(load_project(options.folder)))}")
    return 0


def _asked(question: str) -> str:
    if not sys.stdin.isatty():
        raise InputError(
            "nobody can be asked here", "give --decision, --approver, --comment and, where people are named, --code"
        )
    try:
        return input(question).strip()
    except EOFError:
        raise InputError(
            "no answer was given", "give --decision, --approver, --comment and, where people are named, --code"
        ) from None


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "init": _init,
    "check": _check,
    "try": _try,
    "run": _run,
    "regress": _regress,
    "variants": _variants,
    "attack": _attack,
    "label": _label,
    "calibrate": _calibrate,
    "import_scenarios": _import_scenarios,
    "import_votes": _import_votes,
    "import_preferences": _import_preferences,
    "import_document": _import_document,
    "export_inspect": _export_inspect,
    "export_gguf": _export_gguf,
    "approve": _approve,
    "gates": _gates,
    "enroll": _enroll,
    "serve": _serve,
    "verify": _verify,
    "trace": _trace,
    "handoff": _handoff,
    "adopt": _adopt,
    "report": _report,
}

if __name__ == "__main__":
    sys.exit(main())
