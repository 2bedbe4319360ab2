"""The command `ratify`: everything that a person does without the Prefect UI.

Heavy imports happen inside the commands, so that `ratify --help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ratify.errors import InputError, RatifyError, one_line

if TYPE_CHECKING:
    from prefect_ratify.flows.regressing import Measuring
    from prefect_ratify.flows.run_folder import Settings

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
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status (2 for wrong input, 1 for a run that cannot go on)."""
    options = _parser().parse_args(arguments)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if _machine_is_busy():
        # Torch's threads spin while they wait. That is a tenth faster on a quiet machine, and twenty
        # times slower beside another process that keeps every core busy (both measured).
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import warnings

    warnings.filterwarnings("ignore")
    try:
        status: int = options.command(options)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ratify",
        description="Carry a group's draft policy to a finetuned model, with people approving every step.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    init = commands.add_parser("init", help="make a project folder to edit")
    init.add_argument("folder", type=Path)
    init.add_argument("--example", default="starter", help="which shipped project to copy (starter, legal-advice)")
    init.set_defaults(command=_init)

    check = commands.add_parser("check", help="say what is wrong with a project's files")
    check.add_argument("folder", type=Path)
    check.set_defaults(command=_check)

    trial = commands.add_parser("try", help="one query, side by side: without the policy, draft, refined, finetuned")
    trial.add_argument("folder", type=Path)
    what = trial.add_mutually_exclusive_group(required=True)
    what.add_argument("query", nargs="?")
    what.add_argument("--watch", action="store_true", help="run the scenarios again after every edit")
    _add_models(trial)
    trial.set_defaults(command=_try)

    run = commands.add_parser("run", help="the whole path, in Prefect; stops at each gate")
    run.add_argument("folder", type=Path)
    run.add_argument("--fresh", action="store_true", help="start a new run even where one of the same inputs is there")
    run.add_argument("--unattended", action="store_true", help="ask nobody at the gates (the report says so, in red)")
    run.add_argument("--samples", type=_positive, help="answers for each held-out scenario and condition (default: 4)")
    run.add_argument("--seed", type=int, help="of all sampling and training (default: 0)")
    run.add_argument("--max-tokens", type=_positive, help="the length at which an answer is cut (default: 144)")
    run.add_argument("--limit", type=_positive, help="use only so many scenarios of each split, for a quick try")
    run.add_argument("--refine-calls", type=_positive, metavar="N", help="refinement makes at most so many calls")
    run.add_argument("--refine-dollars", type=_amount, metavar="N", help="… and costs at most so much")
    run.add_argument(
        "--refine-with",
        choices=["clauses", "gepa", "miprov2"],
        help="clause by clause (default), the same by GEPA, or the policy as a whole by DSPy's MIPROv2",
    )
    run.add_argument("--sft-steps", type=_positive, help="at most so many steps of supervised finetuning")
    _add_models(run)
    run.set_defaults(command=_run)

    regress = commands.add_parser("regress", help="compare two or more policies, models or prompting styles")
    regress.add_argument("folder", type=Path)
    regress.add_argument("subject", nargs="?", default="draft", metavar="WHAT", help="what is asked about (draft)")
    regress.add_argument(
        "--against",
        action="append",
        required=True,
        metavar="WHAT",
        help="base, draft, refined, examples, finetuned (…@RUN), a run, a policy file, git:REVISION, a model, "
        "'… on MODEL'; give it several times for a matrix",
    )
    regress.add_argument("--rule", default="", help="what may not get worse (default: that of stakeholders.yaml)")
    regress.add_argument("--strict", action="store_true", help="a rule that is not shown to be kept counts as broken")
    _add_measuring(regress)
    regress.set_defaults(command=_regress)

    variants = commands.add_parser("variants", help="try several drafts side by side, and take clauses from each")
    variants.add_argument("folder", type=Path)
    variants.add_argument(
        "--take",
        nargs="+",
        metavar="CLAUSE=VARIANT",
        help="ask nothing, and write policy.md anew with these clauses (or VARIANT, for all of its clauses)",
    )
    _add_measuring(variants)
    variants.set_defaults(command=_variants)

    attacking = commands.add_parser("attack", help="try hostile text (injections) on the checks and judges")
    attacking.add_argument("folder", type=Path)
    attacking.add_argument("--judge", action="append", default=[], metavar="MODEL", help="also this judge; repeatable")
    attacking.add_argument("--clause", default="", metavar="ID", help="only responses that break this clause")
    attacking.add_argument("--limit", type=_positive, default=2, help="responses a judge gets with each (default: 2)")
    attacking.add_argument("--markdown", type=Path, metavar="FILE", help="write the result as Markdown too")
    attacking.set_defaults(command=_attack)

    labelling = commands.add_parser("label", help="say whether responses keep clauses, without seeing any verdict")
    labelling.add_argument("folder", type=Path)
    labelling.add_argument("--by", default="", metavar="NAME", help="who labels (default: your login name)")
    labelling.add_argument("--run", default="", help="whose responses (default: the last run's)")
    labelling.add_argument("--responses", type=Path, metavar="FILE", help="JSONL with scenario_id and response instead")
    labelling.add_argument("--clause", default="", metavar="ID", help="only this clause")
    labelling.add_argument("--split", choices=["develop", "held_out"], default="develop")
    labelling.add_argument("--count", type=_positive, default=40, help="labels in this sitting (default: 40)")
    labelling.set_defaults(command=_label)

    calibrating = commands.add_parser("calibrate", help="hold judges and checks against people's labels")
    calibrating.add_argument("folder", type=Path)
    calibrating.add_argument("labels", type=Path, nargs="?", help="CSV or JSONL (default: labels.jsonl of the project)")
    calibrating.add_argument("--judge", action="append", default=[], metavar="MODEL", help="a judge; repeatable")
    calibrating.add_argument("--markdown", type=Path, metavar="FILE", help="write every disagreement, to discuss")
    calibrating.set_defaults(command=_calibrate)

    importing = commands.add_parser("import", help="take scenarios from elsewhere into a project")
    kinds = importing.add_subparsers(required=True, metavar="KIND")
    scenarios = kinds.add_parser("scenarios", help="of a CSV, JSONL, data set, Inspect AI log or promptfoo file")
    scenarios.add_argument("source")
    scenarios.add_argument("--to", dest="folder", type=Path, required=True, metavar="PROJECT")
    scenarios.add_argument("--format", choices=["csv", "jsonl", "dataset", "inspect", "promptfoo"], default=None)
    scenarios.set_defaults(command=_import_scenarios)

    exporting = commands.add_parser("export", help="write a suite for another tool")
    tools = exporting.add_subparsers(required=True, metavar="TOOL")
    inspect = tools.add_parser("inspect", help="a task file that Inspect AI runs")
    inspect.add_argument("folder", type=Path)
    inspect.add_argument("target", type=Path, metavar="FILE.py")
    inspect.add_argument("--split", choices=["develop", "held_out", "all"], default="held_out")
    inspect.set_defaults(command=_export_inspect)

    approve = commands.add_parser("approve", help="answer the gate that a run waits at")
    approve.add_argument("folder", type=Path)
    approve.add_argument("--decision", choices=["approve", "request changes", "reject"])
    approve.add_argument("--approver", help="your name")
    approve.add_argument("--code", help="the one-time code that your authenticator app shows")
    approve.add_argument("--comment", default=None)
    approve.add_argument("--run", default="", help="which run, where more than one waits (default: the last)")
    approve.set_defaults(command=_approve)

    gates = commands.add_parser("gates", help="list the gates that wait, for whom and since when")
    gates.add_argument("folder", type=Path, nargs="+")
    gates.set_defaults(command=_gates)

    enroll = commands.add_parser("enroll", help="give a person one-time codes, by an authenticator app")
    enroll.add_argument("name")
    enroll.add_argument("--png", type=Path, metavar="FILE", help="also write the QR code as a picture")
    enroll.add_argument("--replace", action="store_true", help="make new codes; the old ones stop working")
    enroll.set_defaults(command=_enroll)

    serve = commands.add_parser("serve", help="start a server, the deployment and its worker on this machine")
    serve.add_argument("folder", type=Path, nargs="?", help="the project that the form proposes")
    serve.add_argument("--notify", default="", metavar="BLOCK", help="a notification block, such as slack-webhook/team")
    serve.add_argument("--webhook", default="", metavar="URL", help="gets a message when a gate waits")
    serve.add_argument("--runs", type=_positive, default=2, help="so many work at once (default: 2)")
    serve.set_defaults(command=_serve)

    ledger = commands.add_parser("ledger", help="check a run's record of decisions")
    actions = ledger.add_subparsers(required=True, metavar="ACTION")
    verify = actions.add_parser("verify", help="say in one line whether it is whole, and the evidence unchanged")
    verify.add_argument("folder", type=Path)
    verify.add_argument("--run", default="", help="which run (default: the last)")
    verify.add_argument("--head", default="", help="a published digest that the ledger must end in")
    verify.set_defaults(command=_verify)

    report = commands.add_parser("report", help="write the HTML report of the last run")
    report.add_argument("folder", type=Path)
    report.set_defaults(command=_report)
    return parser


ROLES = {
    "responder": "follows the policy as a prompt",
    "judge": "decides clauses that have no check; given several times, or as A,B, they vote",
    "critic": "criticises and revises training answers",
    "refiner": "rewords clauses",
    "student": "is finetuned (local)",
    "embedder": "finds similar precedents (minilm, or a LiteLLM name; without one, shared words do)",
}


def _add_models(parser: argparse.ArgumentParser) -> None:
    for role in ROLES:
        _add_model(parser, role)


def _add_model(parser: argparse.ArgumentParser, role: str) -> None:
    action = "append" if role == "judge" else "store"
    parser.add_argument(f"--{role}", action=action, metavar="MODEL", help=f"the model that {ROLES[role]}")


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    """How versions are measured, and where what comes of it is written."""
    parser.add_argument("--dry-run", action="store_true", help="say how many calls it takes, and make none")
    parser.add_argument("--split", default="", choices=["develop", "held_out", "all"])
    parser.add_argument("--samples", type=_positive, help="answers for each scenario and condition (default: 1)")
    parser.add_argument("--seed", type=int, help="of all sampling (default: 0)")
    parser.add_argument("--max-tokens", type=_positive, help="the length at which an answer is cut (default: 144)")
    parser.add_argument("--limit", type=_positive, help="use only so many scenarios, for a quick try")
    for unit, kind in (("calls", _positive), ("tokens", _positive), ("dollars", _amount)):
        parser.add_argument(f"--budget-{unit}", type=kind, metavar="N", help=f"stop after so many {unit}")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the comparison as a page, with every answer")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write it for a pull request's comment")
    for role in ("responder", "judge", "embedder"):
        _add_model(parser, role)


def _settings(options: argparse.Namespace) -> Settings:
    from prefect_ratify.finetune.training import TrainingSettings
    from prefect_ratify.flows.run_folder import Models, Settings

    given = {role: getattr(options, role) for role in ROLES if getattr(options, role, None)}
    given |= {"judge": ",".join(given["judge"])} if "judge" in given else {}
    fields: dict[str, object] = {"models": Models(**given)}
    same = ("samples", "seed", "refine_calls", "refine_dollars", "refine_with")
    for name, field in (*zip(same, same, strict=True), ("limit", "scenario_limit")):
        if getattr(options, name, None) is not None:
            fields[field] = getattr(options, name)
    if fields.get("refine_with") == "miprov2" and not given.get("refiner"):
        raise InputError("MIPROv2 needs a model that writes wordings", "give --refiner MODEL")
    if getattr(options, "max_tokens", None):
        fields["sampling"] = Settings().sampling.model_copy(update={"max_tokens": options.max_tokens})
    if getattr(options, "sft_steps", None):
        fields["training"] = TrainingSettings(sft_max_steps=options.sft_steps)
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
    from prefect_ratify.flows.codes import is_enrolled
    from prefect_ratify.flows.run_folder import load_project
    from prefect_ratify.scenarios.precedents import dangling
    from prefect_ratify.scenarios.suite import misjudged

    problems: list[InputError] = []
    project = load_project(options.folder, problems)
    for problem in problems:
        print(f"ratify: {problem}", file=sys.stderr)
    if problems:
        return 2
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

    report = run_path(options.folder, _settings(options), fresh=options.fresh, nobody_asked=options.unattended)
    print(f"Report: {report}")
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

    versions, bench = set_up_variants(options.folder, _measuring(options))
    if options.dry_run:
        show_plan(plans(bench))
        return 0
    tried = try_variants(bench)
    show(versions, bench, tried)
    write_pages(versions, bench, tried, html=options.html, markdown=options.markdown)
    return 1 if tried.regression.not_run else 0


def _attack(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.attacking import attack_project, show, write_markdown

    attacks = attack_project(options.folder, options.judge, options.clause, options.limit)
    show(attacks)
    if options.markdown:
        write_markdown(options.markdown, attacks)
    return 0


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
    from prefect_ratify.store import write_text

    problems: list[InputError] = []
    bench = set_up(options.folder, options.labels, options.judge, problems)
    for problem in problems:
        print(f"ratify: {problem}", file=sys.stderr)
    if problems:
        return 2
    report = calibrate_judges(bench)
    if options.markdown:
        write_text(options.markdown, markdown(report))
    show(report)
    print(f"Kept in {bench.path}")
    return 0


def _import_scenarios(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.exchanging import import_scenarios

    import_scenarios(options.folder, options.source, options.format)
    return 0


def _export_inspect(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.exchanging import export_inspect

    export_inspect(options.folder, options.target, options.split)
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


def _report(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.report import write_report
    from prefect_ratify.flows.run_folder import latest_run, load_project

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


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _amount(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
