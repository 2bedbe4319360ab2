"""The command `ratify`: everything that a person does without the Prefect UI.

Heavy imports happen inside the commands, so that `ratify --help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from prefect_ratify.commands.comparing import add_comparing
from prefect_ratify.commands.exports import add_exports
from prefect_ratify.commands.gates import add_gates
from prefect_ratify.commands.imports import add_imports
from prefect_ratify.commands.labels import add_labels
from prefect_ratify.commands.projects import add_projects
from prefect_ratify.commands.results import add_results
from prefect_ratify.commands.running import add_running
from prefect_ratify.errors import UNWRITABLE, RatifyError, readable

# The libraries talk much and would like to phone home; this tool does neither.
ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    # NumPy's matrices are small here, and beside another busy process its threads made a search fifty times slower.
    "OPENBLAS_NUM_THREADS": "1",
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
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        where = f"{readable(str(error.filename))}: " if error.filename else ""
        print(f"ratify: {where}{error.strerror}; once that is mended, the same command goes on", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """What a person may type."""
    parsing = argparse.ArgumentParser(
        prog="ratify",
        description="Carry a group's draft policy to a finetuned model, with people approving every step.",
    )
    commands = parsing.add_subparsers(required=True, metavar="COMMAND")
    add_projects(commands)
    add_running(commands)
    add_comparing(commands)
    add_labels(commands)
    add_imports(commands)
    add_exports(commands)
    add_gates(commands)
    add_results(commands)
    return parsing


def _machine_is_busy() -> bool:
    return hasattr(os, "getloadavg") and os.getloadavg()[0] >= (os.cpu_count() or 1)


if __name__ == "__main__":
    sys.exit(main())
