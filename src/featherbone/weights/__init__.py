"""Weights that describe themselves: safetensors whose header rebuilds the network and tells how to feed it."""

from featherbone.weights.importers import Imported as Imported
from featherbone.weights.importers import import_weights as import_weights
from featherbone.weights.importers import load_weights as load_weights
from featherbone.weights.store import FILE_NAME as FILE_NAME
from featherbone.weights.store import Header as Header
from featherbone.weights.store import Network as Network
from featherbone.weights.store import Row as Row
from featherbone.weights.store import load as load
from featherbone.weights.store import read_header as read_header
from featherbone.weights.store import row_from_dict as row_from_dict
from featherbone.weights.store import row_to_dict as row_to_dict
from featherbone.weights.store import save as save
