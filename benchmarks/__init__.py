# SPDX-License-Identifier: Apache-2.0
"""Timings of the package beside other ways to do the same; see ``python -m benchmarks --help``."""
