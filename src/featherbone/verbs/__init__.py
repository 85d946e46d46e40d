"""The whole paths: from data to a run, from a run to predictions, from a run to a file for a device.

Each verb composes the rooms below it (models, data, runs, training, weights, deploy) and holds no mathematics of its
own.
"""
