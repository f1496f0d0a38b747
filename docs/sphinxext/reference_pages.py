"""Write the pages of the reference: one for each public name, listed by the package whose stub declares it.

Public names stand in the ``__init__.pyi`` of each package, so that nothing has to be listed twice. A name that two
packages offer (``brainmap.rsa`` and ``brainmap.comparison.rsa``) has one page. What docstrings refer to besides,
such as modules that explain a method, gets a page of its own in an appendix: no reference leads nowhere.
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from public_names import PublicName, pages_of_names, public_names, public_packages
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

ROLE = re.compile(r":(?:class|func|mod|meth|data|attr|exc|obj):`~?([\w.]+)`")
CALL = re.compile(r"(?:brainmap\.)?((?:\w+\.)+\w+)(?:\(.*\))?")
WORDS = {
    "brainmap": "What most studies need",
    "brainmap.common": "Errors",
    "brainmap.data": "Responses and simulated data",
    "brainmap.data.fetching": "Public datasets on this disk",
    "brainmap.data.manifests": "What a public dataset consists of",
    "brainmap.data.readers": "Readers of public datasets and BIDS",
    "brainmap.data.simulation": "Simulated brains",
    "brainmap.models": "Vision models, objectives, checkpoints",
    "brainmap.features": "Activations and gradients",
    "brainmap.encoding": "From features to responses",
    "brainmap.statistics": "What may be said of scores",
    "brainmap.hierarchy": "Order in space and time, training dynamics",
    "brainmap.comparison": "Without regression: RSA, CKA, geometry, capacity",
    "brainmap.results": "What a finished study holds",
    "brainmap.report": "Reports",
    "brainmap.report.cortex": "Meshes",
    "brainmap.report.explore": "The page on which a cortex is turned and clicked",
    "brainmap.report.figures": "Figures",
    "brainmap.report.page": "Pages",
    "brainmap.report.panels": "Panels of a report",
    "brainmap.study": "Declared analyses",
    "brainmap.study.cluster": "Several processes and machines",
    "brainmap.papers": "The two published studies",
}


def ordered_packages() -> list[str]:
    """Packages with public names in the order of :data:`WORDS`; others follow."""
    order = list(WORDS)
    return sorted(public_packages(), key=lambda name: (order.index(name) if name in order else len(order), name))


def written_pages(folder: Path) -> dict[int, str]:
    """Write all pages of the reference and return, by the id of an object, the path its page goes by."""
    homes = pages_of_names()
    pages: dict[Path, str] = {}
    for package in ordered_packages():
        entries = [homes[id(entry.value)] for entry in public_names(package) if id(entry.value) in homes]
        pages[folder / f"{package}.rst"] = package_page(package, entries)
        for entry in entries:
            pages[folder / f"{entry.path}.rst"] = name_page(entry)
    appendix = also_referred_to(homes)
    for path, value in appendix.items():
        pages[folder / f"{path}.rst"] = module_page(path) if inspect.ismodule(value) else name_page_of(path, value)
    pages[folder / "index.rst"] = index_page()
    pages[folder / "also_referred_to.rst"] = appendix_page(list(appendix))
    folder.mkdir(exist_ok=True)
    for old in set(folder.glob("*.rst")) - set(pages):
        old.unlink()
    for path, text in pages.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    return {id(entry.value): entry.path for entry in homes.values()} | {id(v): path for path, v in appendix.items()}


def heading(text: str, line: str = "=") -> str:
    """Return a title with its line."""
    return f"{text}\n{line * len(text)}\n\n"


def index_page() -> str:
    """Return the front page of the reference."""
    text = heading("Reference")
    text += "Every public name, with its parameters and an example that runs. Names load on first use.\n\n"
    text += ".. list-table::\n   :widths: 30 70\n\n"
    for package in ordered_packages():
        text += f"   * - :doc:`{package}`\n     - {WORDS.get(package, '')}\n"
    text += "   * - :doc:`also_referred_to`\n     - Modules that explain a method\n"
    names = [*ordered_packages(), "also_referred_to"]
    return text + "\n.. toctree::\n   :hidden:\n\n" + "".join(f"   {name}\n" for name in names)


def appendix_page(appendix: list[str]) -> str:
    """Return the page that lists what docstrings refer to besides public names."""
    text = heading("Also referred to") + "Modules that explain a method, and what docstrings mention.\n"
    return text + "\n.. toctree::\n   :maxdepth: 1\n\n" + "".join(f"   {path}\n" for path in sorted(appendix))


def package_page(package: str, entries: list[PublicName]) -> str:
    """Return the page of a package: its names, a line each."""
    text = heading(package) + f"{WORDS.get(package, '')}.\n\n" + ".. list-table::\n   :widths: 35 65\n\n"
    for entry in entries:
        summary = (inspect.getdoc(entry.value) or "").split("\n\n")[0].replace("\n", " ")
        summary = ROLE.sub(lambda role: f"``{role[1].rpartition('.')[2]}``", summary)
        if not entry.explained:
            summary = f"The {type(entry.value).__name__} of the names that are known."
        text += f"   * - :doc:`{entry.name} <{entry.path}>`\n     - {summary}\n"
    own = [entry for entry in entries if entry.package == package]
    text += "\n.. toctree::\n   :hidden:\n\n" + "".join(f"   {entry.name} <{entry.path}>\n" for entry in own)
    return text


def name_page(entry: PublicName) -> str:
    """Return the page of a public name, with the gallery's examples that use it."""
    text = name_page_of(entry.path, entry.value)
    if entry.explained:
        called = dict.fromkeys((f"{entry.value.__module__}.{entry.name}", entry.path, f"brainmap.{entry.name}"))
        text += f"\n.. minigallery:: {' '.join(called)}\n"
        text += "   :add-heading: In the gallery\n   :heading-level: -\n"
    return text


def name_page_of(path: str, value: Any) -> str:
    """Return the page of an object."""
    package, _, name = path.rpartition(".")
    text = heading(name) + f".. currentmodule:: {package}\n\n"
    if inspect.isclass(value):
        members = "" if issubclass(value, BaseException) else "   :members:\n"
        return text + f".. autoclass:: {path}\n{members}"
    if inspect.isfunction(value):
        return text + f".. autofunction:: {path}\n"
    if callable(value):
        return text + f".. autodata:: {path}\n   :no-value:\n"
    names = ", ".join(f"``{key}``" for key in value)
    example = PublicName(package, name, value).example.replace("\n", "\n   ")
    return text + f".. py:data:: {path}\n\n   {names}\n\n   {example}\n"


def module_page(path: str) -> str:
    """Return the page of a module: what its docstring says."""
    return heading(path.removeprefix("brainmap.")) + f".. automodule:: {path}\n"


def also_referred_to(homes: dict[int, PublicName]) -> dict[str, Any]:
    """What the docstrings of pages refer to that has no page yet, and in turn what those refer to."""
    waiting = [entry.value for entry in homes.values()]
    pages: dict[str, Any] = {}
    seen = set(homes)
    while waiting:
        value = waiting.pop()
        for target in referred(value):
            resolved = resolve(target, getattr(value, "__module__", "") or getattr(value, "__name__", ""))
            if resolved is None or id(resolved[1]) in seen:
                continue
            path, thing = resolved
            if inspect.isclass(thing) or inspect.isfunction(thing) or inspect.ismodule(thing):
                seen.add(id(thing))
                packaged = inspect.ismodule(thing) and path in public_packages()
                if not packaged:
                    pages[path] = thing
                    waiting.append(thing)
    return pages


def referred(value: Any) -> list[str]:
    """Targets of roles in a docstring, and in those of the public members of a class."""
    texts = [inspect.getdoc(value) or ""]
    if inspect.isclass(value):
        texts += [inspect.getdoc(member) or "" for name, member in vars(value).items() if not name.startswith("_")]
    return [target for text in texts for target in ROLE.findall(text)]


def resolve(target: str, module: str) -> tuple[str, Any] | None:
    """Find what a role names, from the module it stands in; its defining path and the object."""
    for path in (target, f"{module}.{target}"):
        if not path.startswith("brainmap"):
            continue
        value = imported(path)
        if value is not None:
            named = getattr(value, "__qualname__", None)
            whole = f"{value.__module__}.{named}" if named and hasattr(value, "__module__") else path
            return whole, value
    return None


def imported(path: str) -> Any | None:
    """Import a dotted path, module or attribute."""
    parts = path.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for name in parts[cut:]:
            value = getattr(value, name, None)
            if value is None:
                return None
        return value
    return None


def link_to_page(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> Any:
    """Resolve a reference whose words are another path of an object that has a page."""
    if node.get("refdomain") != "py":
        return None
    module = node.get("py:module") or ""
    for where in (module, defining_module(node)):
        resolved = resolve(node["reftarget"], where)
        if resolved is None:
            continue
        path, value = resolved
        pages: dict[int, str] = env.brainmap_pages  # type: ignore[attr-defined]
        found = pages.get(id(value)) or (path if path in public_packages() else None)
        if found is not None:
            return make_refnode(app.builder, node["refdoc"], f"reference/{found}", "", content, found)
        owner = path.rpartition(".")[0]
        holder = imported(owner)
        if holder is not None and id(holder) in pages:
            return make_refnode(app.builder, node["refdoc"], f"reference/{pages[id(holder)]}", "", content, path)
        if inspect.ismodule(holder) or not (inspect.isclass(value) or inspect.isroutine(value)):
            return content  # data, named where it is explained
    return None


def defining_module(node: pending_xref) -> str:
    """Module that defines what a docstring belongs to, where its page goes by another path."""
    owner = ".".join(part for part in (node.get("py:module"), node.get("py:class")) if part)
    document = node.get("refdoc", "").removeprefix("reference/")
    for path in (document, owner):
        value = imported(path) if path.startswith("brainmap") else None
        if value is not None:
            return str(getattr(value, "__module__", None) or getattr(value, "__name__", ""))
    return ""


def link_names_in_text(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Link what a page of the guide writes as code, such as ``statistics.residual``, to its page in the reference."""
    if docname.startswith(("reference/", "gallery/")):
        return
    pages: dict[int, str] = app.env.brainmap_pages  # type: ignore[attr-defined]
    names = {entry.path: pages.get(id(entry.value)) for package in public_packages() for entry in public_names(package)}
    for node in list(doctree.findall(nodes.literal)):
        call = CALL.fullmatch(node.astext())
        page = None if call is None else names.get(f"brainmap.{call[1]}")
        if page is not None and not isinstance(node.parent, nodes.reference):
            node.replace_self(make_refnode(app.builder, docname, f"reference/{page}", "", node.deepcopy(), page))


def leave_out(app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what scikit-learn's metadata routing adds to estimators."""
    return True if (name.startswith("set_") and name.endswith("_request")) or name == "get_metadata_routing" else None


def build(app: Sphinx) -> None:
    """Write the pages before Sphinx looks for them."""
    app.brainmap_pages = written_pages(Path(app.srcdir) / "reference")  # type: ignore[attr-defined]


def hand_over(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    """Give the pages to the environment."""
    env.brainmap_pages = app.brainmap_pages  # type: ignore[attr-defined]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("builder-inited", build, priority=100)
    app.connect("env-before-read-docs", hand_over)
    app.connect("missing-reference", link_to_page)
    app.connect("doctree-resolved", link_names_in_text)
    app.connect("autodoc-skip-member", leave_out)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
