"""Rewrite a network exactly, write it for an engine, and prove that the engine gives the same answers."""

from featherbone.deploy.choice import OptimizeReport as OptimizeReport
from featherbone.deploy.export import Exported as Exported
from featherbone.deploy.export import export_network as export_network
from featherbone.deploy.optimize import Optimized as Optimized
from featherbone.deploy.optimize import optimize_network as optimize_network
from featherbone.deploy.quantise import Int8Report as Int8Report
from featherbone.deploy.quantise import Quantised as Quantised
from featherbone.deploy.quantise import quantised as quantised
from featherbone.deploy.ready import Contents as Contents
