# SPDX-License-Identifier: Apache-2.0
"""Prostate MRI: its public sources, checks of prepared data, and a synthetic set."""
