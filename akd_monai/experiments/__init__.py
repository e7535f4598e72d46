# SPDX-License-Identifier: Apache-2.0
"""Comparing trainings: statistics over cases, pictures, and a report that opens offline.

Nothing is imported here, so that each module loads only what it needs.
"""
