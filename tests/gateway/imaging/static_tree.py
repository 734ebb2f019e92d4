"""An archive of files alone: what static-dicomweb-creator made of one person's study, behind nginx.

It heeds no parameter, knows no instances and no study's metadata, and its frames end in a boundary that is
not closed.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from gateway.demo import environments
from gateway.demo.processes import free_port
from tests.nginx import nginx
from tests.peers import needed

HERE = Path(__file__).parent
_FRAMES = 'multipart/related; type="application/octet-stream"; boundary=BOUNDARY_Wd42U4ChxrwWG0qM0QzuR0vR'
_SERVER = """server {{
listen 127.0.0.1:{port}; root {tree}; types {{ }}
location /dicom-web/ {{ default_type application/dicom+json; try_files $uri/index.json =404; }}
location ~ /frames/ {{ default_type '{frames}'; try_files $uri/index.bin =404; }}
}}"""


@contextmanager
def static_tree(folder: Path, datasets: Sequence[Dataset]) -> Iterator[str]:
    """The base URL of an archive of files with these instances; their pixels become RLE, for it knows no
    others."""
    with needed():
        python = environments.python(HERE / "static/requirements.lock", folder, "static-dicomweb-creator")
    files, tree = folder / "files", folder / "tree"
    files.mkdir()
    for number, dataset in enumerate(datasets):
        file = deepcopy(dataset)
        file.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        file.save_as(files / f"{number}.dcm", enforce_file_format=True)
    words = [str(python.with_name("static-dicomweb-creator")), str(files), "/dicom-web/", f"{tree}/dicom-web"]
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    port = free_port()
    url = f"http://127.0.0.1:{port}/dicom-web"
    with nginx(folder, _SERVER.format(port=port, tree=tree, frames=_FRAMES), f"{url}/studies"):
        yield url
