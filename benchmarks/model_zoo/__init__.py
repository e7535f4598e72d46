# SPDX-License-Identifier: Apache-2.0
"""The Model Zoo's segmentation bundles as teacher and as student: ``python -m benchmarks.model_zoo``."""
