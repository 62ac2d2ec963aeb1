"""How a run is asked to stop: once, and it does so at the next batch; twice, and it does so at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, the system, and a terminal that is gone; one that is ignored (`nohup`) stays so."""

EXIT_CODE = 130
_GRACE_S = 0.5
"""So long the run may take to clean up when it is asked twice; the state can be resumed without that, too."""
_SCREEN = b"\x1b[?25h\x1b[?1049l"
"""Gives the cursor and the screen back that a live page may have taken."""


class Asked:
    """What the signals of a run have asked for.

    Parameters
    ----------
    turn : called whenever the run looks, which it does as long as it moves

    Attributes
    ----------
    stop : to stop
    reload : to look for another pipeline and other models (SIGHUP); whoever does so sets it back
    """

    def __init__(self, turn: Callable[[], None] = lambda: None) -> None:
        self.stop = self.reload = False
        self._turn = turn

    def __call__(self) -> bool:
        """Whether the run has been asked to stop."""
        self._turn()
        return self.stop


@contextlib.contextmanager
def stop_signals(
    *, reloads: bool = False, turn: Callable[[], None] = lambda: None
) -> Iterator[Asked]:
    """Whether the run has been asked to stop; with `reloads`, SIGHUP asks it to reload instead; `turn` as in `Asked`.

    The second signal raises KeyboardInterrupt. Where Python does not get to it, because a disk or a kernel does
    not return, a thread that waits for the signals themselves ends the process. Nothing needs to be put in order:
    a checkpoint stands at any moment, and what is unfinished has no name that a reader looks at.
    """
    asked = Asked(turn)
    stops = tuple(x for x in STOPS if not (reloads and x == signal.SIGHUP))

    def ask(_signal: int, _frame: object) -> None:
        if asked.stop:
            raise KeyboardInterrupt
        asked.stop = True

    def ask_to_reload(_signal: int, _frame: object) -> None:
        asked.reload = True

    if threading.current_thread() is not threading.main_thread():
        yield asked  # the caller stops runs its own way
        return
    before = {}
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    is_over = threading.Event()
    watch = threading.Thread(
        target=_watch, args=(reads, is_over, stops), name="flowedge-stop", daemon=True
    )
    woken = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    watch.start()
    try:
        for number in STOPS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                wanted = ask if number in stops else ask_to_reload
                before[number] = signal.signal(number, wanted)
        yield asked
    finally:
        is_over.set()
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken)
        os.close(writes)
        watch.join()
        os.close(reads)


def _watch(reads: int, is_over: threading.Event, stops: tuple[signal.Signals, ...]) -> None:
    """Read the numbers of the signals that have come; at the second, give the run a moment, then end it."""
    count = 0
    while data := os.read(reads, 64):
        count += sum(number in stops for number in data)
        if count >= 2:
            if is_over.wait(_GRACE_S):
                return
            with contextlib.suppress(OSError):
                os.write(2, (_SCREEN if os.isatty(2) else b"") + b"interrupted\n")
            os._exit(EXIT_CODE)
