"""Connectors by the user's word: each registers itself, and its module is found by its name in a folder."""

import importlib
import pkgutil
from collections.abc import Callable
from typing import ClassVar, Generic, Protocol, TypeVar


class Named(Protocol):
    """A class that learns its name when it registers."""

    name: ClassVar[str]


C = TypeVar("C", bound=Named)


class Folder(Generic[C]):
    """The connectors of one side, imported only when asked for.

    Parameters
    ----------
    package : where their modules lie; ``simulate.ecg`` is ``ecg.py`` in its folder ``simulate``
    """

    def __init__(self, package: str) -> None:
        self._package = package
        self._known: dict[str, type[C]] = {}

    def __call__(self, name: str) -> Callable[[type[C]], type[C]]:
        """Register a class under the user's word, ``@connector("arrow")``."""

        def register(kind: type[C]) -> type[C]:
            kind.name = name
            self._known[name] = kind
            return kind

        return register

    def names(self) -> tuple[str, ...]:
        """Every connector that can be opened, in alphabetical order."""
        path = importlib.import_module(self._package).__path__
        for module in pkgutil.walk_packages(path, f"{self._package}."):
            importlib.import_module(module.name)
        return tuple(sorted(self._known))

    def get(self, name: str) -> type[C] | None:
        """The connector of this name; None if there is none. Imports no other."""
        if name not in self._known and all(part.isidentifier() for part in name.split(".")):
            module = f"{self._package}.{name}"
            try:
                importlib.import_module(module)
            except ModuleNotFoundError as error:
                if not f"{module}.".startswith(f"{error.name}."):
                    raise
        return self._known.get(name)
