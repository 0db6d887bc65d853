"""G.711 µ-law there and back, in numpy."""

import numpy as np


def through_ulaw(pcm):
    """What a µ-law call makes of int16 samples."""
    pcm = pcm.astype(int)
    biased = np.minimum((np.where(pcm < 0, ~pcm, pcm) >> 2) + 33, 0x1FFF)
    segment = np.floor(np.log2(biased)).astype(int) - 5
    interval = (biased >> (segment + 1)) & 15
    magnitude = 4 * (((2 * interval + 33) << segment) - 33)
    return np.where(pcm < 0, -magnitude, magnitude).astype("<i2")
