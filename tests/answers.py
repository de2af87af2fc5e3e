"""What the shell and the endpoints answer about the shipped examples, as text: run before and after a change that is to
change nothing, and compare.

    python tests/answers.py > before.txt

Times are left out, since they differ from run to run; arrays in files are told by a hash of their bytes.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from demo import ROOT, running_demo
from gradio_client import Client, handle_file

EXAMPLES = sorted((ROOT / "assets" / "examples").glob("*.mp4"))
SHELL = (
    ["embed", "--out"],
    ["similarity", "--at", "2,8,8", "--out"],
    ["similarity", "--at", "0,3,12", "--raw", "--fit", "pad", "--frames", "8", "--out"],
    ["neighbours", "-k", "7"],
    ["neighbours", "--pooling", "motion"],
)
ENDPOINTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/embed", {}),
    ("/similarity", {"at": "2,8,8"}),
    ("/similarity", {"at": "0,3,12", "raw": True, "fit": "pad", "frames": 8}),
    ("/neighbours", {"k": 7}),
    ("/neighbours", {"pooling": "motion"}),
    ("/neighbours", {"pooling": "auto", "start": 0.5, "end": 2.0}),
)
MISTAKES = (
    ["embed", "nowhere.mp4"],
    ["embed", str(EXAMPLES[0]), "--frames", "3"],
    ["similarity", str(EXAMPLES[0]), "--at", "99,0,0"],
    ["neighbours", str(EXAMPLES[0]), "-k", "0"],
    ["embed", str(EXAMPLES[0]), "--checkpoint", "none"],
    ["--help"],
    ["embed", "--help"],
    ["references", "--help"],
)


TIMES = ("timings_ms", "kept", "speed")  # what two calls of the same may tell differently


def tell(name: str, answer: Any) -> None:
    """One line: JSON without its times, text as it is."""
    if isinstance(answer, dict):
        answer = json.dumps({key: value for key, value in answer.items() if key not in TIMES}, sort_keys=True)
    print(f"{name}: {answer}", flush=True)


def digests(path: Path) -> str:
    """The arrays of an `.npz` by name, shape and hash, without the times in its description."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in sorted(file.files) if name != "meta"}
        meta = {k: v for k, v in json.loads(str(file["meta"])).items() if k not in TIMES} if "meta" in file else {}
    hashes = [f"{name}{array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}" for name, array in arrays.items()]
    return "; ".join([*hashes, json.dumps(meta, sort_keys=True)])


def shell(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "vjepa_demo", *words], cwd=ROOT, capture_output=True, text=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out.npz"
        for path in EXAMPLES:
            for command in SHELL:
                words = [command[0], str(path), *command[1:], *([str(out)] if command[-1] == "--out" else []), "--json"]
                done = shell(*words)
                tell(f"{path.stem} {' '.join(command)}", json.loads(done.stdout))
                if out.exists():
                    tell(f"{path.stem} {' '.join(command)}", digests(out))
                    out.unlink()
        for mistake in MISTAKES:
            done = shell(*mistake)
            said = (done.stdout + done.stderr).replace(str(ROOT), "")
            tell(f"{' '.join(mistake).replace(str(ROOT), '')} ({done.returncode})", said.replace("\n", " | "))
        with running_demo(Path(name)) as url:
            client = Client(url, verbose=False)
            for path in EXAMPLES:
                for api_name, options in ENDPOINTS:
                    answer = client.predict(handle_file(path), api_name=api_name, **options)
                    if isinstance(answer, tuple):
                        tell(f"{path.stem} {api_name} {options}", digests(Path(answer[1])))
                        answer = answer[0]
                    tell(f"{path.stem} {api_name} {options}", answer)


if __name__ == "__main__":
    main()
