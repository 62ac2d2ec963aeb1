"""What an archive holds that can do more than to compute, and so wants to be trusted.

A TorchScript program and an AOTInductor package are programs as a whole. A ``.pt2`` of graph and weights is none for
`flowedge.models.pt2`, which opens none of the parts below. But whoever else opens the same file runs what stands in them,
by ``torch.export.load`` (of Torch 2.13) or by calling what that gave:

- the sample inputs, a file of `torch.save`: where ``weights_only=True`` fails on it, Torch reads it again without;
- weights and constants in one file, a second graph, and the files of the format before 2.8: the same, and all below again;
- texts of sizes (``expr_str``): to ``sympy.sympify``, which is `eval`;
- ``guards_code``: into the source of a function, which is `exec`; so are names of inputs and of values;
- ``in_spec`` and ``out_spec``: imports the modules of enums and of default values that they name.

Each is judged by a list of what may stand there, and nothing is opened for that: pickles by their opcodes, texts by their
tokens. What else Torch reads does not run in 2.13: names of operators (which are on the list of our reader, or refused),
metadata of nodes, versions. Not judged is what a type of arguments does that the reader's own program has registered, nor
how long a size takes to work out.
"""

import json
import pickletools
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from flowedge.lang.errors import ModelError
from flowedge.models.archive import Archive

GRAPH = "models/model.json"
SAMPLES = "data/sample_inputs/model.pt"
MOST_TEXT = 2**19
"""Characters of different sizes, of guards, or of keys of arguments, at most; networks of a hundred layers have some thousand."""
LARGEST_PACKED = 2**26
"""Bytes of the sample inputs, at most, where they take less in the archive."""
LARGEST_PICKLE = 2**17
"""Bytes of the sample inputs without their tensors, at most."""
_RUNS = "which Torch would run"

_PARTS = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)|extra/.*|models/model\.json|"
    r"data/sample_inputs/model\.pt|data/(weights|constants)/model_(weights|constants)_config\.json|"
    r"data/weights/weight_\d+|data/constants/(tensor|custom_obj|opaque_obj)_\d+"
)
"""What torch.export.save writes; constants that are objects are refused where they are used."""
_SAVED = re.compile(
    r"data\.pkl|data/\d+|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id"
)
"""What torch.save writes."""

_OPCODES = re.compile(
    r"PROTO|FRAME|STOP|MARK|NONE|NEW(TRUE|FALSE)|LONG1|BININT[12]?|BINFLOAT|(SHORT_)?BINUNICODE|EMPTY_(TUPLE|LIST|DICT)|"
    r"TUPLE[123]?|APPENDS?|SETITEMS?|(LONG_)?BIN(PUT|GET)|MEMOIZE|BINPERSID|GLOBAL|REDUCE"
)
"""Numbers, texts and what holds them; GLOBAL and REDUCE call what is named below. Torch writes protocol 2."""
_NAMED = re.compile(
    r"torch\._utils _rebuild_(tensor_v[23]|parameter|parameter_with_state)|torch\._tensor _rebuild_from_type_v2|"
    r"torch (Tensor|Size|device|[A-Z][A-Za-z0-9]*Storage|(b?float|u?int|complex)\d+(_\w+)?|bool)|torch\.nn\.parameter Parameter|"
    r"torch\.storage (Untyped|Typed)Storage|collections OrderedDict"
)
"""What tensors, and the tuples and dictionaries of them, are made of."""

_TOKEN = re.compile(
    r" *(?:([^\W\d]\w*)|\d+(?:\.\d+)?(?:e[-+]?\d+)?|'[\w .+/-]*'|//|\*\*|<<|>>|[<>=!]=|[-+*/%&|^~(),.=<>[\]]) *"
)
_SIZES = re.compile(
    r"[a-z]{1,3}\d+|Symbol|Integer|Rational|Float|Add|Mul|Pow|Min|Max|Abs|floor|ceiling|Mod|"
    r"(E|Une)quality|Eq|Ne|(Strict)?(Greater|Less)Than|[GL][et]|And|Or|Not|Xor|Piecewise|ExprCondPair|"
    r"true|false|True|False|None|oo|int_oo|inf|nan|non(positive|negative|zero)|positive|negative|zero|integer|real|finite|even|odd|"
    r"commutative|precision|(Floor|Ceil|Clean)Div|ModularIndexing|Where|PythonMod|(Ceil|Floor|Trunc|Round)ToInt|[LR]Shift|"
    r"PowByNatural|FloatPow|(Float|Int)TrueDiv|IsNonOverlappingAndDenseIndicator|TruncToFloat|RoundDecimal|ToFloat|Identity|"
    r"(OpaqueUnaryFn|BitwiseFn)_\w+"
)
"""Names in sizes: what SymPy writes (`srepr`), with the functions of torch.utils._sympy; and symbols, such as `s0`."""
_GUARDS = re.compile(
    r"L|size|stride|storage_offset|and|or|not|if|else|True|False|None|inf|math|nan|isnan|ceil|floor|trunc|sqrt|pow|log2?|exp|"
    r"a?(sin|cos|tan)h?|max|min|abs|round|int|float|bool|torch|sym_(float|int|max|min|not|ite)|_sym_\w+|"
    r"IsNonOverlappingAndDenseIndicator|cast_symbool_to_symint_guardless"
)
"""Names in guards: lengths of inputs, and what torch.utils._sympy.printers makes of functions."""


def program_in(archive: Archive) -> str:
    """What an archive is or holds that can do more than to compute, as a noun; empty: nothing.

    Raises
    ------
    ModelError
        its graph is no JSON
    """
    if is_torchscript(archive):
        return "a TorchScript program, which can do anything that Python can"
    if has_machine_code(archive):
        return "an AOTInductor package, which ships machine code"
    if not archive.has(GRAPH):
        return ""
    found = _in_parts(archive) or _in_samples(archive) or _in_texts(archive.json(GRAPH))
    return f"an archive with {found}" if found else ""


def is_torchscript(archive: Archive) -> bool:
    """Whether an archive is a TorchScript program: code and a pickle at its root."""
    return any(
        p == "constants.pkl" or p.startswith("code/") for p in archive.members
    ) and not archive.has(GRAPH)


def has_machine_code(archive: Archive) -> bool:
    """Whether an archive is an AOTInductor package: a shared library inside."""
    return any(path.endswith((".so", ".cpp", ".cubin", ".o")) for path in archive.members)


def pickled(data: bytes) -> str:
    """What a pickle would do beyond making tensors, as a noun; empty: nothing. It is not opened."""
    texts = [""]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pickletools, where a name has a backslash
        try:
            for opcode, value, at in pickletools.genops(data):
                text = value if isinstance(value, str) else ""
                if opcode.name == "STACK_GLOBAL":
                    return f"a pickle that names `{_shown('.'.join(texts[-2:]))}` by STACK_GLOBAL"
                if opcode.name == "GLOBAL":
                    lines = text.replace(" ", "\n", 1).encode() + b"\n"  # as unpicklers read them
                    if not _NAMED.fullmatch(text) or not data.startswith(lines, (at or 0) + 1):
                        return f"a pickle that names `{_shown(text.replace(' ', '.'))}`"
                elif not _OPCODES.fullmatch(opcode.name):
                    return f"a pickle with the instruction {opcode.name}"
                elif not _is_quotable(text):
                    return f"a pickle with a text that is Python (`{_shown(text)}`)"
                texts += [text] if text else []
        except (ValueError, IndexError, OverflowError):  # as it reports what is no pickle
            return "a pickle that is damaged"
    return ""


def _in_parts(archive: Archive) -> str:
    for path, member in archive.members.items():
        if not _PARTS.fullmatch(path):
            return f"a part `{_shown(member.filename)}` that torch.export does not write, and Torch may run"
    return ""


def _in_samples(archive: Archive) -> str:
    """Sample inputs that are more than tensors; nothing of them is unpickled."""
    if not archive.has(SAMPLES):
        return ""
    data = archive.read(SAMPLES, max(LARGEST_PACKED, archive.members[SAMPLES].compress_size))
    if not data:
        return ""
    if not data.startswith(b"PK\3\4"):
        return f"sample inputs that are no file of torch.save but {pickled(data) or 'a bare pickle'}, {_RUNS}"
    try:
        saved = Archive(data, SAMPLES)
        if any(not _SAVED.fullmatch(path) for path in saved.members):
            return f"sample inputs that are no file of torch.save but another archive, {_RUNS}"
        found = pickled(saved.read("data.pkl", LARGEST_PICKLE))
    except ModelError as error:
        return f"sample inputs that cannot be looked through ({str(error).removeprefix('model ')}), {_RUNS}"
    return f"sample inputs that are {found}, {_RUNS}" if found else ""


def _in_texts(graph: object) -> str:
    """The first text of a graph that is not of its kind."""
    for kind, found in _texts(graph).items():
        what, is_plain = _KINDS[kind]
        if is_plain in _LONG and sum(map(len, found)) > MOST_TEXT:
            return f"more than {MOST_TEXT} characters of {kind}, {_RUNS}"
        bad = next((text for text in sorted(found) if not is_plain(text)), None)
        if bad is not None:
            return f"{what} (`{_shown(bad)}`), {_RUNS}"
    return ""


def _texts(graph: object) -> dict[str, set[str]]:
    """All texts of a graph that Torch makes Python of, by their kind; what stands below one of them counts as well."""
    out: dict[str, set[str]] = {kind: set() for kind in _KINDS}
    rest: list[tuple[str, Any]] = [("", [graph])]
    while rest:
        key, value = rest.pop()
        kind = _VALUES.get(key)
        if isinstance(value, dict):
            named = kind or _KEYS.get(key)
            if named:
                out[named].update(value)
            pairs = ((key if kind else k, v) for k, v in value.items() if kind or k != "metadata")
        else:
            pairs = ((key, v) for v in value)
        for k, v in pairs:
            if isinstance(v, str):
                if k in _VALUES:
                    out[_VALUES[k]].update(_contexts(v) if _VALUES[k] == "trees" else (v,))
            elif v and isinstance(v, dict | list):
                rest.append((k, v))
    return out


def _of_tokens(text: str, names: re.Pattern[str]) -> bool:
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None or (token[1] and not names.fullmatch(token[1])):
            return False
        at = token.end()
    return True


def _is_size(text: str) -> bool:
    return _of_tokens(text, _SIZES)


def _is_guard(text: str) -> bool:
    return _of_tokens(text, _GUARDS)


def _is_name(text: str) -> bool:
    return not text or text.isidentifier()


def _is_quotable(text: str) -> bool:
    """Whether a text between quotes stays there, of whichever kind they are."""
    return text.isprintable() and not re.search(r"""["'\\]""", text)


def _contexts(tree: str) -> Iterator[str]:
    """What a tree of arguments tells of each of its tuples, lists and dictionaries, as JSON; all of it where it is no tree."""
    try:
        _, root = json.loads(tree)
        rest, found = [root], []
        while rest:
            node = rest.pop()
            context = node.get("context")
            found.append(context if isinstance(context, str) else json.dumps(context))
            rest.extend(node.get("children_spec", ()))
    except (ValueError, TypeError, AttributeError, RecursionError):
        found = [tree]
    return iter(found)


def _is_context(text: str) -> bool:
    """Whether the keys of arguments are plain; an object among them imports what it names."""
    try:
        return _is_plain(json.loads(text))
    except (ValueError, RecursionError):
        return False


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return (
        value is None
        or isinstance(value, int | float)
        or (isinstance(value, str) and _is_key(value))
    )


def _is_key(text: str) -> bool:
    """Whether a key stays one in the head of a function; between quotes it does as well."""
    return re.fullmatch(r"[\w .+/-]*", text) is not None


_KINDS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "sizes": ("a size that is Python", _is_size),
    "guards": ("a guard that is Python", _is_guard),
    "trees": ("arguments with keys that are Python", _is_context),
    "names": ("a value whose name is Python", _is_name),
    "paths": ("a weight whose name is Python", _is_quotable),
}
_LONG = (_is_size, _is_guard, _is_context)
_VALUES = {
    "expr_str": "sizes", "guards_code": "guards", "in_spec": "trees", "out_spec": "trees", "name": "names", "as_name": "names",
    "forward_arg_names": "names", "parameter_name": "paths", "buffer_name": "paths", "tensor_constant_name": "paths",
    "custom_obj_name": "paths", "fqn": "paths",
}  # fmt: skip
"""Under which keys texts stand, and of which kind they are."""
_KEYS = {
    "range_constraints": "sizes", "tensor_values": "names", "sym_int_values": "names", "sym_float_values": "names",
    "sym_bool_values": "names", "custom_obj_values": "names",
}  # fmt: skip
"""Which objects have such texts as their keys."""


def _shown(text: str) -> str:
    """The beginning of a text, as far as it is letters that can be shown."""
    return ascii(text)[1:-1][:60]
