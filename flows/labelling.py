"""`ratify label`: people say at the terminal whether responses keep clauses, before they see any verdict.

Every label is on the disk before the next question. Neither the verdict nor the condition is
shown, and nobody is asked the same thing twice.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect_ratify.errors import InputError, one_line, readable
from prefect_ratify.flows.answering import chosen_run
from prefect_ratify.flows.project import Project, load_project
from prefect_ratify.policy import read_text
from prefect_ratify.policy_modules.endpoint import storable
from prefect_ratify.progress import say
from prefect_ratify.records import Clause, Response, Scenario, digest
from prefect_ratify.scenarios.calibration import Calibration
from prefect_ratify.scenarios.labels import Item, Key, Label, Ruled, items_of, key_of, load_labels
from prefect_ratify.store import append_line, read_records

LABELS = "labels.jsonl"
STAGES = ("prototype", "regress", "compare")
LONGEST_NAME, LONGEST_REASON = 100, 2000
PROMPT = "[u]pheld  [v]iolated  [n]ot applicable  [s]kip  [q]uit, and why if you like: "
AGAIN = "Please begin with u, v, n, s or q; what follows after a space is taken for the reason."
OUTCOMES: dict[str, Ruled] = {"u": "upheld", "v": "violated", "n": "not applicable"}
_ANSWER = re.compile(r"(u|upheld|v|violated|n|not applicable|s|skip|q|quit)(?:[\s:,;.]+(.*))?", re.IGNORECASE)


@dataclass(frozen=True)
class Question:
    """One response and clause that a person is asked about."""

    scenario: Scenario
    response: str
    clause: Clause

    @property
    def key(self) -> Key:
        """What it is about."""
        return key_of(self.scenario.id, self.response, self.clause.id)


@dataclass(frozen=True)
class Sitting:
    """What one person is asked in one go, and how many labels each clause has from them so far."""

    path: Path
    by: str
    questions: tuple[Question, ...]
    so_far: dict[str, int]


def set_up(
    folder: Path, *, by: str, run: str = "", responses: Path | None = None, clause: str = "", split: str, count: int
) -> Sitting:
    """Choose what a person is asked; InputError for what is wrong, before anything is."""
    project = load_project(folder, calibration=Calibration())  # a broken one must not keep labels from being made
    name = one_line(storable(by), LONGEST_NAME)
    if not name:
        raise InputError("a label needs a name", "give --by NAME")
    if clause and clause not in project.policy.clause_ids:
        there = ", ".join(project.policy.clause_ids)
        raise InputError(f"the policy has no clause {clause!r}", f"there are: {there}", path=folder)
    path = folder / LABELS
    mend(path)
    known = items_of(_labelled(project, path))
    mine = [label for item in known for label in item.labels if label.by == name]
    given = responses_of(project, run=run, path=responses)
    questions = ordered(project, given, known, split=split, clause=clause, by=name)
    if not questions:
        what = f"{name} has labelled all there is" if given else "there is no response"
        raise InputError(f"{what} in the split {split}", "name another --split or --run", path=folder)
    return Sitting(path, name, tuple(questions[:count]), dict(Counter(label.clause_id for label in mine)))


def label(sitting: Sitting, ask: Callable[[str], str], show: Callable[[str], None]) -> int:
    """Ask until all is answered or the person ends; how many labels were kept.

    `ask` shows a prompt and gives a line; EOFError and KeyboardInterrupt end the sitting.
    """
    so_far, kept = Counter(sitting.so_far), 0
    for number, question in enumerate(sitting.questions, 1):
        counts = ", ".join(f"{clause_id} {count}" for clause_id, count in so_far.items())
        show(f"\nlabel {number} of {len(sitting.questions)}{f'   (so far: {counts})' if counts else ''}\n")
        show(shown(question))
        try:
            letter, reason = answer_to(ask, show)
        except (EOFError, KeyboardInterrupt):
            break
        if letter == "q":
            break
        if letter in OUTCOMES:
            _keep(_label(question, letter, reason, sitting.by), sitting.path)
            so_far[question.clause.id] += 1
            kept += 1
    return kept


def answer_to(ask: Callable[[str], str], show: Callable[[str], None]) -> tuple[str, str]:
    """The letter and the reason that a person gives, asked until there is one."""
    while True:
        found = _ANSWER.fullmatch(ask(PROMPT).strip())
        if found:
            return found[1][0].lower(), one_line(found[2] or "", LONGEST_REASON)
        show(AGAIN)


def shown(question: Question) -> str:
    """A question as text: scenario, response, clause and its notes, with nothing in it that a terminal obeys."""
    turns = [f"{message.role}: {message.content}" for message in question.scenario.messages]
    notes = [f"- {note}" for note in question.clause.notes]
    parts = [
        _part(f"Scenario {question.scenario.id}", "\n".join(turns)),
        _part("Response", question.response or "(empty)"),
        _part(f"Clause {question.clause.id}", "\n".join([question.clause.text, *notes])),
    ]
    return "\n".join(parts)


def ordered(
    project: Project, responses: Sequence[Response], known: Sequence[Item], *, split: str, clause: str, by: str
) -> list[Question]:
    """What this person has not labelled: first what nobody has, each clause and condition in turn.

    Within a clause and condition the order is that of a digest: mixed, and the same each time.
    """
    people = {key_of(i.scenario_id, i.response, i.clause_id): {label.by for label in i.labels} for i in known}
    scenarios = {s.id: s for s in project.suite.scenarios if s.split == split}
    groups = defaultdict[tuple[str, str], dict[Key, Question]](dict)
    seen: set[Key] = set()
    for response in responses:
        scenario = scenarios.get(response.scenario_id)
        if scenario is None or response.error:
            continue
        for asked in project.policy.clauses:
            question = Question(scenario, response.text, asked)
            if asked.id in scenario.clause_ids and clause in ("", asked.id) and question.key not in seen:
                seen.add(question.key)
                groups[asked.id, response.condition][question.key] = question
    ranked = []
    for group in groups.values():
        # What is labelled has the first ranks, so that a group with few labels catches up.
        keys = sorted(group, key=lambda key: (key not in people, digest(key)))
        ranked += [(key in people, rank, digest(key), group[key]) for rank, key in enumerate(keys)]
    return [question for *_, question in sorted(ranked, key=lambda r: r[:3]) if by not in people.get(question.key, ())]


def responses_of(project: Project, *, run: str, path: Path | None) -> list[Response]:
    """The responses of a file, of a run (the last one, unless named), or of what was regressed."""
    if path is not None:
        return _in_file(path)
    runs, regressions = project.folder / ".ratify" / "runs", project.folder / ".ratify" / "regressions"
    if run or (runs / "latest").exists():
        stages = [chosen_run(project.folder, run).stage_folder(stage) for stage in STAGES]
    else:
        stages = sorted(regressions.glob("*"))
    files = [folder / "responses.jsonl" for folder in stages if (folder / "responses.jsonl").exists()]
    if not files:
        advice = "start a run (ratify run), compare (ratify regress), or give --responses FILE"
        raise InputError("there are no responses to label yet", advice, path=project.folder)
    return [response for file in files for response in read_records(file, Response)]


def labels_in(project: Project, path: Path, problems: list[InputError] | None = None) -> list[Label]:
    """The labels of a file, on this project's clauses and scenarios; see `scenarios.labels.load_labels`."""
    scenario_ids = {scenario.id for scenario in (*project.suite.scenarios, *project.suite.unrelated)}
    return load_labels(path, project.policy.clause_ids, scenario_ids, problems)


def _labelled(project: Project, path: Path) -> list[Label]:
    """The labels that are there. Those on clauses and scenarios that are gone stand in nobody's way."""
    if not path.exists() or not read_text(path).strip():
        return []
    problems: list[InputError] = []
    labels = labels_in(project, path, problems)
    if problems:
        say(f"{len(problems)} lines of {path} are no labels of this policy and suite; `ratify calibrate` names them")
    return labels


def mend(path: Path) -> None:
    """End the last line of a file of labels, or cut it off where a kill left half of it: that label was never kept."""
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", path=path) from None
    tail = data[data.rfind(b"\n") + 1 :]
    if not tail:
        return
    try:
        json.loads(tail)
    except ValueError:
        with path.open("r+b") as file:
            file.truncate(len(data) - len(tail))
    else:
        append_line(path, "")


def _keep(given: Label, path: Path) -> None:
    try:
        append_line(path, given.model_dump_json())
    except OSError as error:
        raise InputError(f"the label cannot be written ({error.strerror})", path=path) from None


def _in_file(path: Path) -> list[Response]:
    """Responses of a JSONL file with `scenario_id`, `response` and, if there are several, `condition`."""
    found = []
    text = read_text(path, 'name a JSONL file with {"scenario_id": "…", "response": "…"} on each line')
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
                texts = {name: row[name] for name in ("scenario_id", "response")}
            except (ValueError, TypeError, KeyError, RecursionError):
                texts = {}
            if not texts or not all(isinstance(text, str) for text in texts.values()):
                advice = 'write {"scenario_id": "…", "response": "…"} on each line'
                raise InputError("this is no response", advice, path=path, line=number)
            found.append(
                Response(
                    scenario_id=row["scenario_id"],
                    condition=str(row.get("condition", "")),
                    sample=0,
                    text=storable(row["response"]),
                    finished=True,
                    model="",
                )
            )
    return found


def _label(question: Question, letter: str, reason: str, by: str) -> Label:
    return Label(
        scenario_id=question.scenario.id,
        response=question.response,
        clause_id=question.clause.id,
        outcome=OUTCOMES[letter],
        by=by,
        reason=reason,
    )


def _part(title: str, text: str) -> str:
    """Foreign text under its title, indented: none of it passes for a line of this tool."""
    lines = "\n".join(f"  {line}".rstrip() for line in readable(text).splitlines())
    return f"{readable(title)}\n{lines}\n"
