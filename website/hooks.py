"""What MkDocs cannot say in mkdocs.yml: pages from other files of the repository, and links that leave docs/.

README, CHANGELOG and other documents of the repository are pages of the site as well, and each public class has a page
that mkdocstrings fills. Links between all of them are written as a Git host shows them. A link to any other file of the
repository leads to a copy of that file.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "constructs" / "healthimaging_cdk"
COPIES = "files"
DOCUMENTS = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Documents of the repository, by their path in it, and what they are called in the site."""
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
_CODE = re.compile(r"(^ *```.*?^ *```$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
_FIRST = ("DicomImport", "BulkDicomImport", "Datastore")


def documents() -> dict[str, str]:
    """Each document outside of docs/ that is a page: its path in the repository, and in the site."""
    examples = {
        f"examples/{readme.parent.name}/README.md": f"examples/{readme.parent.name}.md"
        for readme in sorted((ROOT / "examples").glob("*/README.md"))
    }
    overview = {"examples/README.md": "examples/index.md"} if examples else {}
    return DOCUMENTS | overview | examples


def public_classes() -> dict[str, ast.ClassDef]:
    """Each public class in the order of ``__all__``, read without importing anything."""
    sources = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))]
    found = {node.name: node for source in sources for node in source.body if isinstance(node, ast.ClassDef)}
    package = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    names = next(
        ast.literal_eval(node.value)
        for node in package.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    return {name: found[name] for name in names}


def construct_pages() -> dict[str, str]:
    """The pages of the public classes: one for each construct, and one for all that constructs take."""
    pages, values = {}, []
    for name, node in sorted(public_classes().items(), key=lambda item: _place_in_line(item[0])):
        is_value = any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list) or any(
            "Enum" in ast.unparse(base) for base in node.bases
        )
        if is_value:
            values.append(name)
        else:
            pages[f"constructs/{name}.md"] = f"::: healthimaging_cdk.{name}\n"
    options = "\n".join(f"::: healthimaging_cdk.{name}\n    options: {{heading_level: 2}}\n" for name in values)
    pages["constructs/Options-and-values.md"] = (
        f"# Options and values\n\nWhat constructs take as arguments.\n\n{options}"
    )
    return pages


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Write the folders of the navigation out."""
    config.nav = list(_expanded(config.nav or [], Path(config.docs_dir)))
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages and the copies of files that are not in docs/."""
    for path, page in documents().items():
        text = _relinked((ROOT / path).read_text(encoding="utf-8"), path, page)
        files.append(File.generated(config, page, content=text))
    for page, text in construct_pages().items():
        files.append(File.generated(config, page, content=text))
    for copy in sorted(_copies(Path(config.docs_dir))):
        files.append(File.generated(config, _copy(copy), abs_src_path=str(ROOT / copy)))
    files.append(File.generated(config, "assets/site.css", abs_src_path=str(ROOT / "website" / "site.css")))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - MkDocs calls it
    """Let the links of docs/ that leave it lead to the page, or to the copy, of what they name."""
    if page.file.generated_by:
        return markdown
    uri = page.file.src_uri
    return _relinked(markdown, f"docs/{uri}", uri)


def _place_in_line(name: str) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def _expanded(entries: list[Any], docs: Path) -> Iterator[Any]:
    for entry in entries:
        title, value = next(iter(entry.items())) if isinstance(entry, dict) else (None, entry)
        if isinstance(value, list):
            yield {title: list(_expanded(value, docs))}
        elif value.endswith("/"):
            yield {title: list(_folder(value, docs))}
        else:
            yield entry


def _folder(folder: str, docs: Path) -> Iterator[Any]:
    generated = [*documents().values(), *construct_pages()]
    for page in dict.fromkeys([*generated, *sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))]):
        if page.startswith("constructs/") and page.startswith(folder):
            yield {Path(page).stem.replace("-", " "): page}
        elif page.startswith(folder):
            yield page


def _relinked(text: str, source: str, page: str) -> str:
    """The text of a document with its relative links as its page has to write them."""

    def relink(match: re.Match[str]) -> str:
        before, link, after = match.groups()
        if "://" in link or link.startswith(("/", "mailto:")):
            return match.group()
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        return f"{before}{posixpath.relpath(_place(target), posixpath.dirname(page) or '.')}{after}"

    parts = _CODE.split(text)
    parts[::2] = [_LINK.sub(relink, part) for part in parts[::2]]
    return "".join(parts)


def _place(target: str) -> str:
    """Where the site has a file of the repository."""
    if (ROOT / target).is_dir():
        target = f"{target}/README.md"
    known = documents().get(target)
    if known:
        return known
    inside = target.removeprefix("docs/")
    return inside if inside != target else _copy(target)


def _copy(target: str) -> str:
    """Where the site has the copy of a file; MkDocs leaves out what begins with a dot."""
    return f"{COPIES}/{target.lstrip('.')}.txt"


def _copies(docs: Path) -> set[str]:
    """Files of the repository that a page links to and that are no pages."""
    sources = [(ROOT / path, path) for path in documents()]
    sources += [(path, f"docs/{path.relative_to(docs).as_posix()}") for path in docs.rglob("*.md")]
    found = set()
    for path, name in sources:
        for part in _CODE.split(path.read_text(encoding="utf-8"))[::2]:
            for _, link, _ in _LINK.findall(part):
                target = posixpath.normpath(posixpath.join(posixpath.dirname(name), link))
                if "://" not in link and _place(target).startswith(f"{COPIES}/") and (ROOT / target).is_file():
                    found.add(target)
    return found
