"""`ratify import preferences`: what a set of chosen and rejected responses says, as clauses; or held against clauses.

With `--to`, the principles that explain the pairs become a draft policy. With `--against`, those of a
policy are held against the pairs: whether data (a run's own too) teach what the policy says.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prefect_ratify.errors import RatifyError, one_line
from prefect_ratify.flows.drafting import kept_apart, policy_text, require_free, suite_text, write_project
from prefect_ratify.flows.inverting import CallPlan, Data, Found, Inverting, Weighed, find, plan, read_data
from prefect_ratify.flows.preferences_text import figures_words, markdown
from prefect_ratify.policy import load_policy, made_id, polarity_of
from prefect_ratify.progress import say
from prefect_ratify.records import Clause, Policy, digest
from prefect_ratify.scenarios.imported import Candidate
from prefect_ratify.scenarios.preference_pairs import Pair
from prefect_ratify.scenarios.suite import load_suite

DEVELOP, HELD_OUT = 16, 8  # scenarios to start with
LONGEST_REQUEST = 2000  # characters of a conversation that becomes one
HEADER = """\
# Requests to start with, taken as they are from the data set {name}, which people wrote or a model
# did. Nobody has looked at them: they may be offensive, or name real people. Keep what your policy is
# about, replace the rest by requests of real users, and give each clause a check where one can decide it.
scenarios:
"""


@dataclass(frozen=True)
class Draft:
    """What was written: `starter` says whether scenarios.yaml is new, `kept` where the former policy.md went."""

    data: Data
    found: Found
    policy: Policy
    scenarios: int
    starter: bool
    kept: Path | None


def planned(folder: Path, source: Path, inverting: Inverting, *, against: bool, replace: bool = False) -> CallPlan:
    """How many calls the import (or the check `against` a policy) takes at most; asks and writes nothing."""
    if not against:
        require_free(folder, replace=replace)
    clauses = len(load_policy(folder / "policy.md").clauses) if against else 0
    return plan(read_data(source, inverting.limit), inverting, clauses)


def import_preferences(folder: Path, source: Path, inverting: Inverting, *, replace: bool = False) -> Draft:
    """Make a project of preference pairs, or its policy anew; says first how many calls that takes.

    InputError for what is wrong, and RatifyError where no principle explains the pairs or the budget does not
    reach; then no file but the store of answers is written.
    """
    require_free(folder, replace=replace)
    data = read_data(source, inverting.limit)
    say(f"{plan(data, inverting)}; what is known is not asked again")
    found = find(data, inverting, folder)
    if not found.kept:
        raise RatifyError(one_line(f"{source}: {_why_nothing(found)}"))
    policy = _policy(found)
    starter = not (folder / "scenarios.yaml").exists()
    files = {
        "policy.md": policy_text(policy, source),
        "principles.md": markdown(data, found),
        "principles.jsonl": "".join(each.model_dump_json() + "\n" for each in found.tested),
    }
    if starter:
        header = HEADER.format(name=one_line(source.name, 80))
        files["scenarios.yaml"], count = suite_text(header, policy, _scenarios(data, policy))
    else:
        count = len(load_suite(folder / "scenarios.yaml", policy).scenarios)
    return Draft(data, found, policy, count, starter, write_project(folder, files))


def hold_against(folder: Path, source: Path, inverting: Inverting) -> tuple[Data, Found]:
    """Whether preference pairs teach what a project's policy says; writes nothing but the store of answers."""
    clauses = {clause.id: clause.text for clause in load_policy(folder / "policy.md").clauses}
    data = read_data(source, inverting.limit)
    say(f"{plan(data, inverting, len(clauses))}; what is known is not asked again")
    return data, find(data, inverting, folder, clauses)


def _why_nothing(found: Found) -> str:
    best = max(found.tested, key=lambda each: each.figures.right - each.figures.wrong, default=None)
    nearest = f"; nearest to it: {one_line(best.figures.text, 120)} ({figures_words(best.figures)})" if best else ""
    return (
        f"none of {len(found.tested)} principles is shown to explain the pairs more than chance would, and nothing was "
        f"written ({found.proposals} proposals, {sum(found.refused.values())} of no use){nearest}; "
        "more pairs show smaller effects (--limit)"
    )


def _policy(found: Found) -> Policy:
    clauses: dict[str, Clause] = {}
    for each in found.tested[: found.kept]:
        text = each.figures.text
        name = made_id(text) if made_id(text) not in clauses else f"{made_id(text)}-{len(clauses)}"
        clauses[name] = Clause(id=name, text=text, polarity=polarity_of(text), notes=(_note(each),))
    context = "These clauses were found in pairs of responses of which people or a model preferred one."
    return Policy(title="What was preferred", context=context, clauses=tuple(clauses.values()))


def _note(each: Weighed) -> str:
    return f"Proposed {each.proposals} ×; {figures_words(each.figures, each.held_out)}."


def _scenarios(data: Data, policy: Policy) -> list[Candidate]:
    """Conversations of pairs: those that principles were proposed from for development, others held out."""
    develop, held_out = (_requests(half, most) for half, most in ((data.develop, DEVELOP), (data.held_out, HELD_OUT)))
    candidates = [_candidate(pair, data) for pair in develop]
    candidates += [_candidate(pair, data).model_copy(update={"split": "held_out"}) for pair in held_out]
    return kept_apart(candidates, [clause.text for clause in policy.clauses])


def _requests(pairs: tuple[Pair, ...], most: int) -> list[Pair]:
    """The first pairs whose conversations can be asked as they are, one for each."""
    fit = (pair for pair in pairs if pair.conversation and pair.conversation[-1].role == "user")
    plain = (pair for pair in fit if all(turn.role != "system" for turn in pair.conversation))
    short = (pair for pair in plain if sum(len(turn.content) for turn in pair.conversation) <= LONGEST_REQUEST)
    return list({pair.unit: pair for pair in short}.values())[:most]


def _candidate(pair: Pair, data: Data) -> Candidate:
    return Candidate(
        place=pair.place,
        id=f"pair-{digest(pair.unit)[:8]}",
        messages=pair.conversation,
        tags=("unreviewed",),
        split="develop",
        source=one_line(f"{pair.place} of the data set {data.source.name}", 200),
    )
