"""Pluralism, measured: Overton, steerable, distributional, several objectives, and juries.

After Sorensen et al. 2024, *A Roadmap to Pluralistic Alignment* (arXiv 2402.05070).
"""
