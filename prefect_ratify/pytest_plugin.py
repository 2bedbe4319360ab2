"""Scenario files as pytest tests: `pytest my-policy/ --policy my-policy/policy.md --model openai/gpt-4o`.

Every pytest run in an environment loads this module. So it imports nothing that takes time, does nothing without
--policy, and leaves every option's name to whoever else wants it. What a test comes to is decided in
`flows/testing.py`.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from prefect_ratify.pytest_options import FILE, OPTIONS, dest

if TYPE_CHECKING:
    from prefect_ratify.flows.testing import Results
    from prefect_ratify.flows.trials import Answers, Key, Trial, Wanted
    from prefect_ratify.records import Scenario

KEYWORDS = ("and", "or", "not", "True", "False", "None")  # of -m
FOLDER = "ratify_folder"  # where a session's results are, as xdist's workers are told


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(parser: pytest.Parser) -> Generator[None, object, object]:
    """Add the options after everybody else's, so that no plugin or conftest of a project finds its own name taken."""
    result = yield
    groups = [*getattr(parser, "_groups", ()), parser._anonymous]
    taken = {name for group in groups for option in group.options for name in option.names()}
    ours = parser.getgroup("ratify", "scenario files, tested against a policy (prefect-ratify)")
    for name, given in OPTIONS.items():
        option = f"--ratify-{name}" if f"--{name}" in taken else f"--{name}"
        ours.addoption(option, dest=dest(name), **given)
    return result


def pytest_configure(config: pytest.Config) -> None:
    """With --policy, and only then, there is a plugin."""
    if not config.getoption(dest("policy"), None):
        return
    options = {name: config.getoption(dest(name)) for name in OPTIONS}
    for name in ("rule", "comparison"):
        if options[name] and not options["against"]:
            raise pytest.UsageError(f"--{name} needs something to compare with: add --against git:main, say")
    if not Path(options["policy"]).is_file():
        raise pytest.UsageError(f"--policy {options['policy']}: there is no such file; `ratify init FOLDER` makes one")
    beside = Path(options["policy"]).absolute().with_name(FILE)
    named = config.args_source == config.ArgsSource.ARGS
    if not named and beside.exists() and not any(beside.is_relative_to(Path(path).absolute()) for path in config.args):
        config.args.append(str(beside))
    config.pluginmanager.register(Ratify(config, options), "ratify-session")


class Ratify:
    """One session of testing: in a process of its own, in xdist's controller, or in one of its workers."""

    def __init__(self, config: pytest.Config, options: dict[str, Any]) -> None:
        from prefect_ratify.command_line import ENVIRONMENT

        for name, value in ENVIRONMENT.items():
            if name != "PYTHONWARNINGS":  # the project's own tests may want theirs
                os.environ.setdefault(name, value)
        self.config, self.options = config, options
        self.worker: dict[str, Any] = getattr(config, "workerinput", {})
        self.folder = Path(self.worker.get(FOLDER) or tempfile.mkdtemp(prefix="ratify-"))
        self.comparison = Path(options["comparison"]).absolute() if options["comparison"] else None
        self.trials: dict[str, Trial] = {}
        self.tests: Mapping[Key, Answers] = {}
        self.marks: dict[str, bool] = {}  # by name: whether it is one of these tests' own

    @property
    def wanted(self) -> Wanted:
        """The options, as the flows know them."""
        from prefect_ratify.flows.trials import Wanted

        given = {name.replace("-", "_"): value for name, value in self.options.items() if name != "comparison"}
        return Wanted(**{**given, "policy": Path(self.options["policy"])})

    def pytest_report_header(self) -> str:
        """What is tested, in a line."""
        against = f", against {self.options['against']}" if self.options["against"] else ""
        return f"ratify: {self.options['policy']}, answered by {self.options['model']}{against}"

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell one of xdist's workers where the results are."""
        node.workerinput[FOLDER] = str(self.folder)

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        """A scenario file is a file of tests."""
        return ScenarioFile.from_parent(parent, path=file_path) if file_path.name == FILE else None

    def pytest_sessionstart(self) -> None:
        """Look which marks there are, now that every plugin has named its own."""
        self.marks = {re.split("[:(]", line)[0].strip(): False for line in self.config.getini("markers")}

    def mark(self, name: str, kind: str) -> str:
        """The mark for a tag, clause or split: registered, in characters that -m takes, and nobody else's.

        Where the name means something to pytest already (a tag `skip`), the kind is put before it.
        """
        plain = re.sub(r"[^\w.+-]", "_", name)
        if plain in KEYWORDS or plain[0] in "_-+." or not self.marks.get(plain, True):
            plain = f"{kind}_{plain}"
        if plain not in self.marks:
            self.marks[plain] = True
            self.config.addinivalue_line("markers", f"{plain}: {kind} of a policy's scenarios")
        return plain

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Ask for everything that is going to be tested, and for nothing else, at once."""
        chosen = [item for item in session.items if isinstance(item, ScenarioTest)]
        stopping = session.testsfailed and not self.config.option.continue_on_collection_errors
        if not chosen or stopping or self.config.option.collectonly:
            return
        found = self._ask(chosen)
        if found.failure:
            session.shouldfail = f"ratify: {found.failure}"
            raise session.Failed(session.shouldfail)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Once, and not in a worker: write the comparison, and let a broken rule fail the session."""
        found = self._known()
        if found is None:
            return
        if self.comparison is not None and not found.failure:
            from prefect_ratify.flows.testing import as_markdown
            from prefect_ratify.store import write_text

            if text := as_markdown(found):
                write_text(self.comparison, text)
        if exitstatus == pytest.ExitCode.OK and found.problem:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """What became of every row, what changed, what the rules say, what was paid."""
        found = self._known()
        if found is None or found.failure:
            return
        from prefect_ratify.errors import readable
        from prefect_ratify.flows.testing import summary

        terminalreporter.ensure_newline()
        terminalreporter.section("ratify")
        for line in summary(found):
            terminalreporter.write_line(readable(line))
        if self.comparison is not None and self.comparison.exists():
            terminalreporter.write_line(f"comparison: {self.options['comparison']}")
        if found.problem:
            terminalreporter.write_line(f"ratify fails: {found.problem}", red=True)

    def pytest_unconfigure(self) -> None:
        """Leave nothing behind."""
        if not self.worker:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _ask(self, chosen: list[ScenarioTest]) -> Results:
        from prefect_ratify.flows.testing import by_test, results

        clause_ids: dict[str, dict[str, list[str]]] = {}
        for item in chosen:
            of_file = clause_ids.setdefault(item.file.nodeid, {})
            of_file.setdefault(item.scenario.id, []).append(item.clause_id)
        trials = [self.trials[name].chosen(of_file) for name, of_file in clause_ids.items()]
        capture = self.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else nullcontext():  # so that the progress is seen
            found = results(self.folder, trials, patient=bool(self.worker))
        self.tests = by_test(found)
        return found

    def _known(self) -> Results | None:
        if self.worker or not self.config.getoption(dest("policy")):
            return None
        from prefect_ratify.flows.testing import known_results

        return known_results(self.folder)


class ScenarioFile(pytest.File):
    """A scenarios.yaml: one test for each scenario and each clause that it touches."""

    def collect(self) -> Iterator[pytest.Item]:
        from prefect_ratify.errors import InputError
        from prefect_ratify.flows.testing import open_trial

        session = _session(self.config)
        problems: list[InputError] = []
        try:
            trial = open_trial(self.nodeid, _from_here(self.path), session.wanted, problems)
        except InputError as error:
            problems.append(error)
        if problems:
            raise self.CollectError("\n".join(str(problem) for problem in problems))
        session.trials[self.nodeid] = trial
        for scenario in trial.scenarios:
            for clause_id in scenario.clause_ids:
                name = f"{scenario.id}[{clause_id}]"
                item = ScenarioTest.from_parent(self, name=name, scenario=scenario, clause_id=clause_id)
                yield _marked(item, session)


class ScenarioTest(pytest.Item):
    """One scenario and one clause."""

    def __init__(self, *, scenario: Scenario, clause_id: str, **given: Any) -> None:
        super().__init__(**given)
        self.scenario, self.clause_id = scenario, clause_id
        self.failure = ""

    @property
    def file(self) -> pytest.Collector:
        """The scenario file that it stands in."""
        assert self.parent is not None
        return self.parent

    def setup(self) -> None:
        """An answer that is missing is an error, and what nobody can decide is skipped: neither is a finding."""
        from prefect_ratify.flows.trials import outcome_of

        session = _session(self.config)
        trial = session.trials[self.file.nodeid]
        found = outcome_of(trial, self.scenario, self.clause_id, session.tests)
        if found.outcome == "error":
            pytest.fail(found.text, pytrace=False)
        if found.outcome == "skipped":
            raise pytest.skip.Exception(found.text, _use_item_location=True)
        self.failure = found.text if found.outcome == "failed" else ""

    def runtest(self) -> None:
        if self.failure:
            pytest.fail(self.failure, pytrace=False)

    def reportinfo(self) -> tuple[Path, int, str]:
        line = _session(self.config).trials[self.file.nodeid].lines.get(self.scenario.id, 1)
        return self.path, line - 1, self.name


def _session(config: pytest.Config) -> Ratify:
    session = config.pluginmanager.getplugin("ratify-session")
    assert isinstance(session, Ratify)
    return session


def _marked(item: ScenarioTest, session: Ratify) -> ScenarioTest:
    kinds = {item.clause_id: "clause", item.scenario.split: "split", **dict.fromkeys(item.scenario.tags, "tag")}
    for name, kind in kinds.items():
        item.add_marker(session.mark(name, kind))
    return item


def _from_here(path: Path) -> Path:
    """The path as a person would write it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
