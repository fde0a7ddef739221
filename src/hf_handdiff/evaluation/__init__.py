"""Metrics, protocols, calibration and benchmarks. Knows no model: predictions come from a callable.

Importing this package is cheap; its modules import torch.
"""
