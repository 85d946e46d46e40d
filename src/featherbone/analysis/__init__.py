"""The papers' own experiments, run again."""

from featherbone.analysis.guidelines import Experiment as Experiment
from featherbone.analysis.guidelines import GuidelineResult as GuidelineResult
from featherbone.analysis.guidelines import guidelines as guidelines
