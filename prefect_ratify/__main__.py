"""`python -m prefect_ratify` is `ratify`."""

import sys

from prefect_ratify.command_line import main

sys.exit(main())
