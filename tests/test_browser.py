"""A gate from first to last in a real browser, on both of Prefect's UIs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gate_server import Case, Phone, Server, until

pytestmark = pytest.mark.model
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
SHOTS = os.environ.get("RATIFY_SCREENSHOTS", "")  # a folder: leave pictures of what people see there
PEOPLE = "people: [{name: Ada, role: legal}, {name: Ben}]\ngates: {draft: {approvals: 2}}\n"


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    """A page of a headless browser that speaks to loopback alone."""
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        pytest.skip("there is no chromium here; Debian's package `chromium` has it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        found = browser.new_page(viewport={"width": 1300, "height": 1000})
        yield found
        browser.close()


@pytest.fixture
def case(server: Server, project: Path) -> Case:
    """A run that waits at its first gate, where two people have to approve."""
    (project / "stakeholders.yaml").write_text(PEOPLE)
    waiting = Case(server, project, settings={"scenario_limit": 2, "samples": 1})
    assert waiting.work() == "Suspended"
    return waiting


def open_form_in_v2(page: Any, case: Case) -> Any:
    page.goto(f"{case.server.url.removesuffix('/api')}/v2/runs/flow-run/{case.id}")
    page.locator("button:has(svg.lucide-more-vertical), button:has(svg.lucide-ellipsis-vertical)").first.click()
    page.get_by_role("menuitem", name="Resume").click()
    return page.get_by_role("dialog")


def fill_form_in_v2(page: Any, dialog: Any, decision: str, name: str, code: str, comment: str) -> None:
    dialog.locator("button[aria-label='Select Decision']").click()
    page.get_by_role("option", name=decision, exact=True).click()
    dialog.locator("textarea").nth(0).fill(name)
    dialog.locator("input[type=password]").fill(code)
    dialog.locator("textarea").nth(1).fill(comment)


def open_form_in_v1(page: Any, case: Case) -> Any:
    page.goto(f"{case.server.url.removesuffix('/api')}/runs/flow-run/{case.id}")
    page.get_by_role("button", name="Resume").first.click()
    return page.locator("[role=dialog]")


def fill_form_in_v1(page: Any, dialog: Any, decision: str, name: str, code: str, comment: str) -> None:
    dialog.locator(".p-select-button__control").focus()
    page.keyboard.press("Space")  # the list does not open by mouse
    page.get_by_text(decision, exact=True).last.click()
    dialog.locator("textarea").nth(0).fill(name)
    dialog.locator("textarea").nth(1).fill(code)
    dialog.locator("textarea").nth(2).fill(comment)


UIS = {
    "v2": (open_form_in_v2, fill_form_in_v2, "Resume"),
    "v1": (open_form_in_v1, fill_form_in_v1, "Submit"),
}


@pytest.mark.parametrize("ui", list(UIS))
def test_a_whole_gate(page: Any, case: Case, ui: str) -> None:
    open_form, fill_form, send = UIS[ui]
    ada, ben = Phone("Ada"), Phone("Ben")

    def answer(name: str, code: str, comment: str = "", decision: str = "approve") -> str:
        """Fill in and send the form as a person would; returns what the form said before."""
        dialog = open_form(page, case)
        dialog.get_by_text("Does the draft say what the group meant?").wait_for()
        said: str = dialog.inner_text()
        fill_form(page, dialog, decision, name, code, comment)
        shot(page, f"{ui}-{len(case.ledger) + 1}-form")
        dialog.get_by_role("button", name=send, exact=True).click()
        until(lambda: case.state.name != "Suspended", 20)
        assert case.work() == "Suspended"
        return said

    assert "not counted" not in answer("Mallory", "123456")
    assert "no such person is among the stakeholders" in answer("Ada", ada.wrong())
    assert "the code was wrong or too old" in answer("Ada", ada.code(), "as we meant it")
    assert "1 more approval, from Ben" in answer("ada", ada.code())
    assert "Ada has decided on this evidence already" in answer("Ben", ben.code())
    assert [(entry.approver, entry.refused == "") for entry in case.ledger] == [
        ("Mallory", False),
        ("Ada", False),
        ("Ada", True),
        ("Ada", False),
        ("Ben", True),
    ]
    assert case.ledger[2].comment == "as we meant it" and case.ledger[4].proven
    assert case.run.stage_folder("refine").exists() and case.waiting["gate"] == "policy"


@pytest.mark.parametrize("ui", list(UIS))
def test_a_form_without_a_decision_or_with_half_a_code_is_not_taken(page: Any, case: Case, ui: str) -> None:
    open_form, fill_form, send = UIS[ui]
    dialog = open_form(page, case)
    dialog.get_by_role("button", name=send, exact=True).click()
    page.wait_for_timeout(700)
    fill_form(page, dialog, "approve", "Ada", "123", "")
    dialog.get_by_role("button", name=send, exact=True).click()
    page.wait_for_timeout(700)
    shot(page, f"{ui}-half-a-code")
    assert dialog.is_visible() and case.state.name == "Suspended" and case.ledger == ()
    fill_form(page, dialog, "approve", "Ada", Phone("Ada").code(), "")
    dialog.get_by_role("button", name=send, exact=True).click()
    until(lambda: case.state.name != "Suspended", 20, "the button sends nothing")


@pytest.mark.parametrize("ui", list(UIS))
def test_retry_asks_anew(page: Any, case: Case, ui: str) -> None:
    case.force("FAILED")
    page.goto(f"{case.server.url.removesuffix('/api')}{'/v2' if ui == 'v2' else ''}/runs/flow-run/{case.id}")
    if ui == "v2":
        page.locator("button:has(svg.lucide-more-vertical), button:has(svg.lucide-ellipsis-vertical)").first.click()
        page.get_by_role("menuitem", name="Retry").click()
    else:
        page.get_by_role("button", name="Retry").first.click()
    page.wait_for_timeout(700)
    shot(page, f"{ui}-retry")
    page.get_by_role("button", name="Retry", exact=True).last.click()
    until(lambda: case.state.name == "AwaitingRetry", 20)
    assert case.work() == "Suspended"
    assert case.ledger == () and not case.run.stage_folder("refine").exists()


def test_the_evidence_opens_from_the_form_with_its_picture(page: Any, case: Case) -> None:
    ada, ben = Phone("Ada"), Phone("Ben")
    assert case.answer("Ada", code=ada.code()) == case.answer("Ben", code=ben.code()) == "Suspended"
    link = open_form_in_v2(page, case).get_by_role("link", name="Read the evidence").get_attribute("href")
    page.goto(case.server.url.removesuffix("/api") + link)
    picture = page.get_by_role("img", name="Clauses upheld: draft and refined")
    picture.wait_for()
    assert picture.evaluate("image => image.complete && image.naturalWidth") > 300
    text = page.locator("body").inner_text()
    assert "May the refined policy stand for the draft?" in text and "Some answers" in text
    shot(page, "evidence")


def shot(page: Any, name: str) -> None:
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/{name}.png")
