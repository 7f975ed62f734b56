"""Balancers, workers and clients as processes."""
