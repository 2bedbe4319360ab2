"""Pluralism and the jury as people see them: what is said follows from the changes, and nothing foreign is obeyed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ratify.flows.evidence import summary
from prefect_ratify.flows.jury_page import jury_section
from prefect_ratify.flows.jury_words import function_words, jury_headline, jury_lines, ranking
from prefect_ratify.flows.model_card import model_card
from prefect_ratify.flows.pages import gap, templates
from prefect_ratify.flows.pictures import axis
from prefect_ratify.flows.pluralism_markdown import jury_markdown, pluralism_markdown
from prefect_ratify.flows.pluralism_page import pluralism_section
from prefect_ratify.flows.pluralism_words import FLATTER, closest_words, direction, headline, lines, said
from prefect_ratify.flows.report import report_numbers, terminal_table
from prefect_ratify.flows.report_page import LABELS
from prefect_ratify.flows.report_page import page as report_page
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.records import Message, Response, Scenario
from prefect_ratify.scenarios.pluralism.jury_records import (
    Foretold,
    Juror,
    JurorRate,
    JuryAgreement,
    JuryFindings,
    JuryWelfare,
    Split,
)
from prefect_ratify.scenarios.pluralism.records import (
    EVERYONE,
    Change,
    Closest,
    Coverage,
    Leaning,
    Measure,
    Objectives,
    Pluralism,
    Steering,
    TradeOff,
)
from prefect_ratify.scenarios.statistics import Interval
from prefect_ratify.store import write_record
from tests.test_pictures import finished  # noqa: F401

CONDITIONS = ("base", "refined", "finetuned")
NASTY = "<script>alert(1)</script> | [x](http://a) \x1b[2J \u202e"
NONE = Interval(value=None, low=None, high=None, scenarios=0)


def at(value: float, reach: float = 0.05, scenarios: int = 12) -> Interval:
    return Interval(value=value, low=round(value - reach, 4), high=round(value + reach, 4), scenarios=scenarios)


def change(measure: Measure, value: float, of: str = "", first: str = "base") -> Change:
    return Change(measure=measure, of=of, first=first, second="finetuned", interval=at(value))


def changes(first: str, name: str) -> tuple[Change, ...]:
    return (
        change("overton", -0.01, first=first),
        change("overton, weighted", -0.2, first=first),
        change("steerable", -0.3, first=first),
        change("distance", 0.02, EVERYONE, first),
        change("distance", -0.11, "group A", first),
        change("distance", 0.12, f"group {name}", first),
        change("entropy", -0.25, EVERYONE, first),
        change("hypervolume", 0.4, first=first),
        change("regret", 0.03, name, first),
    )


def leaning(condition: str, group: str, distance: float, entropy: float) -> Leaning:
    return Leaning(
        condition=condition, group=group, distance=at(distance), entropy=at(entropy), entropy_of_people=at(0.83)
    )


def measured(name: str = "tenants") -> Pluralism:
    """Everything, as it might be found; `name` stands wherever people's words do."""
    shift = {"base": 0.0, "refined": 0.1, "finetuned": 0.2}
    return Pluralism(
        coverage=tuple(
            Coverage(
                condition=c, share=at(0.5 - d / 10), weighted=at(0.6 - d), by_answer={name: 0.4, "landlords": 0.7 - d}
            )
            for c, d in shift.items()
        ),
        steering=tuple(
            Steering(condition=c, attribute=attribute, accuracy=at(0.7 - d), f1=at(0.6 - d), undecided=2)
            for attribute in ("", name)
            for c, d in shift.items()
        ),
        leanings=tuple(
            leaning(c, group, distance + d * sign, 0.9 - d)
            for group, distance, sign in ((EVERYONE, 0.3, 0.1), ("group A", 0.4, -0.5), (f"group {name}", 0.35, 0.5))
            for c, d in shift.items()
        ),
        closest=tuple(
            Closest(condition=c, group=g, share=s)
            for c, g, s in (
                ("base", f"group {name}", 0.81),
                ("base", "group A", 0.19),
                ("finetuned", f"group {name}", 0.03),
                ("finetuned", "group A", 0.97),
            )
        ),
        objectives=(
            Objectives(
                condition="base",
                rates={"a": 0.1, name: 0.2},
                hypervolume=at(0.06),
                dominated_by=("finetuned",),
                on_front=False,
            ),
            Objectives(condition="refined", rates={"a": 0.95, name: 0.5}, hypervolume=at(0.48)),
            Objectives(condition="finetuned", rates={"a": 0.9, name: 0.9}, hypervolume=at(0.81)),
        ),
        front_volume=0.83,
        trade_offs=tuple(
            TradeOff(
                condition=c, weighting=w, reward=at(0.7), regret=at(0.06 + d), best=f"finetuned, steered to {name}"
            )
            for w in ("short first", name)
            for c, d in shift.items()
        ),
        changes=(*changes("base", name), *changes("refined", name)),
        notes=(f"Of {name}: 40 statements were asked.", "Log-probabilities, at temperature 1."),
    )


def heard(name: str = "renter") -> JuryFindings:
    """A person, a described perspective of that name and a weighting."""
    jurors = (
        Juror(name="Ana", kind="rulings", simulated=False),
        Juror(name=name, kind="perspective", simulated=True, seats=2, perspective=f"You rent. {NASTY}"),
        Juror(name="group A", kind="weights", simulated=True, weights={"brevity": 3}),
    )
    values = {"base": 0.2, "refined": 0.5, "finetuned": 0.7}
    return JuryFindings(
        jurors=jurors,
        rates=tuple(
            JurorRate(condition=c, juror=j.name, interval=at(v + place / 20), undecided=place)
            for c, v in values.items()
            for place, j in enumerate(jurors)
        ),
        welfare=tuple(
            JuryWelfare(condition=c, function=f, composition=composition, interval=at(1 - v if f == "rawls" else v))
            for composition in ("as seated", "each once", "Ana alone", f"without {name}")
            for f in ("mean", "nash", "rawls")
            for c, v in values.items()
        ),
        changes=tuple(
            JuryWelfare(condition=c, function=f, composition="as seated", interval=at(v))
            for f, v in (("mean", 0.5), ("nash", 0.03), ("rawls", -0.4))
            for c in ("base", "refined")
        ),
        spread={
            c: {j.name: (3, 0, 1, 0, 0, 6, 0, 0, 2, 0, 9 - place) for place, j in enumerate(jurors)} for c in values
        },
        splits=(
            Split(
                condition="finetuned",
                scenario_id="s1",
                sample=1,
                worths={"Ana": 1.0, name: 0.0, "group A": 0.5},
                foretold=("Ana",),
            ),
        ),
        agreement=(
            JuryAgreement(clause_id="", alpha=at(0.74, 0.16), people=4, responses=12),
            JuryAgreement(clause_id="brevity", alpha=at(-0.1, 0.2), people=3, responses=5),
        ),
        foretold=(Foretold(juror="Ana", ruled=4, foretold=1716, right=at(0.79), commoner=at(0.71), better=False),),
        notes=("Ana’s model: 80 % of her own rulings.",),
    )


SCENARIOS = [
    Scenario(id="s1", messages=(Message(role="user", content=f"query {NASTY}"),), clause_ids=("a",), split="held_out")
]
RESPONSES = [
    Response(scenario_id="s1", condition="finetuned", sample=n, text=f"response {n} {NASTY}", finished=True, model="m")
    for n in (0, 1)
]

MISSING = Split(condition="base", scenario_id="s1", sample=7, worths={"Ana": 1.0})


def html(pluralism: Pluralism | None = None, jury: JuryFindings | None = None) -> str:
    """The sections as they stand on the report."""
    environment = templates()
    environment.globals.update(labels=LABELS)
    template = environment.from_string(
        '<!DOCTYPE html><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<style>{% include "page.css" %}{% include "pluralism.css" %}</style>'
        '{% from "pluralism.html.jinja" import pluralism_section, jury_section %}<main>'
        "{% if pluralism %}{{ pluralism_section(pluralism, axis) }}{% endif %}"
        "{% if jury %}{{ jury_section(jury, axis) }}{% endif %}</main>"
    )
    return template.render(
        axis=axis(),
        pluralism=pluralism_section(pluralism, LABELS) if pluralism else None,
        jury=jury_section(jury, SCENARIOS, RESPONSES, LABELS) if jury else None,
    )


class Visible(HTMLParser):
    """What a reader sees of a page or hears of its pictures, and the tags that make it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.words += [value or "" for name, value in attrs if name == "aria-label"]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (change("distance", 0.2, "group B"), "moved away from group B"),
        (change("distance", -0.2, EVERYONE), "moved towards the people as a whole"),
        (change("entropy", -0.2, EVERYONE), "became narrower (entropy lower)"),
        (change("entropy", 0.2, EVERYONE), "became broader (entropy higher)"),
        (change("overton", 0.2), "covers more of the reasonable answers"),
        (change("steerable", -0.2), "follows what it is told less faithfully"),
        (change("steerable", 0.2, "tenants"), "follows “tenants” more faithfully"),
        (change("regret", 0.2, "short first"), "loses more when steered to “short first”"),
        (change("overton", 0.05), "not shown"),  # from 0 to 0.1: zero is not left out
        (change("overton", -0.04), "not shown"),
        (Change(measure="overton", of="", first="base", second="finetuned", interval=NONE), "could not be compared"),
    ],
)
def test_a_change_is_said_in_words_that_fit_it(found: Change, words: str) -> None:
    assert said(found) == words


def told(*found: Change, leanings: Iterable[Leaning] = ()) -> Pluralism:
    return Pluralism(changes=found, leanings=tuple(leanings))


CHANGES = st.lists(
    st.builds(
        change,
        st.sampled_from([*FLATTER]),
        st.floats(-0.9, 0.9),
        st.sampled_from(["", EVERYONE]),
        st.sampled_from(["base", "refined"]),
    ),
    max_size=6,
    unique_by=lambda c: (c.measure, c.first),
)


@given(CHANGES)
def test_the_first_sentence_names_what_is_shown_and_nothing_else(found: list[Change]) -> None:
    first = headline(Pluralism(changes=tuple(found)))[0]
    through = [c for c in found if c.first == "base"]
    if any(c.measure == "steerable, F1" for c in through):
        through = [c for c in through if c.measure != "steerable"]
    ways = {direction(c.interval) * FLATTER[c.measure] for c in through}
    for c in through:
        assert (f"({gap(c.interval)}," in first and said(c) in first) == bool(direction(c.interval))
    assert first.count("\u00a0points, ") == sum(bool(direction(c.interval)) for c in through)
    assert ("Training reduced" in first, "raised" in first) == (1 in ways, -1 in ways)
    assert first.startswith("Whether") == (not through) and ("is not shown" in first) == (ways == {0})


def test_what_was_reported_elsewhere_is_held_against_what_was_found_here() -> None:
    def last(*found: Change) -> str:
        return headline(Pluralism(changes=found))[-1].partition("; ")[2]

    farther = change("distance", 0.2, EVERYONE)
    narrower, broader = change("entropy", -0.2, EVERYONE), change("entropy", 0.2, EVERYONE)
    assert last(farther, narrower) == "here it did."
    assert last(farther, broader) == "here it did by one measure and not by another."
    assert last(broader) == "here the reverse was found."
    assert last(change("entropy", 0.01, EVERYONE)) == "here it is not shown."
    assert last(change("overton", -0.2)).startswith("whether that happened here was not measured")


@pytest.mark.parametrize(("after", "counted"), [(0.82, False), (0.72, False), (0.6, True)])
def test_breadth_counts_only_where_a_model_is_narrower_than_the_people(after: float, counted: bool) -> None:
    leanings = tuple(
        leaning(condition, EVERYONE, 0.3, entropy).model_copy(update={"entropy_of_people": at(0.72)})
        for condition, entropy in (("base", 0.95), ("refined", 0.1), ("finetuned", after))
    )
    changes = (change("entropy", after - 0.95, EVERYONE), change("overton", -0.3))
    first, breadth, *_, last = headline(Pluralism(changes=changes, leanings=leanings))
    assert ("became narrower" in first) == counted and "covers fewer" in first
    assert breadth.startswith("Breadth of its answers (entropy): before training 95\u00a0%; after training")
    assert "of the people 72\u00a0%" in breadth and ("counts as neither" in breadth) == (not counted)
    assert last.endswith("here it did." if counted else "here it is not shown.")


def test_the_closest_group_is_named_before_and_after_for_each_set_of_groups() -> None:
    voted = [("base", "A", 0.2), ("base", "B", 0.8), ("finetuned", "A", 0.97), ("finetuned", "B", 0.03)]
    asked = [("base", "A", 0.5), ("base", "B", 0.5), ("finetuned", "A", 0.6), ("finetuned", "B", 0.4)]
    found = [Closest(condition=c, group=g, share=s, of="statements") for c, g, s in voted]
    found += [Closest(condition=c, group=g, share=s) for c, g, s in asked]
    votes, questions = closest_words(found)
    assert votes.startswith("On the statements that people voted on")
    assert votes.endswith("before training B (80\u00a0%, not sure); after training A (97\u00a0%).")
    assert questions.endswith("before training A or B (50\u00a0%, not sure); after training A (60\u00a0%, not sure).")


def test_groups_towards_which_no_move_is_shown_are_named() -> None:
    moved, still = change("distance", 0.2, "B"), [change("distance", 0.01, group) for group in ("A", "C")]
    assert any("moved away from B (" in s and s.endswith("; not shown of A, C.") for s in headline(told(moved, *still)))
    assert any("not shown to move towards or away from any." in s for s in headline(told(*still)))


@pytest.mark.parametrize(("before", "after", "said"), [(0.4, 0.5, ""), (0.914, 0.99, "91 to 99"), (0.99, 0.99, "99")])
def test_that_most_of_what_it_would_say_is_no_option_stands_beside_the_figure(
    before: float, after: float, said: str
) -> None:
    shares = (("base", before), ("refined", 0.995), ("finetuned", after))
    leanings = [leaning(c, EVERYONE, 0.3, 0.9).model_copy(update={"neither": at(share, 0.001)}) for c, share in shares]
    found = told(change("distance", 0.2, EVERYONE), change("overton", -0.3), leanings=leanings)
    first, *_, last = headline(found)
    beside = f"+25; {said}\u00a0% of what it would say was none of the options)"
    assert (beside in first.replace("\u00a0to\u00a0", " to ")) == bool(said)
    assert first.count("none of the options") == last.count("none of the options") == bool(said)
    words = Visible(html(found)).text
    assert "prompted, refined 100 % (99–100)" in words and "base model 40 %" not in words
    assert ("finetuned 99 % (99–99)" in words) == bool(said)


def test_every_figure_is_drawn_where_it_is() -> None:
    page = html(measured())
    assert re.search(r'class="lane c-finetuned"><title>finetuned: 30 % \(95 % interval 25 to 35\)', page), "group A"
    assert '<svg x="30.0%"' in page and 'x1="25.0%" x2="35.0%"' in page
    assert re.search(r'class="lane c-other"><title>the people as a whole: 83 %', page)
    assert "moved away from group tenants</span>" in page and "(+7\u00a0to\u00a0+17)" in page
    assert (
        "“base model” is dominated by “finetuned”." in page
        and "On the front: “prompted, refined”, “finetuned”." in page
    )


TITLES = {
    "coverage": "Does it say what could",
    "steering": "Can it be steered to a view",
    "leanings": "How broad are its answers",
    "objectives": "Is one model better",
    "trade_offs": "Can it be steered to what matters",
}


@pytest.mark.parametrize("kept", TITLES)
def test_a_measure_that_was_not_taken_has_no_block(kept: str) -> None:
    page = html(Pluralism(**{kept: getattr(measured(), kept)}))
    assert {name for name, title in TITLES.items() if title in page} == {kept}
    assert "Whether training reduced pluralism was not measured" in page and "How this was measured" not in page


def test_nothing_foreign_is_obeyed() -> None:
    page = Visible(html(measured(NASTY), heard(NASTY)))
    assert not page.tags & {"script", "a", "img", "iframe", "link", "form"}
    assert not {name for name in page.attributes if name.startswith("on") or name in ("href", "src", "style")}
    assert page.text.count("<script>alert(1)</script>") > 30, "it stands there to be read"
    assert "\x1b" not in page.text and "\u202e" not in page.text
    for text in ("\n".join(pluralism_markdown(measured(NASTY))), "\n".join(jury_markdown(heard(NASTY)))):
        assert "<script" not in text and "[x](http" not in text and "\x1b" not in text
        rows = [re.sub(r"\\\|", "", line) for line in text.splitlines() if line.startswith("|")]
        assert rows and {row.count("|") for row in rows} == {5}
    for line in (*lines(measured(NASTY)), *jury_lines(heard(NASTY))):
        assert "\x1b" not in line and "\u202e" not in line and "\n" not in line


@pytest.mark.parametrize("told", ["page", "gate", "terminal"])
def test_a_simulated_juror_is_marked_wherever_it_is_named(told: str) -> None:
    found = heard("Zorbo")
    texts = {"page": Visible(html(None, found)).text, "gate": "\n".join(jury_markdown(found)).replace("\\", "")}
    text = texts.get(told) or "\n".join(jury_lines(found))
    after = [text[place.end() :].lstrip(" (") for place in re.finditer("Zorbo", text)]
    assert after and all(rest.startswith("simulated") for rest in after), after
    assert "Ana (simulated)" not in text and "Ana simulated" not in text and "Ana alone (simulated)" not in text


def test_the_jury_shows_the_response_on_which_jurors_split() -> None:
    section = jury_section(heard(), SCENARIOS, RESPONSES, LABELS)
    (case,) = section.splits
    assert case.response is RESPONSES[1] and case.messages == SCENARIOS[0].messages
    assert [name for name, _, _ in case.worths] == ["renter (simulated)", "group A (simulated)", "Ana (foretold)"]
    assert "There is no answer." in html(None, heard().model_copy(update={"splits": (MISSING,)}))


def test_the_whole_distribution_is_drawn_and_not_its_mean_alone() -> None:
    section = jury_section(heard(), SCENARIOS, RESPONSES, LABELS)
    places = re.findall(r'<rect x="(-?[\d.]+)%" width="4%" y="[\d.]+" height="([\d.]+)"', section.seats[0].picture)
    assert [float(x) + 2 for x, _ in places[:5]] == [0, 20, 50, 80, 100]
    assert [float(height) for _, height in places[:5]] == [8.7, 2.9, 17.3, 5.8, 26.0], "3, 1, 6, 2 and 9 responses"
    assert len(places) == 3 * 5 and section.seats[1].undecided[0] == "base model: 1 undecided"


def test_the_jury_says_how_the_result_depends_on_who_sits_and_how_they_decide() -> None:
    assert "12 combinations of composition and welfare function: finetuned in 8, base in 4" in ranking(heard())
    first, others = jury_headline(heard())
    assert first.startswith(
        "On a jury of 1 person (1,716 of their 1,720 verdicts foretold) and 2 simulated jurors: by mean (utilitarian), "
        "the finetuned model is worth"
    )
    ana, *others_jurors = heard().jurors
    unseated = heard().model_copy(update={"jurors": (ana.model_copy(update={"seats": 0.0}), *others_jurors)})
    assert jury_headline(unseated)[0].startswith("On a jury of 2 simulated jurors: ")
    assert [function_words(name) for name in ("power -1", "power -2.5")] == ["power −1 (harmonic mean)", "power −2.5"]
    assert "Nash (geometric mean), a change is not shown" in others and "Rawls" in others
    text = Visible(html(None, heard())).text
    assert "1,716 of 1,720 verdicts foretold from similar rulings, which is right in 79" in text
    assert "not shown to be better than guessing the commoner outcome (71" in text
    assert "without renter (simulated)" in text and "0.74 [0.58, 0.90]" in text and "−0.10 [−0.30, 0.10]" in text
    assert ranking(JuryFindings()) == "" and "was not measured" in jury_headline(JuryFindings(jurors=heard().jurors))[0]


def test_a_run_shows_them_everywhere_or_nowhere(finished: Run) -> None:  # noqa: F811
    def shown() -> list[bool]:
        numbers = report_numbers(finished)
        texts = (report_page(finished), summary(finished, "release"), model_card(finished), terminal_table(finished))
        signs = ("training reduced pluralism", "jury of 1 person")
        said = [sign in text.lower() for text in texts for sign in signs]
        return [*said, "pluralism" in numbers, "jury" in numbers]

    before = shown()
    assert not any(before), "a project that gives nothing for it has the files it had"
    folder = finished.stage_folder("compare")
    write_record(folder / "pluralism.json", measured())
    write_record(folder / "juries.json", heard())
    assert all(shown())
    assert report_numbers(finished)["pluralism"]["front_volume"] == 0.83
    assert report_page(finished).count('<a href="#jury">') == 1
