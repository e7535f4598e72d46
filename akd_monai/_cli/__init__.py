# SPDX-License-Identifier: Apache-2.0
"""The verbs of the command line: thin doors to public functions, their help, and old words that are still accepted."""

__all__: list[str] = []
