"""Seeded patterns of lost packets: text of `0` (arrived) and `1` (lost), one per packet."""

import random

# Name, share of lost packets, mean length of a burst (1: every packet alone decides).
CONDITIONS = [
    ("1 %", 0.01, 1),
    ("3 %", 0.03, 1),
    ("5 %", 0.05, 1),
    ("10 %", 0.10, 1),
    ("20 %", 0.20, 1),
    ("10 % in bursts (mean 2)", 0.10, 2),
]


def pattern(seed, packets, share, burst):
    """Exactly `share` of the packets lost (rounded up), so that no clip is lucky.

    With a burst of 1, a random choice of places; longer bursts by the two-state Markov chain of
    Gilbert, drawn again until its share is right. The first ten packets always arrive: a
    concealer with no history has nothing to show.
    """
    rng = random.Random(seed)
    spare = 10
    lost = max(1, round(share * packets))
    if burst == 1:
        places = set(rng.sample(range(spare, packets), lost))
        return "".join("1" if n in places else "0" for n in range(packets))
    leave = 1 / burst
    enter = share * leave / (1 - share)
    while True:
        text, bad = "0" * spare, False
        for _ in range(packets - spare):
            bad = rng.random() >= leave if bad else rng.random() < enter
            text += "01"[bad]
        if text.count("1") == lost:
            return text
