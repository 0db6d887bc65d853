"""Tables of what the real playout buffer and the real bridge make of a call.

A clip is sent twice, with Opus three times, and a second of it once more. The last whole time is
scored and counted; what is before it is for the buffer to settle, and with Opus for the loss that
the receiver reports to the sender every five seconds.
"""

import json
import random
import subprocess

import numpy as np
from pesq import pesq

import corpus
import g711
import loss
import network

# How often a clip is sent before it is scored.
LEAD = {"g711": 1, "g722": 1, "opus": 2}
BANDS = {8000: "nb", 16000: "wb"}
# More delay than this no fixed buffer is given.
FIXED_MS_MAX = 500
LOST = [("0 %", 0, 1), *loss.CONDITIONS]


def run(program, *arguments, pcm):
    """The JSON line and the samples that the program under test answers with."""
    command = [program, *map(str, arguments)]
    done = subprocess.run(command, input=pcm.tobytes(), stdout=subprocess.PIPE, check=True)
    head, _, samples = done.stdout.partition(b"\n")
    return json.loads(head), np.frombuffer(samples, dtype="<i2")


def in_step(ref, positions, start, pulls, frame):
    """The reference with the delay changes of what was played put into it, at the same places: each
    with a cross-fade of 10 ms in the middle of the pull that changed it."""
    out = np.zeros(pulls * frame)
    lap = frame // 2
    fade = np.concatenate([np.zeros((frame - lap) // 2), (np.arange(lap) + 0.5) / lap])
    fade = np.concatenate([fade, np.ones(frame - len(fade))])
    for n in range(pulls):
        at, end = positions[start + n], positions[start + n + 1]
        early = ref[at : at + frame].astype(float)
        late = ref[end - frame : end].astype(float)
        out[n * frame : (n + 1) * frame] = early * (1 - fade) + late * fade
    return np.round(out).astype("<i2")


def play(job):
    """Scores one clip through one network: as it was played, and with the reference in step."""
    program, codec, rate, pcm, phase_us, transits, options, ways = job
    frame = rate // 50
    lead = LEAD[codec] * len(pcm)
    stream = np.concatenate([*[pcm] * (LEAD[codec] + 1), pcm[:rate]])
    report, heard = run(
        program, "playout", codec, network.text(transits), "--from", lead,
        "--phase-us", phase_us, *options, pcm=stream,
    )  # fmt: skip
    positions = report["positions"]
    start = next(n for n, at in enumerate(positions) if at >= lead)
    pulls = min(len(pcm) // frame, len(positions) - start - 1)
    out = heard[start * frame : (start + pulls) * frame]
    ref = g711.through_ulaw(stream) if rate == 8000 else stream
    if "played" in ways:
        at = positions[start]
        report["played"] = pesq(rate, ref[at : at + len(out)], out, BANDS[rate])
    if "step" in ways:
        report["step"] = pesq(
            rate, in_step(ref, positions, start, pulls, frame), out, BANDS[rate]
        )
    return report


def mean(reports, key):
    return np.mean([report[key] for report in reports])


class Lab:
    """Clips, workers and what was asked of them."""

    def __init__(self, program, seed, pool, clips, progress, every=1):
        self.program, self.seed, self.pool, self.clips = program, seed, pool, clips
        self.progress, self.every = progress, every

    def reports(self, codec, networks, options=(), ways=("played",), every=1, patterns=1):
        """Reports over all clips. `networks` makes transits of a seed and a number of packets, and
        may give options of its own. `every` leaves clips out."""
        rate = 8000 if codec == "g711" else 16000
        jobs = []
        for at, (clip, pcm) in list(enumerate(self.clips[rate]))[:: every * self.every]:
            # Pulls and packets meet at all phases alike.
            phase_us = 1250 * (at * 7 % 16) + 625
            for pattern in range(patterns):
                packets = (LEAD[codec] + 1) * network.PART
                transits, own = networks(f"{self.seed}/{clip}/{pattern}", packets)
                transits = [*transits, *transits[-50:]]
                asked = [*options, *own]
                jobs.append((self.program, codec, rate, pcm, phase_us, transits, asked, ways))
        return self.pool.map(play, jobs, chunksize=1)


def only_lost(share, burst):
    return lambda seed, packets: (network.lost_only(seed, packets, share, burst), [])


def row(cells):
    return "| " + " | ".join(cells) + " |"


def head(cells):
    return [row(cells), row(["---"] * len(cells))]


def lost_g711(lab):
    """G.711, lost packets, no jitter."""
    lines = head([
        "loss", "silence", "**Crosspoint**", "added delay", "concealed",
        "Crosspoint, 60 ms of delay",
    ])  # fmt: skip
    for name, share, burst in LOST:
        networks = only_lost(share, burst)
        patterns = 2 if share else 1
        ours = lab.reports("g711", networks, patterns=patterns)
        gaps = lab.reports("g711", networks, ["--filler", "silence"], patterns=patterns)
        late = lab.reports("g711", networks, ["--fixed-ms", 60], patterns=patterns)
        lines.append(row([
            name, f"{mean(gaps, 'played'):.2f}", f"{mean(ours, 'played'):.2f}",
            f"{mean(ours, 'delay_ms'):.0f} ms", f"{mean(ours, 'concealed_percent'):.1f} %",
            f"{mean(late, 'played'):.2f}",
        ]))  # fmt: skip
        lab.progress(lines[-1])
    return lines


def lost_wide(lab):
    """G.722 and Opus, lost packets, no jitter."""
    lines = head([
        "loss", "G.722, silence", "**G.722, Crosspoint**", "added delay",
        "Opus, silence", "Opus, libopus' PLC alone", "Opus, FEC always",
        "**Opus, Crosspoint**", "added delay", "packets with FEC",
    ])  # fmt: skip
    for name, share, burst in LOST:
        networks = only_lost(share, burst)
        silence = ["--filler", "silence"]
        g722_gaps = lab.reports("g722", networks, silence, every=2)
        g722 = lab.reports("g722", networks, every=2)
        opus_gaps = lab.reports("opus", networks, [*silence, "--fec", "off"], every=2)
        plc = lab.reports("opus", networks, ["--fec", "off"], every=2)
        fec = lab.reports("opus", networks, ["--fec", "on"], every=2)
        opus = lab.reports("opus", networks, every=2)
        lines.append(row([
            name, f"{mean(g722_gaps, 'played'):.2f}", f"{mean(g722, 'played'):.2f}",
            f"{mean(g722, 'delay_ms'):.0f} ms",
            *(f"{mean(reports, 'played'):.2f}" for reports in (opus_gaps, plc, fec, opus)),
            f"{mean(opus, 'delay_ms'):.0f} ms", f"{mean(opus, 'redundant_percent'):.0f} %",
        ]))  # fmt: skip
        lab.progress(lines[-1])
    return lines


def with_jitter(rule, ppm, fixed):
    def networks(seed, packets):
        transits = network.jittered(seed, packets, rule)
        options = ["--ppm", ppm]
        if fixed:
            there = [t for t in transits if t is not None]
            need = int(max(there) - min(there)) + 25
            options += ["--fixed-ms", min(need, FIXED_MS_MAX)]
        return transits, options

    return networks


def jitter(lab):
    """Late packets: the delay is learned, or fixed so that none is late."""
    lines = head([
        "network", "codec", "silence", "**Crosspoint**", "as played", "added delay", "late",
        "concealed", "fixed delay", "that delay",
    ])  # fmt: skip
    for name, rule, ppm in network.JITTER:
        for codec in ("g711", "g722", "opus"):
            every = 1 if codec == "g711" else 2
            learned, fixed = with_jitter(rule, ppm, False), with_jitter(rule, ppm, True)
            silence = ["--filler", "silence"]
            gaps = lab.reports(codec, learned, silence, ("step",), every)
            ours = lab.reports(codec, learned, every=every, ways=("step", "played"))
            calm = lab.reports(codec, fixed, (), ("step",), every)
            lines.append(row([
                name, {"g711": "G.711", "g722": "G.722", "opus": "Opus"}[codec],
                f"{mean(gaps, 'step'):.2f}", f"{mean(ours, 'step'):.2f}",
                f"{mean(ours, 'played'):.2f}", f"{mean(ours, 'delay_ms'):.0f} ms",
                f"{mean(ours, 'late_percent'):.1f} %", f"{mean(ours, 'concealed_percent'):.1f} %",
                f"{mean(calm, 'step'):.2f}", f"{mean(calm, 'delay_ms'):.0f} ms",
            ]))  # fmt: skip
            lab.progress(lines[-1])
    return lines


def switching(lab):
    """One line whose loss changes every ten seconds: which packets carry redundancy."""
    shares = [0, 0.01, 0.02, 0.03, 0.05, 0.10, 0.02, 0.01, 0]
    clip = np.concatenate([pcm for _, pcm in lab.clips[16000]])[: 16000 * 10 * len(shares)]
    rng, transits = random.Random(lab.seed), []
    for share in shares:
        lost = set(rng.sample(range(500), round(500 * share)))
        transits += [None if n in lost else network.BASE_MS for n in range(500)]
    report, _ = run(lab.program, "playout", "opus", network.text(transits), pcm=clip)
    seconds = report["redundant_per_second"]
    lines = head(["seconds", "loss", *(f"{n}. s" for n in range(1, 11))])
    for n, share in enumerate(shares):
        tenths = [f"{count * 2} %" for count in seconds[10 * n : 10 * n + 10]]
        lines.append(row([f"{10 * n} to {10 * n + 10}", f"{share:.0%}", *tenths]))
    return lines


def through_bridge(job):
    """Scores a clip, said twice by one party of a bridge, as the last party is sent it: the second
    time, and the first, in which the playout buffer learns its delay."""
    program, codec, parties, rate, pcm = job
    report, heard = run(program, "bridge", codec, parties, pcm=np.concatenate([pcm, pcm, pcm]))
    for key, start in [("settled", len(pcm)), ("from_start", 0)]:
        # What is found one clip later is the same sound again: look around the place only.
        shift = shift_of(heard, pcm, start, rate // 2)
        at = max(start + shift, 0)
        out = heard[at : at + len(pcm)]
        report[key] = pesq(rate, pcm[at - start - shift :], out, BANDS[rate])
        if key == "settled":
            report["delay_ms"] = report["first_ms"] + 1000 * shift / rate
    return report


def shift_of(heard, pcm, start, most):
    """How many samples later than `start` the clip begins in what was heard, by correlation."""
    first = max(start - most, 0)
    there = heard[first : start + len(pcm) + most].astype(float)
    size = 1 << (len(there) + len(pcm)).bit_length()
    spectrum = np.fft.rfft(there, size) * np.conj(np.fft.rfft(pcm.astype(float), size))
    lags = np.fft.irfft(spectrum, size)
    lags = np.concatenate([lags[-most:], lags[: 2 * most]])
    return int(np.argmax(lags)) - most + first - start


def clean(lab):
    """No network: the codec alone, and one party of a bridge talking."""
    lines = head([
        "codec", "the codec alone", "twice in a row", "**bridge of two**", "**bridge of three**", "added delay",
        "most that a clip loses", "bridge of three, from the first packet on",
    ])  # fmt: skip
    for codec, title, rate in [
        ("pcmu", "G.711 µ-law", 8000), ("pcma", "G.711 A-law", 8000), ("g722", "G.722", 16000),
    ]:  # fmt: skip
        alone, twice, two, three = (
            lab.pool.map(
                through_bridge,
                [(lab.program, codec, parties, rate, pcm) for _, pcm in lab.clips[rate][:: lab.every]],
            )
            for parties in (0, 1, 2, 3)
        )
        worst = max(
            a["settled"] - b["settled"] for many in (two, three) for a, b in zip(twice, many)
        )
        lines.append(row([
            title, *(f"{mean(many, 'settled'):.3f}" for many in (alone, twice, two, three)),
            f"{mean(three, 'delay_ms'):.0f} ms", f"{worst + 0.0:.3f}",
            f"{mean(three, 'from_start'):.2f}",
        ]))  # fmt: skip
        lab.progress(lines[-1])
    return lines
