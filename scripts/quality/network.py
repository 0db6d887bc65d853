"""Seeded networks: for each packet of 20 ms its transit in milliseconds, or None if it is lost."""

import math
import random

import loss

PTIME_MS = 20
# Packets of a clip.
PART = 400
# Without jitter all packets take this long; the rest comes on top.
BASE_MS = 10

# Name, what the network does, and how far the sender's clock is off in ppm.
JITTER = [
    ("jitter 20 ms", lambda rng, n: gamma(rng, n, 20, spikes=False), 0),
    ("jitter 50 ms, spikes", lambda rng, n: gamma(rng, n, 50), 0),
    ("jitter 100 ms, spikes", lambda rng, n: gamma(rng, n, 100), 0),
    ("jitter 150 ms, spikes", lambda rng, n: gamma(rng, n, 150), 0),
    ("Wi-Fi bursts", lambda rng, n: wifi(rng, n), 0),
    ("drift +200 ppm, jitter 20 ms", lambda rng, n: gamma(rng, n, 20, spikes=False), 200),
    ("drift -200 ppm, jitter 20 ms", lambda rng, n: gamma(rng, n, 20, spikes=False), -200),
    ("jitter 50 ms, spikes, 3 % lost", lambda rng, n: lossy(rng, gamma(rng, n, 50), 0.03), 0),
]


def in_order(transits):
    """The same, but no packet overtakes another: those held up come right after each other."""
    latest, out = -math.inf, []
    for n, transit in enumerate(transits):
        latest = max(n * PTIME_MS + transit, latest + 0.1)
        out.append(latest - n * PTIME_MS)
    return out


def gamma(rng, packets, p95_ms, spikes=True):
    """Independent jitter below `p95_ms` for 95 % of the packets, which stay in order. With spikes,
    every five seconds or so a packet meets twice that (at most 300 ms), and holds up its
    followers."""
    # The 95th percentile of a gamma distribution of shape 2 is 4.744 times its scale.
    transits = [BASE_MS + rng.gammavariate(2, p95_ms / 4.744) for _ in range(packets)]
    if spikes:
        at = rng.expovariate(1 / 250)
        while at < packets:
            transits[int(at)] += min(2 * p95_ms, 300)
            at += rng.expovariate(1 / 250)
    return in_order(transits)


def wifi(rng, packets):
    """Calm, but every 1.2 s or so the channel is taken for 25 ms and more (mean 70), after which
    everything held up comes at once."""
    free_at, at, transits = 0.0, rng.expovariate(1 / 1200), []
    for n in range(packets):
        now = n * PTIME_MS
        if now >= at:
            free_at = now + 25 + rng.expovariate(1 / 45)
            at = free_at + rng.expovariate(1 / 1200)
        transits.append(BASE_MS + rng.expovariate(1 / 2.5) + max(free_at - now, 0))
    return in_order(transits)


def lossy(rng, transits, share):
    lost = set(rng.sample(range(10, len(transits)), round(share * len(transits))))
    return [None if n in lost else transit for n, transit in enumerate(transits)]


def jittered(seed, packets, rule):
    return rule(random.Random(seed), packets)


def lost_only(seed, packets, share, burst):
    """No jitter. Each eight seconds have exactly the share of lost packets."""
    if not share:
        return [BASE_MS] * packets
    parts = [loss.pattern(f"{seed}/{part}", PART, share, burst) for part in range(packets // PART)]
    return [None if letter == "1" else BASE_MS for letter in "".join(parts)]


def text(transits):
    """As the program under test reads it."""
    return ",".join("-" if t is None else str(round(t * 1000)) for t in transits)
