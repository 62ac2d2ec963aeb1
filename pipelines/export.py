"""Write an exported network as an archive with nothing in it but its graph, its weights and what it tells of itself."""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def write(
    program: torch.export.ExportedProgram, path: Path, manifest: Mapping[str, Any] | None = None
) -> None:
    """Write an archive without the traces of this machine that torch.export leaves in it, always the same bytes.

    Parameters
    ----------
    program : what `torch.export.export` gave
    path : of the ``.pt2``; its folder is made
    manifest : what `model.json` says inside the archive, if anything
    """
    more = {} if manifest is None else {"model.json": json.dumps(manifest)}
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files=more)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(buffer) as full, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as lean:
        for name in sorted(full.namelist()):
            data = full.read(name)
            if "/sample_inputs/" in name or name.endswith("serialization_id"):
                continue
            if name.endswith("models/model.json"):
                graph = json.loads(data)
                for node in graph["graph_module"]["graph"]["nodes"]:
                    node["metadata"] = {}
                data = json.dumps(graph, separators=(",", ":"), sort_keys=True).encode()
            inside = name.split("/", 1)[1]
            lean.writestr(zipfile.ZipInfo(f"{path.stem}/{inside}", (1980, 1, 1, 0, 0, 0)), data)
