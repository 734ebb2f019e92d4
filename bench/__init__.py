"""Benchmarks: ratios to a baseline measured in the same run, CPU first, with machine and command."""
