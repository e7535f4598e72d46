# SPDX-License-Identifier: Apache-2.0
"""Layers that train faster on a CPU than PyTorch's own."""
