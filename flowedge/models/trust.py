"""What the user lets run besides plain graphs: programs by digest, classes by name."""

from dataclasses import dataclass

_EXPORT = "export it with torch.export to a .pt2 of graph and weights"
UNREAD = f"{_EXPORT}, or save its weights as .safetensors for a class that you allow: --allow-class MODULE:CLASS"
"""The two ways forward from a pickle, which is not read from anybody."""


@dataclass(frozen=True)
class Trust:
    """What was allowed on the command line, or by a signature.

    Attributes
    ----------
    digests : sha256 of files that may be programs (TorchScript, AOTInductor, archives with code in parts)
    classes : ``module:Class`` that may be imported, and given the weights of a ``.safetensors``
    """

    digests: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Digests are compared in lower case."""
        object.__setattr__(self, "digests", frozenset(d.lower() for d in self.digests))

    def also(self, digest: str) -> "Trust":
        """The same, and one more file."""
        return Trust(self.digests | {digest}, self.classes)


NONE = Trust()


def when_trusted(digest: str) -> str:
    """The two ways forward from a program."""
    return (
        f"{_EXPORT} instead, or have it signed with a key that you trust: --trust-model PUBLIC "
        f"(or trust this very file: --trust-model {digest})"
    )
