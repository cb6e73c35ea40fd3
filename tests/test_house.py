"""The rules of the house: what each part may import, what an import costs, how long a file may be."""

import ast
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

from tests.support.releases import Release, make_release
from unwrite.errors import _OPTIONAL

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "unwrite").rglob("*.py"))


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(
        "unwrite", include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )


# What each part of the package may import. A row names the parts below it; none of those names the row in return.
MAY_IMPORT = {
    "errors": set[str](),
    "terms": set[str](),
    "core": {"terms"},
    "models": {"errors", "terms"},
    "schema": {"errors", "terms"},
    "files": {"core", "errors", "schema", "terms"},
    "pipeline": {"errors", "files", "models", "schema", "terms"},
    "projects": {"errors", "files", "pipeline", "schema", "terms"},
    "doctor": {"errors", "models", "pipeline", "projects", "schema", "terms"},
    "planning": {"errors", "models", "pipeline", "schema", "terms"},
    "report": {"errors", "files", "schema", "terms"},
    "editing": {"core", "errors", "files", "models", "schema", "terms"},
    "evaluation": {"core", "errors", "models", "schema", "terms"},
    "history": {"core", "errors", "files", "schema", "terms"},
    "workers": {"errors", "evaluation", "files", "models", "pipeline", "schema", "terms"},
    "search": {
        "core",
        "editing",
        "errors",
        "evaluation",
        "files",
        "models",
        "pipeline",
        "report",
        "schema",
        "terms",
        "workers",
    },
    "release": {"core", "editing", "errors", "files", "models", "pipeline", "report", "schema", "terms"},
    "api": {"core", "editing", "evaluation", "models", "pipeline", "release", "schema"},
    "chat": {"core", "errors", "evaluation", "models", "pipeline", "release", "schema", "terms"},
    "commands": {
        "chat",
        "core",
        "doctor",
        "editing",
        "errors",
        "evaluation",
        "files",
        "history",
        "models",
        "pipeline",
        "planning",
        "projects",
        "release",
        "report",
        "schema",
        "search",
        "terms",
        "workers",
    },
    "cli": {"commands"},
    "stages": {
        "core",
        "editing",
        "errors",
        "evaluation",
        "files",
        "models",
        "pipeline",
        "projects",
        "release",
        "report",
        "schema",
        "search",
        "terms",
        "workers",
    },
}


def imported_parts(graph: grimp.ImportGraph, name: str) -> set[str]:
    own = {f"unwrite.{name}", *graph.find_descendants(f"unwrite.{name}")}
    imported = {target for module in own for target in graph.find_modules_directly_imported_by(module)}
    return {module.split(".")[1] for module in imported if module.startswith("unwrite.")} - {name}


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_a_part_imports_only_those_below_it(graph: grimp.ImportGraph, name: str) -> None:
    assert imported_parts(graph, name) <= MAY_IMPORT[name]


def test_a_public_name_has_one_meaning_in_the_package() -> None:
    homes: dict[str, set[str]] = {}
    for path in set((ROOT / "unwrite").rglob("*.py")) - set((ROOT / "unwrite/stages").iterdir()):  # scripts
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                names = [node.name]
            elif isinstance(node, ast.Assign):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            else:
                continue
            for name in names:
                homes.setdefault(name, set()).add(str(path.relative_to(ROOT)))
    several = {name: files for name, files in homes.items() if len(files) > 1 and not name.startswith("_")}
    assert several.keys() <= {"logger", "T", "R", "M", "P"}, several


def test_the_parts_are_those_of_the_package_and_in_an_order() -> None:
    package = (ROOT / "unwrite").iterdir()
    found = {path.stem for path in package if not path.name.startswith("_") and path.name != "py.typed"}
    assert found == set(MAY_IMPORT)
    assert len(list(TopologicalSorter(MAY_IMPORT).static_order())) == len(MAY_IMPORT)


def test_an_import_is_seen(graph: grimp.ImportGraph) -> None:
    assert imported_parts(graph, "evaluation") >= {"core", "models"}
    assert imported_parts(graph, "commands") >= {"release", "terms"}


def test_no_cycles(graph: grimp.ImportGraph) -> None:
    modules = [module for module in graph.modules if module.startswith("unwrite")]
    for module in modules:
        for imported in graph.find_modules_directly_imported_by(module):
            if imported in modules:
                assert graph.find_shortest_chain(imported, module) is None, f"{module} and {imported} import each other"


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("transformers", {"unwrite.models"}),
        ("huggingface_hub", {"unwrite.models", "unwrite.release"}),
        ("peft", {"unwrite.models.peft"}),
        ("optuna", {"unwrite.search"}),
        ("ray", {"unwrite.workers"}),
        ("safetensors", {"unwrite.files", "unwrite.models.load_errors"}),  # the latter names its error
        ("ruamel", {"unwrite.schema.edited_yaml", "unwrite.schema.safe_yaml"}),
        ("altair", {"unwrite.report"}),
        ("vl_convert", {"unwrite.report"}),
        ("click", {"unwrite.chat", "unwrite.cli", "unwrite.commands"}),
        ("model_signing", {"unwrite.release.signing"}),
        (
            "dvc",
            {"unwrite.commands.plotting", "unwrite.doctor.dvc_settings", "unwrite.history", "unwrite.release"},
        ),
    ],
)
def test_a_library_is_imported_in_one_place(graph: grimp.ImportGraph, library: str, homes: set[str]) -> None:
    importers = graph.find_modules_that_directly_import(library)
    assert importers, f"nothing imports {library}"
    strays = {
        importer
        for importer in importers
        if not any(importer == home or importer.startswith(f"{home}.") for home in homes)
    }
    assert not strays


def test_core_imports_what_computes_and_the_terms_alone(graph: grimp.ImportGraph) -> None:
    core = graph.find_descendants("unwrite.core")
    outside = {name for module in core for name in graph.find_modules_directly_imported_by(module)} - core
    third_party = {name.split(".")[0] for name in outside} - set(sys.stdlib_module_names)
    assert third_party <= {"torch", "numpy", "scipy", "statsmodels", "unwrite"}
    assert {name for name in outside if name.startswith("unwrite")} == {"unwrite.terms"}


# That of the stages runs first in each of them.
INITS = set((ROOT / "unwrite").glob("*/**/__init__.py")) - {ROOT / "unwrite/stages/__init__.py"}


@pytest.mark.parametrize("path", sorted(INITS), ids=lambda p: str(p.relative_to(ROOT)))
def test_init_files_hold_a_docstring_and_nothing_else(path: Path) -> None:
    assert all(isinstance(node, ast.Expr) for node in ast.parse(path.read_text()).body)


def test_importing_the_package_imports_none_of_it() -> None:
    script = "import sys, unwrite; print([m for m in sys.modules if m.startswith('unwrite.') or m == 'torch'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_core_does_not_pull_transformers_in() -> None:
    modules = ", ".join(f"unwrite.core.{path.stem}" for path in (ROOT / "unwrite/core").glob("[!_]*.py"))
    script = f"import sys, {modules}; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["True", "False"]


def test_the_command_line_imports_nothing_heavy() -> None:
    script = (
        "import sys, unwrite.cli; print([m for m in ('torch', 'transformers', 'pydantic', 'dvc') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


# These come along with torch, transformers and huggingface-hub, which can't be imported without them.
BROUGHT_ALONG = {"filelock", "tqdm"}
WITHOUT_EXTRAS = """
import sys
from unwrite.cli import main
from unwrite.errors import _OPTIONAL
for module in set(_OPTIONAL) - {brought_along}:
    sys.modules[module] = None
for arguments in {commands}:
    try:
        main(arguments)
    except SystemExit as end:
        print(arguments[0], end.code)
"""


def without_extras(*commands: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run commands one after another where no extra is installed, each followed by a line with its exit code."""
    script = WITHOUT_EXTRAS.format(brought_along=BROUGHT_ALONG, commands=commands)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return make_release(tmp_path_factory.mktemp("release"))


@pytest.mark.slow
def test_auditing_a_release_needs_no_extra(release: Release, tmp_path: Path) -> None:
    shutil.copy(release.folder / "directions.safetensors", tmp_path)
    shutil.copy(release.folder / "edit.json", tmp_path)
    commands = [
        ["verify", str(release.folder), "--base", str(release.base)],
        ["explain", str(release.folder)],
        ["writers", str(release.base)],
        ["diff", str(tmp_path), str(release.folder)],
        ["check"],
    ]
    done = without_extras(*commands)
    assert done.stderr == ""
    assert [line for line in done.stdout.splitlines() if line in {f"{command[0]} 0" for command in commands}] == [
        f"{command[0]} 0" for command in commands
    ]


@pytest.mark.slow
def test_a_command_without_its_extra_names_it_in_one_line() -> None:
    done = without_extras(["diff"], ["audit"])
    assert done.stdout == "diff 1\naudit 1\n"
    assert done.stderr.splitlines() == [
        f"error: unwrite {command} needs DVC: pip install 'unwrite[pipeline]'." for command in ("diff", "audit")
    ]


@pytest.mark.slow
def test_stages_import_what_an_extra_brings_only_when_they_run() -> None:
    stages = ", ".join(f"unwrite.stages.{path.stem}" for path in (ROOT / "unwrite/stages").glob("*.py"))
    script = f"import sys, {stages}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not set(_OPTIONAL) - BROUGHT_ALONG & set(done.stdout.split())


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_and_public_function_has_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "a module opens with one sentence that says it"
    public = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in tree.body:
        if isinstance(node, public) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_every_module_has_its_test_file() -> None:
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    modules = [path for path in (ROOT / "unwrite").rglob("*.py") if path.name not in {"__init__.py", "errors.py"}]
    missing = [str(path.relative_to(ROOT)) for path in modules if f"test_{path.name}" not in tests]
    assert not missing


def test_no_two_modules_have_the_same_file_name() -> None:
    names = Counter(path.name for path in SOURCES if path.name != "__init__.py")
    assert [name for name, count in names.items() if count > 1] == []


MAY_BE_LONG = {
    "unwrite/schema/artifacts.py",  # schemas are tables of fields
    "unwrite/schema/evaluation.py",
    "unwrite/schema/params.py",
}
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 250, 50


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    if str(path.relative_to(ROOT)) not in MAY_BE_LONG:
        assert len(text.splitlines()) <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert lines_of(node) <= MOST_LINES_OF_A_FUNCTION, f"{node.name} has {lines_of(node)} lines"


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines without the docstring."""
    body = function.body[0]
    docstring = body.end_lineno - body.lineno + 1 if ast.get_docstring(function) and body.end_lineno else 0
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1 - docstring
