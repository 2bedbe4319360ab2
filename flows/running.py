"""`ratify run`: the whole path in this process, on a Prefect server."""

from __future__ import annotations

import time
from pathlib import Path

from prefect_ratify.errors import RatifyError
from prefect_ratify.flows.run_folder import Settings, latest_run, load_project
from prefect_ratify.flows.server import prefect_server
from prefect_ratify.policy_modules.models import open_model
from prefect_ratify.progress import duration, say


def run_path(folder: Path, settings: Settings, *, fresh: bool) -> Path:
    """Carry the project in `folder` to a finetuned model; returns the report's path.

    What is wrong with the input, a model's name included, is found before anything is written.
    """
    started = time.monotonic()
    load_project(folder)
    for name in dict.fromkeys(filter(None, settings.models.model_dump().values())):
        open_model(name)
    say("starting Prefect …")
    with prefect_server() as url:
        say(f"Prefect: {url.removesuffix('/api')}")
        from prefect_ratify.flows.path import policy_to_model

        run_folder = Path(policy_to_model(project=str(folder.resolve()), settings=settings, fresh=fresh))
    from prefect_ratify.flows.report import terminal_table

    print(terminal_table(latest_run(load_project(folder))))
    say(f"finished in {duration(time.monotonic() - started)}")
    report = run_folder / "report.html"
    if not report.exists():
        raise RatifyError(f"{report} was not written")
    return report
