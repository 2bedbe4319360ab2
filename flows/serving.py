"""`ratify serve`: a server, the deployment and its worker on one machine, until it is stopped."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

from prefect_ratify.errors import InputError
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.flows.server import free_port, prefect_server
from prefect_ratify.progress import say
from prefect_ratify.records import digest
from prefect_ratify.store import private_folder

POLL_SECONDS = "2"  # a worker that looks seldom keeps people waiting after each answer
PREFERRED_PORT = 4201
REPORTS_ADDRESS = "RATIFY_REPORTS"  # where reports are shown


def serve(folder: Path | None, *, notify: str = "", webhook: str = "", most: int = 2) -> None:
    """Serve the path as a deployment; `folder` is the project that its form proposes.

    At most `most` runs work at once; runs that wait at gates hold no process.
    """
    if folder is not None and not folder.is_dir():
        raise InputError("there is no such project folder", f"make one: ratify init {folder}", path=folder)
    os.environ.setdefault("PREFECT_RUNNER_POLL_FREQUENCY", POLL_SECONDS)
    with prefect_server() as url, report_server() as reports:
        os.environ["PREFECT_API_URL"] = url  # for the runs' own processes
        os.environ[REPORTS_ADDRESS] = reports
        from prefect import serve as prefect_serve

        from prefect_ratify.flows.automations import create_automations
        from prefect_ratify.flows.path import FLOW, policy_to_model
        from prefect_ratify.flows.training_deployment import TRAIN_FLOW, train_model

        made = create_automations(notify=notify, webhook=webhook)
        page = url.removesuffix("/api")
        say(f"Prefect: {page}")
        say(f"automations: {', '.join(made)}")
        if not notify and not webhook:
            say("nobody is told when a gate waits: give --notify BLOCK (slack-webhook/team, …) or --webhook URL")
        say(f"start a run at {page}/deployments, or: prefect deployment run {FLOW}/{FLOW}")
        path = policy_to_model.to_deployment(FLOW, parameters={"project": str(folder.resolve())} if folder else {})
        prefect_serve(path, train_model.to_deployment(TRAIN_FLOW), limit=most, print_starting_message=False)


def publish_report(run: Run) -> str:
    """The address at which people find the run's report, or '' where nothing serves reports."""
    address, report = os.environ.get(REPORTS_ADDRESS, ""), run.folder / "report.html"
    if not address or not report.exists():
        return ""
    folder = _reports_folder()
    name = f"{run.project.folder.name}-{run.id}-{digest(str(run.folder.resolve()))[:8]}.html"
    shutil.copyfile(report, folder / name)
    return f"{address}/{quote(name)}"


@contextmanager
def report_server() -> Iterator[str]:
    """Serve the reports that runs have published to this machine; yields the address."""
    folder = _reports_folder()
    server = ThreadingHTTPServer(("127.0.0.1", free_port(PREFERRED_PORT)), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def _reports_folder() -> Path:
    folder = private_folder() / "reports"
    folder.mkdir(exist_ok=True, mode=0o700)
    return folder


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass

    def list_directory(self, path: str | os.PathLike[str]) -> None:
        self.send_error(404)
        return None
