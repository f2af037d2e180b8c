"""docs/notebook.ipynb runs from top to bottom, prints what the file shows, and carries nothing of a machine.

`python -m tests.test_notebook` runs it and writes the outputs into the file.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
KERNEL = "athena-test"
PLACES = re.compile(r"(?<![\w.:/])(?:/(?:home|Users|root|tmp|work|opt|var|usr)\b|[A-Z]:\\\\)")


def execute(folder: Path) -> nbformat.NotebookNode:
    """The notebook, executed by this interpreter in `folder`, with a kernel that is known only there."""
    spec = folder / "jupyter" / "kernels" / KERNEL
    spec.mkdir(parents=True)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    (spec / "kernel.json").write_text(
        json.dumps(
            {
                "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                "display_name": KERNEL,
                "language": "python",
                "env": {
                    "PYTHONPATH": os.pathsep.join(paths),
                    "IPYTHONDIR": str(folder / "ipython"),
                    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
                },
            }
        )
    )
    kept = {name: os.environ.get(name) for name in ("JUPYTER_PATH", "JUPYTER_RUNTIME_DIR")}
    os.environ["JUPYTER_PATH"] = str(folder / "jupyter")
    os.environ["JUPYTER_RUNTIME_DIR"] = str(folder / "runtime")
    try:
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        client = NotebookClient(
            notebook,
            timeout=120,
            kernel_name=KERNEL,
            record_timing=False,
            resources={"metadata": {"path": str(folder)}},
        )
        client.execute()
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return notebook


def texts(notebook: nbformat.NotebookNode) -> list[str]:
    """Every output as plain text, in order."""
    return [
        output.get("text") or output["data"]["text/plain"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    ]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    return execute(tmp_path_factory.mktemp("notebook"))


def test_the_notebook_runs_and_prints_what_the_file_shows(
    executed: nbformat.NotebookNode,
) -> None:
    stored = nbformat.read(NOTEBOOK, as_version=4)
    assert texts(executed) == texts(stored)
    assert len(texts(stored)) > 5


def test_nothing_in_the_notebook_warns(executed: nbformat.NotebookNode) -> None:
    streams = [
        output
        for cell in executed.cells
        for output in cell.get("outputs", ())
        if output.output_type in {"stream", "error"}
    ]
    assert [output.name for output in streams if output.name != "stdout"] == []


def test_the_file_is_small_and_names_no_place_of_a_machine(
    executed: nbformat.NotebookNode,
) -> None:
    """`executed` stands for what the next writing of the file would hold."""
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 150_000
    assert text.count('"image/png"') == 1
    stored = nbformat.read(NOTEBOOK, as_version=4)
    for whole in (text, nbformat.writes(executed)):
        words = re.sub(r'"image/png": "[^"]*"', "", whole)
        assert PLACES.findall(words) == []
    nbformat.validate(stored)


def _write() -> None:
    with TemporaryDirectory() as folder:
        notebook = execute(Path(folder))
    notebook.metadata = nbformat.read(NOTEBOOK, as_version=4).metadata
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    _write()
