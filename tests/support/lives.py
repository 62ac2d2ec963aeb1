"""Runs a pipeline again and again and kills it, as a process: ``lives.py ROOT SEED ROUNDS QUIET_S``.

Each life is a fork of this process, which has compiled the pipeline and started no thread. A round is a fresh state, lives that are
killed at some moment, and one that comes to its end; of each round one line of JSON is printed: how many were killed, the last
exit code, and whether that one was killed when it had done all and its state was gone.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from flowedge.lang.errors import FlowEdgeError
from flowedge.runtime.checkpoint import State
from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Run


def life(plan, state):
    """One process; its exit code."""
    child = os.fork()
    if child:
        return child
    clear = State.clear

    def told(self):
        Path("done").touch()
        clear(self)

    State.clear = told
    try:
        Run(plan, checkpoint=state, every_s=0.0)()
    except FlowEdgeError as error:
        sys.stderr.write(f"refused: {error}\n")
        os._exit(3)
    os._exit(0)


def main(root, seed, rounds, quiet_s):
    os.chdir(root)
    plan, drawn = compile_flow(Path("p.flow")), random.Random(seed)
    for _ in range(int(rounds)):
        input()  # the table has been emptied
        shutil.rmtree("state", ignore_errors=True)
        Path("done").unlink(missing_ok=True)
        killed, is_over = 0, False
        while True:
            child = life(plan, Path("state"))
            if killed < 8:
                time.sleep(drawn.uniform(0, float(quiet_s)))
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if not os.WIFSIGNALED(status):
                break
            killed += 1
            is_over = Path("done").exists() and not list(Path("state").glob("checkpoint-*"))
            if is_over:
                break
        sys.stdout.write(json.dumps([killed, os.waitstatus_to_exitcode(status), is_over]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
