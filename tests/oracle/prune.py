"""Ten steps of pruning by policy gradient (arXiv 2406.10576) in NumPy.

    prune.py GIVEN.json AFTER.json

GIVEN holds scores [units], masks [steps * samples, units], losses [steps, samples] with null for NaN, rates [steps], the
window of the baseline, and scopes with the budget of each. AFTER is the list of scores after the last step.
"""

import json
import sys
from pathlib import Path

import numpy as np


def main():
    given = json.loads(Path(sys.argv[1]).read_text())
    scores, masks = np.array(given["scores"], np.float64), np.array(given["masks"], np.float64)
    losses = np.array(given["losses"], np.float64)
    samples = losses.shape[1]
    masks = masks.reshape(len(losses), samples, -1)
    baseline = None
    for number, (mask, loss, rate) in enumerate(zip(masks, losses, given["rates"])):
        usable = np.isfinite(loss)
        mean = loss[usable].mean()
        baseline = mean if number == 0 else baseline
        baseline = (1 - 1 / given["window"]) * baseline + mean / given["window"]
        excess = (loss - baseline)[usable, None]
        scale = np.sqrt((scores + 1e-7) * (1 - scores + 1e-7))
        gradient = (excess * (mask[usable] - scores) / scale).sum(0) / (samples - 1)
        scores = scores - rate * gradient
        parts = np.split(scores, given["scopes"])
        scores = np.concatenate([project(part, given["budget"]) for part in parts])
    Path(sys.argv[2]).write_text(json.dumps(scores.tolist()))


def project(scores, budget):
    def clamped(shift):
        return np.clip(scores - shift, 0, 1)

    if clamped(0).sum() <= budget:
        return clamped(0)
    low, high = 0, scores.max()
    for _ in range(21):
        shift = (low + high) / 2
        excess = clamped(shift).sum() - budget
        if abs(excess) < 1e-3:
            break
        low, high = (shift, high) if excess > 0 else (low, shift)
    return clamped(shift)


main()
