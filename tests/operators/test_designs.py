"""SciPy's designs are the same by the short way, and the rest of SciPy works behind it."""

import subprocess
import sys

PROGRAM = """
import sys
from flowedge.operators.filters.designs import scipy_designs
found = scipy_designs()
short = found.butter(3, [5, 15], "bandpass", fs=360, output="sos").tolist(), [x.tolist() for x in found.iirnotch(50, 30, 360)]
assert "scipy.stats" not in sys.modules
assert "scipy.signal" not in sys.modules
import scipy.signal as signal
assert short == (signal.butter(3, [5, 15], "bandpass", fs=360, output="sos").tolist(), [x.tolist() for x in signal.iirnotch(50, 30, 360)])
signal.sosfilt(signal.butter(2, 0.1, output="sos"), [1.0, 2.0])
signal.find_peaks([0, 1, 0])
signal.firwin(5, 0.2)
"""
PACKAGE = """
import sys, scipy.signal
from flowedge.operators.filters.designs import scipy_designs
assert scipy_designs() is scipy.signal
"""


def run(program):
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )


def test_the_short_way_gives_the_designs_of_the_package_and_leaves_it_whole():
    assert run(PROGRAM).returncode == 0, run(PROGRAM).stderr


def test_where_the_package_is_there_already_it_is_taken():
    assert run(PACKAGE).returncode == 0, run(PACKAGE).stderr
