"""Files that look like models and are not: each is a way in, or a way to take the machine down, that is known.

`corpus` makes all of them in a folder. What could run would write the file ``ran`` there, and does no other harm; a
module of that kind lies in the folder as well, for what imports.
"""

from models.hostile import archives, graphs, others, programs
from models.hostile.made import MODULE

FORMATS = {
    ".pt2": (graphs.graphs, programs.parts, programs.pickles, programs.whole, archives.archives),
    ".safetensors": (others.safe,),
    ".onnx": (others.onnxs,),
    ".tflite": (others.tflites,),
}


def corpus(folder):
    """Write all of them: each path with its `Case`; and the marker that nothing may write."""
    marker = folder / "ran"
    (folder / f"{MODULE}.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    out: list[tuple] = []
    for suffix, makers in FORMATS.items():
        for maker in makers:
            for case in maker(folder, marker):
                path = folder / f"{len(out):03d}{suffix}"
                path.write_bytes(case.data)
                out.append((path, case))
    return marker, out
