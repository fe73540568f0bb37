"""Hypothesis keeps what it found beside pytest's own cache, not in a folder of its own in the project."""

from pathlib import Path

from hypothesis.configuration import set_hypothesis_home_dir

set_hypothesis_home_dir(Path(__file__).parents[2] / ".pytest_cache" / "hypothesis")
