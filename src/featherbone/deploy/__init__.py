"""Rewrite a network exactly, write it for an engine, and verify that the engine gives the same outputs."""

from featherbone.deploy.bundle import Contents as Contents
from featherbone.deploy.export import Exported as Exported
from featherbone.deploy.export import export_network as export_network
from featherbone.deploy.optimize import Optimized as Optimized
from featherbone.deploy.optimize import optimize_network as optimize_network
from featherbone.deploy.optimize_report import OptimizeReport as OptimizeReport
from featherbone.deploy.quantize import Int8Report as Int8Report
from featherbone.deploy.quantize import Quantized as Quantized
from featherbone.deploy.quantize import quantized as quantized
