"""Rewrite a network exactly, write it for an engine, and prove that the engine gives the same answers."""

from featherbone.deploy.export import Exported as Exported
from featherbone.deploy.export import export_network as export_network
from featherbone.deploy.ready import Contents as Contents
