"""Suites of scenarios: checks, judging, running and comparing."""
