# SPDX-License-Identifier: Apache-2.0
"""SYNTHETIC pelvic anatomy around a gland, painted slice by slice as a clean T2-weighted image in tissue units.

The order of painting is the order of depth: fat, muscles, bones, bladder, rectum, gland. Positions are in mm from the
gland's centre: x towards the left, y towards the back, z towards the head.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from akd_monai.prostate.phantom._canvas import Box, Canvas, Texture, Warp
from akd_monai.prostate.phantom._gland import Gland

__all__ = ["TISSUES", "Anatomy"]

Array = NDArray[np.float32]

# T2-weighted signal, bladder = 1
TISSUES: dict[str, float] = {
    "air": 0.0,
    "fat": 0.62,
    "muscle": 0.13,
    "cortex": 0.05,
    "marrow": 0.46,
    "urine": 1.0,
    "wall": 0.22,
    "gas": 0.01,
    "stool": 0.30,
    "vessel": 0.05,
    "plexus": 0.55,
    "vesicles": 0.60,
    "peripheral": 0.66,
    "central": 0.33,
    "stroma": 0.14,
    "capsule": 0.17,
}


class Anatomy:
    """One patient: a gland and what lies around it. The same generator gives the same patient at any resolution.

    Args:
        gland: the gland.
        endorectal: whether an inflated endorectal coil fills the rectum.
        generator: source of all random numbers of the case.
        tissues: signal of each tissue, see ``TISSUES``.
        axis: positions of the pixels along x, and along y, in mm.
        slab_mm: extent along z that will be painted.
    """

    def __init__(
        self,
        gland: Gland,
        endorectal: bool,
        generator: np.random.Generator,
        tissues: Mapping[str, float],
        axis: Array,
        slab_mm: float,
    ) -> None:
        self.gland = gland
        self.endorectal = endorectal
        self.tissues = tissues
        self.axis = axis
        # The order of the draws belongs to the version of the phantom.
        self._size = generator.normal(1.0, 0.06)  # of the pelvis
        self._sides = {side: generator.normal(0, 1.5, size=(12, 2)) for side in (-1, 1)}
        self._bladder = np.array([34.0, 24.0, 26.0]) * generator.uniform(0.65, 1.25) * generator.normal(1, 0.08, 3)
        self._bladder_shift = generator.normal(0, 3, 3)
        self._rectum = generator.uniform(18, 22) if endorectal else generator.uniform(9, 17)
        self._rectum_x = generator.normal(0, 3)
        self._lumen = "gas" if endorectal else str(generator.choice(["gas", "stool", "wall"]))
        nodules = int(generator.integers(6, 16))
        self._nodules = generator.uniform(-1, 1, size=(nodules, 3)) * [0.8, 0.7, 0.8]
        self._nodule_size = generator.uniform(2.0, 7.0, len(self._nodules))
        self._nodule_signal = generator.uniform(0.55, 1.9, len(self._nodules))
        self._warp = Warp(generator)
        self._texture = Texture(int(generator.integers(2**32)), axis, slab_mm)

    def coil_centre(self, z: float) -> tuple[float, float, float]:
        """Return x and y of the rectum's centre at ``z`` and its half height there, all in mm."""
        half_height = self._rectum * (0.8 if self.endorectal else 0.95)
        back = self.gland.height / 2 + half_height - (2.0 if self.endorectal else -1.5)
        return self._rectum_x, back + 0.08 * z, half_height

    def paint(self, z: float, thickness: float, samples: int) -> Array:
        """Return a slice ``[X, Y]`` at ``z`` mm, averaged over ``thickness`` mm by ``samples`` thin slices.

        Args:
            z: middle of the slice.
            thickness: mm, the partial volume along z.
            samples: thin slices to average.
        """
        offsets = ((np.arange(samples) + 0.5) / samples - 0.5) * thickness
        thin = [self._thin_slice(z + offset) for offset in offsets]
        painted: Array = np.mean(thin, axis=0, dtype=np.float32)
        return painted

    def label(self, z: float) -> NDArray[np.uint8]:
        """Return the gland's mask ``[X, Y]`` in the plane at ``z`` mm."""
        if abs(z) > self.gland.length / 2:
            return np.zeros((len(self.axis), len(self.axis)), np.uint8)
        x, y = self._warp(self.axis, z)
        return (self.gland.radius(x, y, z) < 1).astype(np.uint8)

    def _thin_slice(self, z: float) -> Array:
        x, y = self._warp(self.axis, z)
        canvas = Canvas(self.axis, x, y, *self._texture.at(z), self.tissues)
        self._paint_body(canvas)
        self._paint_muscles(canvas, z)
        self._paint_bones(canvas, z)
        self._paint_vessels(canvas)
        self._paint_levator(canvas, z)
        self._paint_bladder(canvas, z)
        self._paint_rectum(canvas, z)
        self._paint_gland(canvas, z)
        return canvas.image

    def _paint_body(self, canvas: Canvas) -> None:
        s = self._size
        canvas.image *= 1 - 0.2 * np.exp(-((canvas.fine / 0.35) ** 2))  # septa in the fat
        outside = ((canvas.x / (182 * s)) ** 2 + ((canvas.y - 6) / (108 * s)) ** 2) > 1
        canvas.image[outside] = self.tissues["air"]

    def _pair(
        self,
        canvas: Canvas,
        number: int,
        tissue: str,
        cx: float,
        cy: float,
        rx: float,
        ry: float,
        angle: float = 0.0,
        **how: float,
    ) -> None:
        """Paint a structure on both sides, each side a little different; ``number`` says which structure."""
        for side, shifts in self._sides.items():
            dx, dy = shifts[number]
            s = self._size
            canvas.ellipse(tissue, side * (cx * s + dx), cy * s + dy, rx * s, ry * s, side * angle, **how)

    def _paint_muscles(self, canvas: Canvas, z: float) -> None:
        streaks = {"streaks": 0.6}
        self._pair(canvas, 0, "muscle", 66, 74 - 0.1 * z, 60, 23, -0.42, **streaks)  # gluteus maximus
        self._pair(canvas, 1, "muscle", 88, -60, 26, 19, 0.3, texture=0.25)  # iliopsoas, sartorius
        self._pair(canvas, 2, "muscle", 108, 30, 14, 34, 0.2, **streaks)  # lateral rotators
        if z > -18:
            canvas.ellipse("muscle", 0, -86 * self._size, 52, 5.0, texture=0.3)  # rectus abdominis
        if z < 4:
            self._pair(canvas, 3, "muscle", 50, -64, 24, 13, 0.5, **streaks)  # pectineus
            self._pair(canvas, 4, "muscle", 57, -24, 20, 16, 0.6, **streaks)  # obturator externus
        lean = 0.10 - 0.0035 * z  # towards the symphysis further down
        self._pair(canvas, 5, "muscle", 50 + 0.10 * z, 0, 11, 42, lean, power=2.6, texture=0.25)  # obturator internus

    def _paint_bones(self, canvas: Canvas, z: float) -> None:
        def bone(number: int, cx: float, cy: float, rx: float, ry: float, angle: float = 0.0) -> None:
            self._pair(canvas, number, "cortex", cx, cy, rx, ry, angle)
            self._pair(canvas, number, "marrow", cx, cy, rx - 2.2, ry - 2.2, angle, texture=0.12)

        head = 25.0**2 - (z - 6) ** 2
        bone(6, 69 + 0.05 * z, -32, 14, 17, -0.5)  # front column of the acetabulum
        bone(7, 72 + 0.05 * z, 25, 12, 21, 0.35)  # back column, ischium
        if head > 9:
            self._pair(canvas, 8, "fat", 90, -6, head**0.5 + 2.0, head**0.5 + 2.0)
            bone(8, 90, -6, head**0.5, head**0.5)
        if z < 2:
            reach = min(1.0, (2 - z) / 12)
            bone(9, 27, -52 + 0.25 * (z + 10), 25 * reach + 3, 9 * reach + 2.5, 0.42)  # pubis
            canvas.ellipse("muscle", 0, (-57 + 0.25 * (z + 10)) * self._size, 3.5, 11 * reach)  # symphysis

    def _paint_vessels(self, canvas: Canvas) -> None:
        for number, (cx, cy, radius) in enumerate([(62, -74, 5.5), (51, -70, 6.5)], start=10):
            self._pair(canvas, number, "wall", cx, cy, radius, radius)
            self._pair(canvas, number, "vessel", cx, cy, radius - 1.2, radius - 1.2)

    def _paint_levator(self, canvas: Canvas, z: float) -> None:
        up = z + self.gland.length / 2
        if up > self.gland.length * 0.75:
            return
        share = float(np.clip(up / self.gland.length + 0.3, 0, 1))
        half_width = self.gland.width / 2 * (0.35 + 0.7 * share) + 6
        back = self.gland.height / 2 + 16
        thick = 6.5 - 3.5 * share
        canvas.ellipse("muscle", 0, back / 2 - 4, half_width, back / 2 + 26, power=2.3)
        canvas.ellipse("fat", 0, back / 2 - 6, half_width - thick, back / 2 + 24 - thick, power=2.3, texture=0.15)
        # the sling is open towards the symphysis, where veins lie
        canvas.ellipse("plexus", 0, -self.gland.height / 2 - 7, half_width * 0.75, 10, texture=0.3)
        if up < 3:  # the sphincter of the urethra, below the apex
            canvas.ellipse("muscle", 0, -2, 8.5, 8.5, texture=0.2)
            canvas.ellipse("central", 0, -2, 4.5, 4.5, texture=0.2)

    def _paint_bladder(self, canvas: Canvas, z: float) -> None:
        radii = self._bladder
        shift = self._bladder_shift
        up = z - (self.gland.length / 2 + 0.55 * radii[2] + shift[2])
        cy = -self.gland.height / 2 - 0.25 * radii[1] + shift[1] + 0.3 * up
        for tissue, margin in (("wall", 0.0), ("urine", 3.5)):
            scale = 1 - (up / (radii[2] - margin)) ** 2
            if scale > 0.01:
                rx, ry = (radii[:2] - margin) * scale**0.5
                canvas.ellipse(tissue, shift[0], cy, rx, ry, power=2.6)
        if -5 < z - self.gland.length / 2 < 16:
            for side in (-1, 1):
                canvas.ellipse("vesicles", side * 15, self.gland.height / 2 - 9, 15, 6, side * -0.25, texture=0.35)

    def _paint_rectum(self, canvas: Canvas, z: float) -> None:
        cx, cy, half_height = self.coil_centre(z)
        low = np.clip((z + self.gland.length / 2 + 8) / 12, 0, 1)  # the anal canal, below the apex
        rx = 10 + (self._rectum - 10) * low
        ry = 10 + (half_height - 10) * low
        wall = 2.0 if self.endorectal and low > 0.5 else 3.2
        canvas.ellipse("wall", cx, cy, rx, ry, texture=0.2)
        if low > 0.2:
            mottled = 0.9 if self._lumen == "stool" else 0.1
            canvas.ellipse(self._lumen, cx, cy, (rx - wall) * low, (ry - wall) * low, texture=mottled)
            if self.endorectal:
                canvas.ellipse("wall", cx, cy - 0.4 * ry, 0.35 * rx, 1.2)  # the coil's loop

    def _paint_gland(self, canvas: Canvas, z: float) -> None:
        half_width, half_height, centre = self.gland.section(z)
        if half_width < 0.5:
            return
        box = canvas.box(0, centre, half_width * 1.4 + 8, half_height * 1.4 + 8)
        x = canvas.x[box]
        y = canvas.y[box]
        least = min(half_width, half_height)
        radius = self.gland.radius(x, y, z)
        canvas.cover("plexus", box, (radius - 1) * least - 3.5, texture=0.3)
        canvas.cover("capsule", box, (radius - 1) * least)
        canvas.cover("peripheral", box, (radius - 1) * least + 1.1, texture=0.22)
        share = self.gland.central_share(z) ** 0.5
        # the central gland leans on the front of the outline
        front = centre - 0.85 * half_height * (1 - share)
        rx = half_width * share * 0.94
        ry = half_height * share * 0.94
        u = x / rx
        v = (y - front) / ry
        inner = np.maximum(np.sqrt(u**2 + v**2), radius)
        canvas.cover("capsule", box, (inner - 1) * min(rx, ry))
        canvas.cover("central", box, (inner - 1) * min(rx, ry) + 0.9, texture=0.3)
        self._paint_nodules(canvas, box, z, x, y - front, rx, ry)
        stroma = np.sqrt((u / 0.42) ** 2 + ((v + 0.85) / 0.28) ** 2)
        canvas.cover("stroma", box, np.maximum((stroma - 1) * 4, (inner - 1) * min(rx, ry)))
        canvas.cover("peripheral", box, np.sqrt(x**2 + (y - front - 0.25 * ry) ** 2) - 1.6)  # urethra

    def _paint_nodules(self, canvas: Canvas, box: Box, z: float, x: Array, y: Array, rx: float, ry: float) -> None:
        for place, size, signal in zip(self._nodules, self._nodule_size, self._nodule_signal, strict=True):
            reach = min(size, 0.5 * rx, 0.5 * ry) ** 2 - (z - place[2] * self.gland.length / 2) ** 2
            if reach <= 0.5:
                continue
            distance = np.sqrt((x - place[0] * (rx - reach**0.5)) ** 2 + (y - place[1] * (ry - reach**0.5)) ** 2)
            canvas.cover("capsule", box, distance - reach**0.5, strength=0.7)
            canvas.cover("central", box, distance - reach**0.5 + 0.9, texture=0.25, gain=float(signal))
