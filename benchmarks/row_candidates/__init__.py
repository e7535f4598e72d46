# SPDX-License-Identifier: Apache-2.0
"""Other ways to store the rows of a teacher cache, each with the methods of ``akd_monai.teachers._rows.RowStore``."""
