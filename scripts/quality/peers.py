"""What other receivers do with a lost packet, for comparison on the same clips and losses.

`appendix_i` is written from public descriptions of G.711 Appendix I, not from its source: 10 ms
frames, pitch of 66 to 200 Hz by normalised correlation over 20 ms, one, two, then three periods
repeated, a quarter of a period overlapped at every joint, 20 % less per 10 ms after the first,
nothing after 60 ms. Its output is 30 samples late; they are cut off again before scoring.
"""

import numpy as np

FRAME = 80
PITCH_MIN, PITCH_MAX = 40, 120
CORRELATED = 160
OVERLAP_MAX = PITCH_MAX // 4
HISTORY = 390


def silence(pcm, lost):
    """Zeros for lost packets."""
    packet = len(pcm) // len(lost)
    out = pcm.copy()
    for n, flag in enumerate(lost):
        if flag == "1":
            out[n * packet : (n + 1) * packet] = 0
    return out


def repeat(pcm, lost):
    """The last packet again, half as loud each further time."""
    packet = len(pcm) // len(lost)
    out, gain = pcm.copy(), 1.0
    for n, flag in enumerate(lost):
        gain = 1.0 if flag == "0" else gain
        if flag == "1" and n:
            out[n * packet : (n + 1) * packet] = gain * out[(n - 1) * packet : n * packet]
            gain = 0.5
    return out


def ramp(count):
    return np.arange(1, count + 1) / count


def pitch_of(history):
    """The lag with the largest normalised correlation of the last 20 ms."""
    now = history[-CORRELATED:]
    best, best_lag = -np.inf, PITCH_MAX
    for lag in range(PITCH_MIN, PITCH_MAX + 1):
        then = history[-CORRELATED - lag : -lag]
        score = np.dot(now, then) / np.sqrt(max(np.dot(then, then), 250.0))
        if score >= best:
            best, best_lag = score, lag
    return best_lag


class AppendixI:
    """The state machine over 10 ms frames; `frame` gives 10 ms that are OVERLAP_MAX late."""

    def __init__(self):
        self.history = np.zeros(HISTORY)
        self.erased = 0

    def periods(self, count):
        """Makes the last `count` periods the template, its end smoothed into its start."""
        self.length = count * self.pitch
        end, lap = HISTORY, self.overlap
        before = self.real[end - self.length - lap : end - self.length]
        self.template = self.real.copy()
        up = ramp(lap)
        self.template[end - lap :] = self.last_quarter * (1 - up) + before * up

    def take(self, count):
        start = HISTORY - self.length
        at = start + (self.offset + np.arange(count)) % self.length
        self.offset = (self.offset + count) % self.length
        return self.template[at]

    def erase(self):
        if self.erased == 0:
            self.real = self.history.copy()
            self.pitch = pitch_of(self.history)
            self.overlap = self.pitch // 4
            self.last_quarter = self.real[-self.overlap :].copy()
            self.offset = 0
            self.periods(1)
            self.history[-self.overlap :] = self.template[-self.overlap :]
            out = self.take(FRAME)
        elif self.erased < 6:
            if self.erased < 3:
                old = self.offset
                tail = self.take(self.overlap)
                self.offset = old % self.pitch
                self.periods(self.erased + 1)
                out = self.take(FRAME)
                up = ramp(self.overlap)
                out[: self.overlap] = tail * (1 - up) + out[: self.overlap] * up
            else:
                out = self.take(FRAME)
            gain = 1 - 0.2 * (self.erased - 1)
            out = out * (gain - 0.2 * np.arange(FRAME) / FRAME)
        else:
            out = np.zeros(FRAME)
        self.erased += 1
        return out

    def frame(self, good):
        if good is None:
            out = self.erase()
        else:
            out = good.copy()
            if self.erased:
                lap = min(self.overlap + 32 * (self.erased - 1), FRAME)
                gain = max(1 - 0.2 * (self.erased - 1), 0.0)
                up = ramp(lap)
                tail = self.take(lap) * gain
                out[:lap] = tail * (1 - up) + out[:lap] * up
                self.erased = 0
        self.history = np.concatenate([self.history[FRAME:], out])
        return self.history[-FRAME - OVERLAP_MAX : -OVERLAP_MAX]


def appendix_i(pcm, lost):
    """G.711 Appendix I for 8 kHz, aligned with its input."""
    packet = len(pcm) // len(lost)
    plc, out = AppendixI(), []
    for at in range(0, len(pcm), FRAME):
        gone = lost[at // packet] == "1"
        out.append(plc.frame(None if gone else pcm[at : at + FRAME].astype(float)))
    whole = np.concatenate(out + [plc.frame(np.zeros(FRAME))])
    return np.round(whole[OVERLAP_MAX : OVERLAP_MAX + len(pcm)])
