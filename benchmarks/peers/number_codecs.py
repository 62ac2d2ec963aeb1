"""Codecs for numbers: what `compress_series.py` asks of pcodec and of ZFP. A JSON line in, a JSON line out.

``{"job": "size", "files": […]}`` bytes that pcodec stores each array in; ``{"job": "quantize", "file": F, "error": E}``
and ``{"job": "zfp", …}`` also the CPU seconds, and the largest error after decoding.
"""

import json
import sys
import time
from importlib.metadata import version

import numpy as np
import zfpy
from pcodec import ChunkConfig, standalone


def size(values: np.ndarray) -> int:
    """Stored by pcodec, and decoded again to see that nothing is lost."""
    stored = standalone.simple_compress(values, ChunkConfig())
    assert standalone.simple_decompress(stored).tobytes() == values.tobytes()
    return len(stored)


def quantize(values: np.ndarray, error: float) -> dict[str, float]:
    """Rounded to multiples of twice the error, as int32, then pcodec."""
    step, begun = 2 * error * (1 - 1e-12), time.process_time()
    stored = standalone.simple_compress(np.rint(values / step).astype(np.int32), ChunkConfig())
    spent = time.process_time() - begun
    back = standalone.simple_decompress(stored) * step
    return {"bytes": len(stored), "cpu_s": spent, "error": float(np.abs(back - values).max())}


def zfp(values: np.ndarray, error: float) -> dict[str, float]:
    """ZFP in its mode of fixed accuracy."""
    begun = time.process_time()
    stored = zfpy.compress_numpy(values, tolerance=error)
    spent = time.process_time() - begun
    back = zfpy.decompress_numpy(stored).astype(np.float64)
    return {"bytes": len(stored), "cpu_s": spent, "error": float(np.abs(back - values).max())}


def main() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        ask = json.loads(line)
        if ask["job"] == "versions":
            answer: object = {name: version(name) for name in ("pcodec", "zfpy")}
        elif ask["job"] == "size":
            answer = [size(np.load(path)) for path in ask["files"]]
        else:
            run = {"quantize": quantize, "zfp": zfp}[ask["job"]]
            answer = run(np.load(ask["file"]), ask["error"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
