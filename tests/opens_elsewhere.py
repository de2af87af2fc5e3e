"""An exported set, opened by tools that know nothing of this project: DuckDB and embedding-atlas.

python tests/opens_elsewhere.py [--tools FOLDER]    # of an environment of their own, made where it is not there yet

Exports the shipped references to Parquet and asks both what is in it, with the commands of docs/scale.md. Their
packages are pinned here and come from PyPI; nothing of them is needed by the project.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path

from demo import free_port

from vjepa_demo.references.preparing import SHIPPED

ROOT = Path(__file__).parents[1]
PACKAGES = ("duckdb==2.0.1", "embedding-atlas==0.26.0")
STARTS_WITHIN_S = 180
# How many clips and labels, how long a vector is, and the label of the clip that is most like the first one, by cosine.
ASKED = """
import duckdb, json, sys
path = sys.argv[1]
clips, labels, width = duckdb.sql(
    f"select count(*), count(distinct label), any_value(len(vector)) from '{path}'"
).fetchall()[0]
near = duckdb.sql(f'''
    with first as (select * from '{path}' limit 1)
    select other.label from '{path}' other, first where other.clip_id <> first.clip_id
    order by list_cosine_similarity(other.vector, first.vector) desc limit 1
''').fetchall()[0]
print(json.dumps({"clips": clips, "labels": labels, "width": width, "nearest": near[0]}))
"""


def environment(folder: Path) -> Path:
    """The folder of the tools' programs."""
    programs = folder / "bin"
    if not (programs / "embedding-atlas").exists():
        venv.create(folder, with_pip=True)
        subprocess.run([programs / "pip", "install", "-q", *PACKAGES], check=True)
    return programs


def by_duckdb(programs: Path, table: Path) -> dict[str, object]:
    done = subprocess.run([programs / "python", "-c", ASKED, table], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def by_atlas(programs: Path, table: Path) -> dict[str, object]:
    """What embedding-atlas tells its page of the table, with our vectors, places and neighbours instead of its own."""
    port = free_port()
    columns = ["--vector", "vector", "--x", "x", "--y", "y", "--neighbors", "neighbors"]
    command = [programs / "embedding-atlas", table, *columns, "--port", str(port), "--no-auto-port"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            address, until = f"http://127.0.0.1:{port}/data/metadata.json", time.monotonic() + STARTS_WITHIN_S
            while True:
                with (
                    contextlib.suppress(urllib.error.URLError, ConnectionError),
                    urllib.request.urlopen(address) as page,
                ):
                    return json.load(page)
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("embedding-atlas does not answer")
                time.sleep(0.5)
        finally:
            process.terminate()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=Path, default=ROOT / "build" / "tools", help="an environment for them")
    programs = environment(parser.parse_args().tools.resolve())
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "clips.parquet"
        command = [sys.executable, "-m", "vjepa_demo", "references", "export", str(SHIPPED), "--to", str(table)]
        subprocess.run(command, check=True)
        found, told = by_duckdb(programs, table), by_atlas(programs, table)
    print("DuckDB:", json.dumps(found))
    print("embedding-atlas:", json.dumps(told)[:600])
    clips = len([*SHIPPED.glob("*.mp4")])
    return int(found["clips"] != clips)


if __name__ == "__main__":
    sys.exit(main())
