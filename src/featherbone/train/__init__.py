"""Train and evaluate networks. The loop is PyTorch Lightning's; it is imported when a run starts, not before."""

from featherbone.train.recipe import Recipe as Recipe
from featherbone.train.recipe import recipe_for as recipe_for
