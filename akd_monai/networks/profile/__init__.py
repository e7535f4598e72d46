# SPDX-License-Identifier: Apache-2.0
"""What a network costs: parameters, operations, time, memory."""
