"""The whole paths: from data to a run, from a run to answers, from a run to a file for a device.

Each verb composes the rooms below it (models, data, train, weights, deploy) and holds no mathematics of its own.
"""
