"""The same policy refined by this package and by DSPy's optimisers, on a task whose best policy is known."""
