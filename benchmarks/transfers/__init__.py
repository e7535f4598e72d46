# SPDX-License-Identifier: Apache-2.0
"""Two transfers between foreign 3D bundles on synthetic shapes: ``python -m benchmarks.transfers``."""
