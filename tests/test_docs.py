"""README and docs: every command parses, every snippet runs, every link leads somewhere."""

import ast
import re
import shlex
from pathlib import Path

import pytest

from hf_handdiff.cli.main import build_parser

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    tomllib = None

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "model_cards" / "base.md", *DOCS]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(?:#[\w-]+)?\)")
PHOTO = ROOT / "examples" / "hand_1.jpg"


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(page.read_text()) if kind == language]


def commands(page: Path) -> list[list[str]]:
    """Every command of a page's plain blocks, as a shell would split it."""
    lines = "".join(blocks(page, "")).replace("\\\n", " ").splitlines()
    whole = [shlex.split(line, comments=True) for line in lines if not re.search(r"[─│►◄]", line)]
    parts = []
    for words in whole:
        while "&&" in words:
            parts.append(words[: words.index("&&")])
            words = words[words.index("&&") + 1 :]
        parts.append(words)
    return [words for words in parts if words]


def script_of(words: list[str]) -> str | None:
    return next(
        (word for word in words if word.startswith(("scripts/", "train/", "space/")) and word.endswith(".py")), None
    )


def check_script(words: list[str]) -> None:
    """The script is there and has every flag; its parser is not built, for that would load what it trains with."""
    script = ROOT / script_of(words)
    source = script.read_text()
    if "from handdiff_training.loop import" in source:
        shared = ("flags.py", "hands.py") if "handdiff_training.hands import" in source else ("flags.py",)
        source += "".join((ROOT / "train" / "handdiff_training" / name).read_text() for name in shared)
    for word in words:
        if word.startswith("--"):
            named = (f'"{word}"', f'"{word[2:]}"')  # the second: flags that are added in a loop over names
            assert any(name in source for name in named), f"{script.name} has no {word}"
        elif word.startswith("train/"):
            assert (ROOT / word).exists(), word


def check_command(words: list[str]) -> None:
    if words[0] == "handdiff":
        build_parser().parse_args(words[1:])
    elif "hf_handdiff" in words and "-m" in words:
        build_parser().parse_args(words[words.index("hf_handdiff") + 1 :])
    elif script_of(words):
        check_script(words)
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words
    elif words[0] == "ruff" or words[:3] == ["python", "-m", "pytest"]:
        paths = words[2:] if words[0] == "ruff" else words[3:]
        assert paths and all((ROOT / path).exists() for path in paths), words
    elif words[0] == "pip":
        check_extras(" ".join(words))
    else:
        assert words[0] in ("git", "cd", ".") or words[:3] == ["python", "-m", "venv"], f"unknown command: {words}"


def check_extras(command: str) -> None:
    for names in re.findall(r"\[([\w,]+)\]", command):
        if tomllib is not None:
            known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            assert set(names.split(",")) <= set(known), command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_real(page):
    for words in commands(page):
        try:
            check_command(words)
        except SystemExit:
            pytest.fail(f"{page.name}: the parser refuses: {shlex.join(words)}")


def test_a_command_that_is_not_real_is_found():
    with pytest.raises(SystemExit):
        check_command(["handdiff", "predict", "photo.jpg", "--out", "results", "--colour", "red"])
    with pytest.raises(AssertionError, match="--colour"):
        check_command(["accelerate", "launch", "train/stage1.py", "--colour", "red"])
    assert sum(words[0] == "handdiff" for page in DOCS for words in commands(page)) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_snippet_runs(page, monkeypatch, capsys):
    """With the bundled checkpoint, from the repository's root; "photo.jpg" is one of the examples.

    Of a snippet that asks the Hub for "owner/name" the imports are run; tests/hub runs the like of the rest.
    """
    monkeypatch.chdir(ROOT)
    for snippet in blocks(page, "python"):
        if "owner/name" in snippet:
            snippet = "\n".join(ast.unparse(line) for line in ast.parse(snippet).body if "import" in ast.unparse(line))
        names = {"__name__": f"snippet_of_{page.stem}"}
        exec(compile(snippet.replace("photo.jpg", str(PHOTO)), page.name, "exec"), names)
        if "out" in names and page.stem == "quickstart":
            assert names["out"].mean_joints.shape == (1, 21, 3) and names["out"].hand_score[0] > 0.5
            assert "(1, 21, 3)" in capsys.readouterr().out
        if "smplx" in names:  # its hands have the vertices of the answers
            assert {"left", "right"} < set(names["off_mm"]) and max(names["off_mm"].values()) < 0.1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets_for_programs_that_are_not_installed_are_python(page):
    """Fenced as `py`: they are not run."""
    for snippet in blocks(page, "py"):
        compile(snippet, page.name, "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
