# SPDX-License-Identifier: Apache-2.0
"""Damaged volume files of every format, fed to prepare, verify, inference and training: ``python -m tests.mutants``."""
