"""Every sentence for a user says what to do. Each stands where its cause is found, whose figures it tells; here all are
listed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from vjepa_demo import errors

PACKAGE = Path(errors.__file__).parent
KINDS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.UserError)}
# What says what to do, or what can be.
TELLS = (": ", " must ", " has to ", " have to ")
# There is nothing to be done; or the rest of the sentence comes from elsewhere.
ALONE = {"Stopped. The last result is still here.", "The app has been stopped.", "… (see … --help)."}


def text_of(node: ast.AST, names: dict[str, str]) -> str:
    """A sentence as it is written, with an ellipsis for what is only known when it is raised; "" for no sentence."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp):
        return text_of(node.left, names) + text_of(node.right, names)
    return names.get(node.id, "") if isinstance(node, ast.Name) else ""


def sentences() -> list[tuple[str, str]]:
    """(module, sentence) for every sentence that is raised as it stands in the source."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            target.id: text_of(node.value, {})
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        said = [text_of(call.args[0], names) for call in calls if call.func.id in KINDS and call.args]
        found += [(path.relative_to(PACKAGE).as_posix(), text) for text in said if any(map(str.isalpha, text))]
    return found


SENTENCES = sentences()


def test_there_are_many() -> None:
    assert len(SENTENCES) > 120
    assert len({module for module, _ in SENTENCES}) > 25


@pytest.mark.parametrize(("module", "sentence"), SENTENCES)
def test_it_says_what_to_do(module: str, sentence: str) -> None:
    assert sentence[0].isupper() or sentence.startswith(("…", "--")), sentence
    assert sentence in ALONE or sentence.endswith("…") or any(words in sentence for words in TELLS), sentence
    assert sentence.endswith((".", "…")), sentence
    assert "\n" not in sentence
