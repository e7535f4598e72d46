# SPDX-License-Identifier: Apache-2.0
"""Batches of one image, in losses that compare images with each other."""

from __future__ import annotations

import logging

from akd_monai.errors import InputError

__all__ = ["LoneImages"]

logger = logging.getLogger(__name__)


class LoneImages:
    """Let a batch of one image pass that may be the last one of an epoch, and say so once.

    Args:
        loss: name of the loss, for messages.
    """

    def __init__(self, loss: str) -> None:
        self.loss = loss
        self.has_warned = False
        self.last: int | None = None

    def see(self, images: int) -> None:
        """Take note of a batch.

        Raises:
            InputError: if two batches of one image follow each other: then they are the rule.
        """
        if images == 1 and self.last == 1:
            raise InputError(
                f"{self.loss} compares the images of a batch, and batches of one have a loss and a gradient of 0",
                remedy="use batches of two or more images, or leave the term out",
            )
        if images == 1 and not self.has_warned:
            self.has_warned = True
            logger.warning("a batch of one image adds 0 to %s; set drop_last of the loader.", self.loss)
        self.last = images
