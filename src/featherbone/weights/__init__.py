"""Weights that describe themselves: safetensors whose header rebuilds the network and tells how to feed it."""

from featherbone.weights.importing import Imported as Imported
from featherbone.weights.importing import import_weights as import_weights
from featherbone.weights.importing import load_weights as load_weights
from featherbone.weights.store import FILE_NAME as FILE_NAME
from featherbone.weights.store import Header as Header
from featherbone.weights.store import load as load
from featherbone.weights.store import read_header as read_header
from featherbone.weights.store import save as save
