"""Speech clips of fixed length from the recorded prompts of Debian's Asterisk sound packages.

Clips are sums of whole prompts with short pauses, at one speech level, and depend on nothing but
the packages' contents and the seed: two machines with the same packages score the same clips.
"""

import hashlib
import subprocess
import wave
from pathlib import Path

import numpy as np

SOUNDS = Path("/usr/share/asterisk/sounds")
# Voice folder and how many clips it gives. The one male voice gives one more.
VOICES = {
    "en_US_f_Allison": 3,
    "es_MX_f_Allison": 3,
    "fr_CA_f_June": 3,
    "it_IT_m_Carlo": 4,
    "ru_RU_f_IvrvoiceRU": 3,
}
SECONDS = 8
PAUSE_S = 1.0
# Prompts shorter than this are single words, which would make clips of pauses.
PROMPT_S_MIN = 1.0
SPEECH_DBOV = -26.0


def read_wav(path):
    """Samples and rate of a 16-bit mono WAV file."""
    with wave.open(str(path)) as f:
        if f.getnchannels() != 1 or f.getsampwidth() != 2:
            raise ValueError(f"{path}: not 16-bit mono")
        return np.frombuffer(f.readframes(f.getnframes()), dtype="<i2"), f.getframerate()


def levelled(clip, rate):
    """The clip with its active frames (within 30 dB of the loudest) at SPEECH_DBOV."""
    frame = rate // 50
    power = np.mean(clip[: len(clip) // frame * frame].reshape(-1, frame) ** 2, axis=1)
    active = power[power > power.max() / 1000].mean()
    gain = 32768 * 10 ** (SPEECH_DBOV / 20) / np.sqrt(active)
    return np.clip(np.round(clip * gain), -32768, 32767).astype("<i2")


def trimmed(prompt, margin):
    """The prompt without digital silence and hiss at its ends, but for `margin` samples."""
    loud = np.flatnonzero(np.abs(prompt.astype(int)) > 300)
    return prompt[max(loud[0] - margin, 0) : loud[-1] + margin] if len(loud) else prompt[:0]


def read_g722(path, program):
    """Samples of a raw G.722 file, decoded by the program under test to 16 kHz."""
    command = [program, "g722"]
    pipe = subprocess.PIPE
    done = subprocess.run(command, input=path.read_bytes(), stdout=pipe, check=True)
    return np.frombuffer(done.stdout, dtype="<i2"), 16000


def clips(seed, rate=8000, program=None):
    """Pairs of a name and int16 samples, SECONDS long each, no prompt used twice.

    At 8 kHz from the WAV packages, at 16 kHz from those in G.722, which `program` decodes.
    """
    wide = rate == 16000
    scale = rate // 8000
    for voice, count in VOICES.items():
        folder = SOUNDS / voice
        if not folder.is_dir():
            raise SystemExit(f"no {folder}: run scripts/setup.sh quality")
        # A hash orders the prompts: stable, and unlike a shuffle not changed by one prompt more.
        order = lambda p: hashlib.sha256(f"{seed} {p.name}".encode()).digest()
        prompts = iter(sorted(folder.glob("*.g722" if wide else "*.wav"), key=order))
        for number in range(count):
            parts, length = [], 0
            while length < SECONDS * rate:
                path = next(prompts)
                samples, found_rate = read_g722(path, program) if wide else read_wav(path)
                if found_rate != rate:
                    raise SystemExit(f"{folder}: not {rate} Hz")
                samples = trimmed(samples, 400 * scale)
                if len(samples) < PROMPT_S_MIN * rate:
                    continue
                pause = np.zeros(int(PAUSE_S * rate), dtype="<i2")
                parts += [pause, samples]
                length += len(pause) + len(samples)
            clip = np.concatenate(parts)[: SECONDS * rate].astype(float)
            yield f"{voice}-{number}", levelled(clip, rate)
