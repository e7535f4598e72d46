# SPDX-License-Identifier: Apache-2.0
"""Draw the pictures of the first page into ``docs/images``.

    python docs/figures.py                                  the method
    python docs/figures.py table4-small/report/index.html   the method, and the top of that report by a headless Chromium

The report of the first page is that of the experiment ``table4-small``; ``docs/results/table4-small.md`` has its command.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

IMAGES = Path(__file__).resolve().parent / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TEACHER = "#5b6b8c"
STUDENT = "#1a7f6b"
TERM = "#b5562c"
INK = "#222222"


def box(axes: Axes, x: float, y: float, width: float, height: float, text: str, colour: str, *, filled: bool) -> None:
    """Draw a rounded box with a label."""
    shape = FancyBboxPatch(
        (x, y),
        width,
        height,
        boxstyle="round,pad=0.02,rounding_size=0.08",
        linewidth=1.6,
        edgecolor=colour,
        facecolor=colour if filled else "white",
    )
    axes.add_patch(shape)
    axes.text(
        x + width / 2, y + height / 2, text, ha="center", va="center", color="white" if filled else INK, fontsize=10
    )


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, style: str = "-") -> None:
    """Draw an arrow."""
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, linewidth=1.5, color=colour, linestyle=style)
    )


def draw_method(path: Path) -> None:
    """Draw teacher, student, and what compares them."""
    figure, axes = plt.subplots(figsize=(9.0, 3.9), dpi=110)
    axes.set_xlim(0, 9)
    axes.set_ylim(0, 3.9)
    axes.axis("off")
    box(axes, 0.1, 1.45, 1.25, 0.9, "image of the\ntarget site", INK, filled=False)
    box(axes, 2.0, 2.75, 2.0, 0.9, "teacher, frozen\n(other sites)", TEACHER, filled=True)
    box(axes, 2.0, 0.2, 2.0, 0.9, "student, light\n(target site)", STUDENT, filled=True)
    terms = ("logits: KL of class probabilities", "Gram matrix of features", "affinity of neighbouring pixels")
    for place, text in enumerate(terms):
        box(axes, 4.75, 2.35 - 0.52 * place, 2.75, 0.38, text, TERM, filled=False)
    box(axes, 4.75, 0.3, 2.75, 0.45, "task loss with the labels", STUDENT, filled=False)
    box(axes, 7.95, 1.35, 0.95, 0.7, "sum", INK, filled=False)
    arrow(axes, (0.9, 2.4), (1.96, 3.1), INK)
    arrow(axes, (0.9, 1.4), (1.96, 0.7), INK)
    for place in range(3):
        height = 2.54 - 0.52 * place
        arrow(axes, (4.06, 3.1), (4.71, height), TEACHER)
        arrow(axes, (4.06, 0.75), (4.71, height), STUDENT)
        arrow(axes, (7.56, height), (7.91, 1.7), TERM)
    arrow(axes, (4.06, 0.55), (4.71, 0.52), STUDENT)
    arrow(axes, (7.56, 0.52), (7.91, 1.6), STUDENT)
    axes.plot([8.42, 8.42, 3.0], [1.3, 0.04, 0.04], color=STUDENT, linestyle="--", linewidth=1.4)
    arrow(axes, (3.0, 0.03), (3.0, 0.19), STUDENT)
    axes.text(5.9, 0.1, "gradient, to the student alone", ha="center", color=STUDENT, fontsize=9)
    figure.savefig(path, bbox_inches="tight", facecolor="white", metadata={"Software": None})
    plt.close(figure)


def picture_report(page: Path, path: Path) -> None:
    """Take a picture of the top of a report."""
    browser = next((found for found in map(shutil.which, BROWSERS) if found), None)
    if browser is None:
        sys.exit(f"no browser: install one of {', '.join(BROWSERS)}, or leave the report out")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1000,810"]
    command = [browser, *flags, f"--screenshot={path}", page.resolve().as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def main() -> None:
    """Draw what the command line asks for."""
    IMAGES.mkdir(exist_ok=True)
    draw_method(IMAGES / "method.png")
    if len(sys.argv) > 1:
        picture_report(Path(sys.argv[1]), IMAGES / "report.png")


if __name__ == "__main__":
    main()
