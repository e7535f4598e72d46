# SPDX-License-Identifier: Apache-2.0
"""Where a teacher's maps come from: the network itself, or a cache of what it returned."""
