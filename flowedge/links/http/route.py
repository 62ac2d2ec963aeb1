"""Paths with names in braces: which requests are meant, and what their segments say."""

from urllib.parse import unquote


class Route:
    """A path of which some segments are any text.

    Parameters
    ----------
    text : ``ingest/{site}/{device}``, without the slash in front

    Attributes
    ----------
    names : of the segments in braces, in order

    Raises
    ------
    ValueError : it is no such path

    Examples
    --------
    >>> Route("ingest/{site}").match("/ingest/north%2Fwest?x=1")
    ('north/west',)
    >>> Route("ingest/{site}").match("/ingest")
    """

    def __init__(self, text: str) -> None:
        if "?" in text or "#" in text:
            raise ValueError(f"`/{text}` is more than a path")
        self._segments: list[str | None] = []
        found: dict[str, None] = {}
        for segment in text.split("/"):
            if "{" not in segment and "}" not in segment:
                self._segments.append(unquote(segment))
                continue
            name = segment[1:-1]
            if segment != f"{{{name}}}" or not name.isidentifier():
                raise ValueError(
                    f"`{segment}` in `/{text}`: what is captured is a whole segment, `/{{name}}/`"
                )
            if name in found:
                raise ValueError(f"`{{{name}}}` stands twice in `/{text}`")
            found[name] = None
            self._segments.append(None)
        self.names = tuple(found)

    def match(self, path: str) -> tuple[str, ...] | None:
        """What the segments in braces say, in the order of `names`; None: another path.

        Parameters
        ----------
        path : as it stands in the request, quoted, with whatever follows a question mark
        """
        given = path.partition("?")[0].removeprefix("/").split("/")
        if len(given) != len(self._segments):
            return None
        found = []
        for mine, quoted in zip(self._segments, given, strict=True):
            segment = unquote(quoted)
            if mine is None and segment:
                found.append(segment)
            elif mine != segment:
                return None
        return tuple(found)


__all__ = ["Route"]
