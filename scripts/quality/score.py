"""Scores what is played after losses against what was sent. Run by scripts/quality.sh.

In narrow band the reference is the G.711 signal without loss, so that scores show what became of
it alone: 4.55 is the scale's end and means no difference. In wide band (4.64) it is the sound
before the codec, and so it is where nothing is lost.
"""

import argparse
import datetime
import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from pesq import pesq

import corpus
import g711
import loss
import peers
import played

RATE = 8000
PACKET = RATE // 50
# Of 30 ms frames: as WebRTC's playout stretches.
FRAME = RATE * 30 // 1000
# The concealment's constants were chosen on the clips and losses of another seed, "d0".
SEED = "quality"
PATTERNS_PER_CLIP = 3
DOC = Path("docs/quality.md")
METHODS = [
    ("silence", "silence"),
    ("repeat", "the last packet again, 6 dB less each time"),
    ("appendix_i", "G.711 Appendix I (3.75 ms later)"),
    ("conceal", "**Crosspoint**"),
    ("bridge", "**Crosspoint, next packet known**"),
]


def run(program, pcm, *arguments):
    command = [program, "conceal", str(RATE), *arguments]
    done = subprocess.run(command, input=pcm.tobytes(), stdout=subprocess.PIPE, check=True)
    return np.frombuffer(done.stdout, dtype="<i2")


def filled(program, method, pcm, lost):
    if method in ("conceal", "bridge"):
        return run(program, pcm, lost, *(["--bridge"] if method == "bridge" else []))
    out = getattr(peers, method)(pcm.astype(float), lost)
    return np.clip(np.round(out), -32768, 32767).astype("<i2")


def loss_score(job):
    program, method, pcm, lost = job
    return pesq(RATE, pcm, filled(program, method, pcm, lost), "nb")


def stretch_score(job):
    program, pcm, pattern = job
    pcm = pcm[: len(pattern) * FRAME]
    return pesq(RATE, pcm, run(program, pcm, pattern), "nb")


def row(cells):
    return "| " + " | ".join(cells) + " |"


def loss_table(program, clips, pool):
    """One row per condition, one column per method: mean PESQ-LQO over all clips and patterns."""
    lines = [row(["loss", *(title for _, title in METHODS)]), row(["---"] * (len(METHODS) + 1))]
    for name, share, burst in loss.CONDITIONS:
        jobs = []
        for clip, pcm in clips:
            for number in range(PATTERNS_PER_CLIP):
                seed = f"{SEED}/{clip}/{name}/{number}"
                lost = loss.pattern(seed, len(pcm) // PACKET, share, burst)
                jobs.append((pcm, lost))
        cells = [name]
        for method, _ in METHODS:
            scores = pool.map(loss_score, [(program, method, *job) for job in jobs], chunksize=4)
            cells.append(f"{np.mean(scores):.2f}")
        lines.append(row(cells))
        progress(lines[-1])
    return lines


def blunt(pcm, pattern):
    """What stretching would be without care: 10 ms cut out of a frame, or played twice."""
    cut, out = FRAME // 3, []
    for n, letter in enumerate(pattern):
        frame = pcm[n * FRAME : (n + 1) * FRAME]
        out.append({"a": frame[:-cut], "e": np.append(frame, frame[-cut:])}.get(letter, frame))
    return np.concatenate(out)


def blunt_score(job):
    _, pcm, pattern = job
    pcm = pcm[: len(pattern) * FRAME]
    return pesq(RATE, pcm, blunt(pcm, pattern), "nb")


def stretch_table(program, clips, pool):
    """Every twentieth frame stretched."""
    spread = lambda n: {10: "a", 30: "e"}.get(n % 40, "0")
    paired = lambda n: {10: "a", 11: "e"}.get(n % 40, "0")
    lines = [row(["5 % of the frames of 30 ms", "PESQ-LQO"]), row(["---"] * 2)]
    for title, letter_at, score in [
        ("untouched", lambda n: "0", stretch_score),
        ("one shorter, the next longer", paired, stretch_score),
        ("the same, but 10 ms cut out and 10 ms repeated bluntly", paired, blunt_score),
        ("every 20th in turn shorter and longer: half the time out of step", spread, stretch_score),
    ]:
        jobs = []
        for _, pcm in clips:
            pattern = "".join(letter_at(n) for n in range(len(pcm) // FRAME))
            jobs.append((program, pcm, pattern))
        scores = pool.map(score, jobs, chunksize=1)
        lines.append(row([title, f"{np.mean(scores):.2f}"]))
        progress(lines[-1])
    return lines


def write(name, lines):
    """Puts a table between its markers in the document, with its date."""
    text = DOC.read_text()
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    today = datetime.date.today().isoformat()
    body = "\n".join([begin, f"Measured {today} by `make quality`.", "", *lines, end])
    found, count = re.subn(f"{begin}.*?{end}", lambda _: body, text, flags=re.S)
    if count != 1:
        raise SystemExit(f"{DOC}: no markers for {name}")
    DOC.write_text(found)


def progress(line):
    """Tables take minutes: their rows are shown as they come."""
    print(line, file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description="Scores the code of this tree.")
    parser.add_argument("program")
    parser.add_argument("--dry", action="store_true", help="print the tables only")
    parser.add_argument("--seed", default=SEED, help="another seed: other clips and networks")
    parser.add_argument("--every", type=int, default=1, help="every so many clips only, for a try")
    parser.add_argument("tables", nargs="*", help="some of the tables only")
    arguments = parser.parse_intermixed_args()
    program = arguments.program
    clips = {
        8000: list(corpus.clips(arguments.seed, 8000)),
        16000: list(corpus.clips(arguments.seed, 16000, program)),
    }
    coded = [(name, g711.through_ulaw(pcm)) for name, pcm in clips[8000]]
    with multiprocessing.Pool(os.cpu_count()) as pool:
        lab = played.Lab(program, arguments.seed, pool, clips, progress, arguments.every)
        tables = {
            "clean": lambda: played.clean(lab),
            "lost-g711": lambda: played.lost_g711(lab),
            "lost-wide": lambda: played.lost_wide(lab),
            "switching": lambda: played.switching(lab),
            "jitter": lambda: played.jitter(lab),
            "loss": lambda: loss_table(program, coded, pool),
            "stretch": lambda: stretch_table(program, coded, pool),
        }
        for name in arguments.tables or tables:
            lines = tables[name]()
            print("\n".join(lines), end="\n\n", flush=True)
            if not arguments.dry and arguments.every == 1:
                write(name, lines)


if __name__ == "__main__":
    main()
