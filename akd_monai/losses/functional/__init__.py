# SPDX-License-Identifier: Apache-2.0
"""The mathematics of the three distillation terms as pure functions on tensors.

All of them take 2D maps ``[B, C, H, W]`` and 3D maps ``[B, C, H, W, D]``, compute in float32 (float64 stays float64)
with autocast off, and let no gradient reach the teacher. The results have the type of the computation.
"""

from __future__ import annotations

from akd_monai.losses.functional.affinity import affinity_loss, affinity_terms
from akd_monai.losses.functional.gram import gram_loss
from akd_monai.losses.functional.logits import logits_kl

__all__ = ["affinity_loss", "affinity_terms", "gram_loss", "logits_kl"]
