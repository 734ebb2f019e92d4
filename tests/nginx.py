"""nginx with servers of a test's own, on loopback, its files below a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.demo.processes import MissingPeer, wait_until
from tests.peers import needed

_MAIN = """daemon off; pid {folder}/nginx.pid; {user} error_log stderr; events {{}}
http {{
include /etc/nginx/mime.types; access_log off;
client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
uwsgi_temp_path {folder}; scgi_temp_path {folder};
{servers}
}}
"""


@contextmanager
def nginx(folder: Path, servers: str, ready: str) -> Iterator[None]:
    """Run nginx with these ``server`` blocks; ``ready`` is an address of it that answers."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        with needed():
            raise MissingPeer("nginx", "apt-get install nginx-light")
    user = "user root;" if os.geteuid() == 0 else ""  # the folders of a test are its user's alone
    config = folder / "nginx.conf"
    config.write_text(_MAIN.format(folder=folder, user=user, servers=servers), encoding="utf-8")
    words = [program, "-e", "stderr", "-c", str(config)]
    with (folder / "nginx.log").open("wb") as log, subprocess.Popen(words, stderr=log) as process:
        try:
            wait_until(ready, 10)
            yield
        finally:
            process.terminate()
