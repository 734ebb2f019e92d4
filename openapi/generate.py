"""Write the published description of the HTTP faces: ``python openapi/generate.py``. A test compares."""

from __future__ import annotations

import json
from pathlib import Path

from gateway.app import describe_app

FILE = Path(__file__).with_name("openapi.json")


def main() -> None:
    """Write ``openapi.json`` beside this file."""
    FILE.write_text(
        json.dumps(describe_app().openapi(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
