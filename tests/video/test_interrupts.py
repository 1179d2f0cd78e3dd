"""Ctrl-C while an output is begun: nothing is left, and no program goes on."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hvgcli.video.files import interrupts_later
from hvgcli.video.writer import VideoWriter


def interrupted(reached: list[str]) -> None:
    with interrupts_later():
        signal.raise_signal(signal.SIGINT)
        reached.append("end")


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    reached: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(reached)
    assert reached == ["end"]
    with pytest.raises(KeyboardInterrupt):  # and afterwards it waits no longer
        signal.raise_signal(signal.SIGINT)


def test_an_error_within_comes_first_and_the_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="own"), interrupts_later():
        raise ValueError("own")
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_have_no_interrupts_to_wait_for() -> None:
    done = []

    def work() -> None:
        with interrupts_later():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


@pytest.mark.parametrize("delay", [0.0, 0.001, 0.002, 0.004, 0.008, 0.016, 0.03])
def test_nothing_is_left_whenever_the_interrupt_comes(tmp_path: Path, delay: float) -> None:
    timer = threading.Timer(delay, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
    with suppress(KeyboardInterrupt):
        timer.start()
        with VideoWriter(tmp_path / "clip.mp4", size=(16, 16), rate=Fraction(25)) as writer:
            writer.write(np.zeros((2, 16, 16, 3), np.uint8))
        time.sleep(0.2)
    timer.join()
    time.sleep(0.2)  # a program without an owner would write its empty file now
    assert not list(tmp_path.glob("*.part"))
