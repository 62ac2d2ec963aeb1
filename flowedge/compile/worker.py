"""``python -m flowedge.compile.worker``: compiles kernels for the process that started it."""

import signal
import sys

from flowedge.compile.builds import serve

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it ends it
    serve(sys.stdin.buffer, sys.stdout.buffer)
