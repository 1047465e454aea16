"""An artifact whose seal was made again, as somebody would who knows how."""

import json
from pathlib import Path
from typing import Any

from sidestep import artifact


def reseal(folder: Path, **changes: Any) -> None:
    """A manifest with another content, and a digest to match."""
    content = json.loads((folder / "manifest.json").read_text()) | changes
    content["digest"] = artifact.Manifest(**{**content, "digest": ""}).compute_digest()
    (folder / "manifest.json").write_text(json.dumps(content))
