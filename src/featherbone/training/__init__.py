"""Train networks. The loop is PyTorch Lightning's; it is imported when a run starts, not before."""

from featherbone.training.distributed import Processes as Processes
from featherbone.training.distributed import processes as processes
from featherbone.training.recipe import Recipe as Recipe
from featherbone.training.recipes import RECIPES as RECIPES
from featherbone.training.recipes import classification_recipe as classification_recipe
from featherbone.training.recipes import detection_recipe as detection_recipe
from featherbone.training.recipes import nearest_recipe as nearest_recipe
from featherbone.training.recipes import recipe_named as recipe_named
