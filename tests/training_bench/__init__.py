"""Training through us beside a bare TRL script: the same settings, rows and seed; wall time and final loss."""
