"""What the user lets run besides plain graphs: programs by digest, classes by name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Trust:
    """What was allowed on the command line, or by a signature.

    Attributes
    ----------
    digests : sha256 of files that may be programs (TorchScript, AOTInductor)
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
