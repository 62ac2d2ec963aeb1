"""Make the environments of the peers that do not go into ours: `python benchmarks/peers/install.py [NAME …]`.

Each is a virtual environment under `.envs/`, of what `NAME.txt` lists; the scripts whose names begin so do the peer's part.
"""

import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = HERE / ".envs"


def main(names: list[str]) -> None:
    """Make those that are named, or all; what cannot be installed is told, and left out of the benchmarks."""
    for name in names or sorted(path.stem for path in HERE.glob("*.txt")):
        folder = ENVIRONMENTS / name
        venv.create(folder, with_pip=True, clear=True)
        pip = [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        found = subprocess.run([*pip, "--requirement", str(HERE / f"{name}.txt")], check=False)
        print(f"{name}: {'ready' if found.returncode == 0 else 'cannot be installed here'}")
        if found.returncode:
            (folder / "bin" / "python").unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
