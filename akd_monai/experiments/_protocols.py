# SPDX-License-Identifier: Apache-2.0
"""What each protocol means, as reports say it."""

from __future__ import annotations

__all__ = ["IN_WORDS", "PROTOCOLS"]

IN_WORDS = {
    "cross_site": "teacher trained at the source sites, students at the target site",
    "loso": "teacher and students trained at the source sites alone",
}

PROTOCOLS = {
    "cross_site": (
        "The teacher was trained at the source sites and never saw the target site. Each student was trained on the "
        "target site's training cases with their labels; the distilled one also followed the frozen teacher on the "
        "same images, with the same seed, data and schedule. All are evaluated on test cases of the target site that no "
        "training used. This is learning from few labelled cases with help from other sites; it is not domain "
        "generalisation, because the students see labels of the target site."
    ),
    "loso": (
        "Leave one site out: teacher and students were trained at the source sites alone, and everything was chosen on "
        "their validation cases. No image of the target site reached any training. All are evaluated on every case of the "
        "target site."
    ),
}
