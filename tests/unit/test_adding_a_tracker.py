"""Can one write a tracker from the guide?  Its template agrees with the ports and the suite."""

from __future__ import annotations

import ast
import inspect
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from secbridge.ports import Tracker
from secbridge.testing import Bench, OpenableBench
from secbridge.trackers.registry import TrackerPlugin
from secbridge.trackers.telling import Desk

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-tracker.md"
PLUGIN = Path(__file__).resolve().parents[1] / "plugin"


def blocks(language: str) -> list[str]:
    """Return the code of the guide in one language."""
    tokens = MarkdownIt().parse(GUIDE.read_text(encoding="utf-8"))
    return [token.content for token in tokens if (token.type, token.info) == ("fence", language)]


def classes() -> dict[str, ast.ClassDef]:
    """Return the classes of the template by name."""
    nodes = [node for block in blocks("python") for node in ast.parse(block).body]
    return {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}


def imports() -> Iterator[tuple[str, str]]:
    """Return (module, name) for all that the template takes from secbridge."""
    for block in blocks("python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("secbridge."):
                yield from ((str(node.module), alias.name) for alias in node.names)


def given_names(node: ast.ClassDef) -> set[str]:
    """Return what a class of the template has: methods, attributes, and what __init__ sets."""
    inner = [one for one in ast.walk(node) if isinstance(one, ast.Attribute | ast.Name)]
    stored = {
        one.attr if isinstance(one, ast.Attribute) else one.id
        for one in inner
        if isinstance(one.ctx, ast.Store)
    }
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return stored | {one.name for one in ast.walk(node) if isinstance(one, functions)}


def asked_names(*protocols: type) -> set[str]:
    """Return the names that protocols ask for."""
    members = {name for protocol in protocols for name in vars(protocol)}
    annotated = {name for protocol in protocols for name in inspect.get_annotations(protocol)}
    return {name for name in members | annotated if not name.startswith("_")}


@pytest.mark.parametrize(
    ("name", "protocols"),
    [
        ("AcmePlugin", (TrackerPlugin,)),
        ("AcmeTracker", (Tracker,)),
        ("AcmeDesk", (Desk,)),
        ("AcmeBench", (Bench, OpenableBench)),
    ],
)
def test_the_template_has_all_that_is_asked_for(name: str, protocols: tuple[type, ...]) -> None:
    """No verb is left out when a port grows."""
    assert asked_names(*protocols) - given_names(classes()[name]) == set()


def test_what_the_template_imports_is_there() -> None:
    """A name that moved is found out here, and not by a reader."""
    missing = [(at, name) for at, name in imports() if not hasattr(import_module(at), name)]
    assert missing == []
    assert len(list(imports())) > 20


def test_the_packaging_of_the_template_is_that_of_the_plugin() -> None:
    """The guide's pyproject.toml is the one that is built, installed and run in the tests."""
    template = tomllib.loads(blocks("toml")[0])
    built = tomllib.loads((PLUGIN / "pyproject.toml").read_text(encoding="utf-8"))
    assert template["build-system"] == built["build-system"]
    assert template["project"]["dependencies"] == built["project"]["dependencies"]
    assert set(template["project"]["entry-points"]) == set(built["project"]["entry-points"])
