"""How a calibration is put into words and rows, at a terminal and in Markdown alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from prefect_ratify.flows.calibrating import CalibrationReport, JudgeReport
from prefect_ratify.flows.pages import percent, reach
from prefect_ratify.scenarios.calibration import ClauseCalibration, State, TwoPeople, told
from prefect_ratify.scenarios.labels import Label
from prefect_ratify.scenarios.pluralism.alpha import alpha_words
from prefect_ratify.scenarios.statistics import Interval
from prefect_ratify.scenarios.yardstick import CHECK

MARKS: dict[State, str] = {"better": "✓", "barred": "✗", "not calibrated": "?"}
PEOPLE_COLUMNS = ("", "labelled both", "agreement", "kappa")
CLAUSE_COLUMNS = ("clause", "labels", "decided", "agreement", "kappa", "accuracy", "")
AUC_COLUMNS = ("clause", "surer where right", "surer 'upheld' where it is")
AUC_NOTE = (
    "Does confidence tell? The chance (AUC) that the judge is surer where it is right than where it is wrong, and "
    "surer that the clause is upheld where people say so than where they say it is violated; 0.50 is none."
)
CONFUSION_NOTE = "What people say, and what the judge says of it; darker is a greater share of what people say."


def sentences(report: JudgeReport) -> list[str]:
    """What the figures of a judge come to, clause by clause."""
    name = "The check" if report.judge == CHECK else f"The judge {report.judge}"
    found = []
    for clause in report.clauses:
        if clause.state == "barred":
            found.append(clause.barring)
        elif clause.state == "not calibrated":
            found.append(f"{name} is not calibrated on clause {clause.clause_id}: {clause.why}.")
        else:
            found.append(f"{name} is better than chance on clause {clause.clause_id}{_how_much(clause)}.")
    if report.failed:
        found.append(f"{name} gave no answer to {report.failed} calls; the same command asks them again.")
    return found


def opening(report: CalibrationReport) -> str:
    """How much was labelled, and on how much of it people agree."""
    text = f"{report.labels} labels of {report.items} responses by clause"
    if report.disputed:
        text += f"; people do not agree on {len(report.disputed)}, which are not used"
    return text + "; 95 % intervals over scenarios; p of no better than chance, adjusted over clauses (Holm)"


def said_by(labels: Sequence[Label]) -> str:
    """`violated (Ada, Ben), upheld (Cyd)`."""
    names = defaultdict[str, list[str]](list)
    for label in labels:
        names[label.outcome].append(label.by or "somebody")
    return ", ".join(f"{outcome} ({', '.join(given)})" for outcome, given in names.items())


def reasons(labels: Sequence[Label]) -> str:
    """Why people say so, as far as they say why."""
    return "; ".join(f"{label.by or 'somebody'}: {label.reason}" for label in labels if label.reason)


def clause_row(clause: ClauseCalibration) -> list[str]:
    """A clause in CLAUSE_COLUMNS."""
    return [
        clause.clause_id,
        str(clause.labels),
        percent(clause.decided.value),
        _share(clause.agreement),
        told(clause.kappa),
        _share(clause.accuracy),
        f"{MARKS[clause.state]} {clause.state}{_tested(clause)}",
    ]


def auc_row(clause: ClauseCalibration) -> list[str]:
    """A clause in AUC_COLUMNS."""
    return [clause.clause_id, told(clause.auc_right), told(clause.auc_upheld)]


def people_row(two: TwoPeople) -> list[str]:
    """Two people in PEOPLE_COLUMNS."""
    return [f"{two.first}, {two.second}", str(two.items), _share(two.agreement), told(two.kappa)]


def together(report: CalibrationReport) -> list[str]:
    """How far all people agree together; no line where no two labelled the same."""
    return [f"All together: {alpha_words(report.alpha)}, 95 % interval over scenarios."] if report.alpha else []


def _how_much(clause: ClauseCalibration) -> str:
    """What better than chance leaves open: it may be by little, and miss much."""
    text = _tested(clause)
    if clause.kappa.low is not None and clause.kappa.low <= 0:
        text += f", but by how much is open (kappa {told(clause.kappa)})"
    if clause.missed.value is not None:
        text += f"; it misses {_share(clause.missed)} of what people call violated"
    return text


def _tested(clause: ClauseCalibration) -> str:
    if clause.p_value is None or clause.state == "not calibrated":
        return ""
    return ", p<0.001" if clause.p_value < 0.001 else f", p {clause.p_value:.3f}"


def _share(interval: Interval) -> str:
    return f"{percent(interval.value)} [{reach(interval)}]" if interval.value is not None else "–"
