# SPDX-License-Identifier: Apache-2.0
"""Check a prepared folder."""
