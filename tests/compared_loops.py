# SPDX-License-Identifier: Apache-2.0
"""The losses of other methods a second time, pixel by pixel in NumPy float64."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product

import numpy as np

Map = np.ndarray


def unit(vector: Map) -> Map:
    """Return a vector of length 1; zeros stay zeros."""
    length = np.sqrt(sum(x * x for x in vector))
    return vector / length if length > 0 else vector


def cosine(a: Map, b: Map) -> float:
    """Return the cosine of two vectors."""
    return float(sum(x * y for x, y in zip(unit(a), unit(b), strict=True)))


def softmax(vector: Map) -> Map:
    """Return the softmax of a vector."""
    exponentials = np.exp(vector - vector.max())
    return exponentials / exponentials.sum()


def divergence(p: Map, q: Map) -> float:
    """Return KL(p || q)."""
    return float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True)))


def pixels(image: Map) -> list[Map]:
    """Return the vectors of an image ``[C, *spatial]``."""
    return [image[(slice(None), *place)] for place in np.ndindex(*image.shape[1:])]


def attention(student: Map, teacher: Map, power: float = 2, reduction: str = "mean") -> float:
    """Attention transfer."""
    total = 0.0
    for images in zip(student, teacher, strict=True):
        ours, theirs = (unit(np.array([np.mean(np.abs(x) ** power) for x in pixels(image)])) for image in images)
        distance = sum((a - b) ** 2 for a, b in zip(ours, theirs, strict=True))
        total += distance / len(ours) if reduction == "mean" else distance
    return total / len(student)


def channel_wise(student: Map, teacher: Map, temperature: float = 4) -> float:
    """Channel-wise distillation."""
    total = 0.0
    for b, c in np.ndindex(*student.shape[:2]):
        ours, theirs = (softmax(maps[b, c].ravel() / temperature) for maps in (student, teacher))
        total += divergence(theirs, ours)
    return temperature**2 * total / (student.shape[0] * student.shape[1])


def nodes(image: Map, count: int, pool: Callable[[Map], float]) -> list[Map]:
    """Return pooled patches of an image whose sides are multiples of ``count``."""
    found = []
    for place in product(range(count), repeat=image.ndim - 1):
        steps = [side // count for side in image.shape[1:]]
        window = tuple(slice(i * step, (i + 1) * step) for i, step in zip(place, steps, strict=True))
        found.append(np.array([pool(channel[window]) for channel in image]))
    return found


def node_structure(student: Map, teacher: Map, count: int, pool: Callable[[Map], float]) -> float:
    """Similarities of pooled patches."""
    total = 0.0
    for images in zip(student, teacher, strict=True):
        ours, theirs = (nodes(image, count, pool) for image in images)
        pairs = list(product(range(len(ours)), repeat=2))
        total += sum((cosine(ours[r], ours[s]) - cosine(theirs[r], theirs[s])) ** 2 for r, s in pairs) / len(pairs)
    return total / len(student)


def similarity_preserving(student: Map, teacher: Map) -> float:
    """Similarity-preserving distillation."""
    images = len(student)
    matrices = []
    for maps in (student, teacher):
        products = [[float(np.sum(a * b)) for b in maps.reshape(images, -1)] for a in maps.reshape(images, -1)]
        matrices.append([unit(np.array(row)) for row in products])
    return float(np.sum((np.array(matrices[0]) - np.array(matrices[1])) ** 2)) / images**2


def cross_image(student: Map, teacher: Map, temperature: float = 1) -> float:
    """The mini-batch part of cross-image relational distillation."""
    total = 0.0
    for b, d in product(range(len(student)), repeat=2):
        rows = []
        for maps in (student, teacher):
            rows.append([[cosine(x, y) / temperature for y in pixels(maps[d])] for x in pixels(maps[b])])
        divergences = [divergence(softmax(np.array(t)), softmax(np.array(s))) for s, t in zip(*rows, strict=True)]
        total += sum(divergences) / len(divergences)
    return total / len(student) ** 2


def dist(student: Map, teacher: Map, beta: float = 1, gamma: float = 1, temperature: float = 1) -> float:
    """DIST."""
    ours, theirs = ([softmax(x / temperature) for image in maps for x in pixels(image)] for maps in (student, teacher))
    between = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(ours, theirs, strict=True)])
    within = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(np.transpose(ours), np.transpose(theirs), strict=True)])
    return float(temperature**2 * (beta * (1 - between) + gamma * (1 - within)))


def mean_of(image: Map, label: Map, region: int) -> Map:
    """Return the mean vector of the pixels of a region."""
    chosen = [x for x, k in zip(pixels(image), label.ravel(), strict=True) if k == region]
    return sum(chosen) / len(chosen)


def region_affinity(student: Map, teacher: Map, labels: Map) -> float:
    """Region affinity, for labels ``[B, *spatial]`` of the map's size."""
    total = 0.0
    for ours, theirs, label in zip(student, teacher, labels, strict=True):
        squares = []
        for k, m in combinations(sorted(set(label.ravel()) - {255}), 2):
            first, second = (cosine(mean_of(image, label, k), mean_of(image, label, m)) for image in (ours, theirs))
            squares.append((first - second) ** 2)
        total += float(np.mean(squares)) if squares else 0.0
    return total / len(student)


def intra_class(student: Map, teacher: Map, labels: Map) -> float:
    """Intra-class feature variation, for labels ``[B, *spatial]`` of the map's size."""
    squares = []
    for ours, theirs, label in zip(student, teacher, labels, strict=True):
        for place in np.ndindex(*label.shape):
            if label[place] != 255:
                first, second = (
                    cosine(image[(slice(None), *place)], mean_of(image, label, label[place]))
                    for image in (ours, theirs)
                )
                squares.append((first - second) ** 2)
    return float(np.mean(squares))


def mskd_filter(student: Map, teacher: Map, power: float = 0.6) -> float:
    """The filtered maps of the MSKD-style loss."""
    total = 0.0
    for images in zip(student, teacher, strict=True):
        filtered = []
        for image in images:
            active = np.maximum(image, 0)
            importance = [channel.mean() for channel in active]
            filtered.append(unit(np.array([np.dot(importance, x) for x in pixels(active)])))
        scaled = (filtered[1] - filtered[1].mean()) / filtered[1].std()
        sigma = 1 / (1 + np.exp(-scaled))
        weight = np.maximum(sigma, 1 - sigma) ** power
        weight /= weight.mean()
        total += float(np.sum(weight * (filtered[0] - filtered[1]) ** 2))
    return total / len(student)
