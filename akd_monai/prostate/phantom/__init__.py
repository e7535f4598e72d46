# SPDX-License-Identifier: Apache-2.0
"""Synthetic prostate MRI of six sites."""
