# SPDX-License-Identifier: Apache-2.0
"""Algorithms of the affinity loss; the only door is :mod:`akd_monai.losses.functional`."""
