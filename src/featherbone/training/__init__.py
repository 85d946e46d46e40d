"""Train and evaluate networks. The loop is PyTorch Lightning's; it is imported when a run starts, not before."""

from featherbone.train.processes import Processes as Processes
from featherbone.train.processes import processes as processes
from featherbone.train.recipe import Recipe as Recipe
from featherbone.train.recipes import RECIPES as RECIPES
from featherbone.train.recipes import recipe_for as recipe_for
from featherbone.train.recipes import recipe_named as recipe_named
