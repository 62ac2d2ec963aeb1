"""From lark's parse tree to the typed syntax tree."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.lang.span import Span
from flowedge.lang.tree import Ident

ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "0": "\0"}


class TreeBuilder:
    """Walks a lark tree of one text; every method is named after the rule that it builds."""

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file

    def transform(self, node: Any) -> st.Flow:  # noqa: ANN401
        """The tree of a whole file."""
        version, statements = None, []
        for child in node.children:
            if child is None:
                continue
            if child.data == "version":
                version = int(child.children[0])
            else:
                statements.append(self.build(child))
        return st.Flow(
            version=version,
            statements=tuple(statements),
            span=Span(0, len(self.text), self.file, self.text),
        )

    def build(self, node: Any) -> Any:  # noqa: ANN401
        """Any node, by the name of its rule."""
        rule: Callable[[Any, Span], Any] = getattr(self, "_" + node.data.rstrip("_"))
        return rule(node.children, self.span(node))

    # ---- pieces

    def span(self, node: Any) -> Span:  # noqa: ANN401
        """Where a node or token stands."""
        if hasattr(node, "start_pos") and node.start_pos is not None:
            return Span(node.start_pos, node.end_pos, self.file, self.text)
        meta = node.meta
        if meta.empty:
            return Span(0, 0, self.file, self.text)
        return Span(meta.start_pos, meta.end_pos, self.file, self.text)

    def ident(self, token: Any) -> Ident:  # noqa: ANN401
        """A NAME token."""
        name = str(token)
        if name.startswith("`"):
            name = name[1:-1]
        return Ident(name=unicodedata.normalize("NFC", name), span=self.span(token))

    def text_of(self, token: Any) -> t.Text:  # noqa: ANN401
        """A STRING token."""
        raw = str(token)[1:-1]
        value = re.sub(r"\\(.)", lambda m: ESCAPES.get(m.group(1), m.group(0)), raw)
        return t.Text(value=value, span=self.span(token))

    def maybe(self, node: Any) -> Any:  # noqa: ANN401
        """A node that may be absent."""
        return None if node is None else self.build(node)

    def names(self, node: Any) -> tuple[Ident, ...]:  # noqa: ANN401
        """A list of names."""
        return tuple(self.ident(x) for x in node.children)

    @staticmethod
    def _integer(token: Any) -> int:  # noqa: ANN401
        return (
            int(str(token).replace("_", ""), 0)
            if str(token)[:2] == "0x"
            else int(str(token).replace("_", ""))
        )

    # ---- statements

    def _param(self, c: Any, span: Span) -> st.Param:  # noqa: ANN401
        return st.Param(name=self.ident(c[0]), value=self.build(c[1]), span=span)

    def _import(self, c: Any, span: Span) -> st.Import:  # noqa: ANN401
        return st.Import(
            path=self.text_of(c[0]), alias=None if c[1] is None else self.ident(c[1]), span=span
        )

    def _def(self, c: Any, span: Span) -> st.Def:  # noqa: ANN401
        rest = [x for x in c[1:] if x is not None]
        formals = tuple(self.build(x) for x in rest if x.data == "formal")
        return st.Def(
            name=self.ident(c[0]),
            formals=formals,
            stages=tuple(self.build(x) for x in rest if x.data != "formal"),
            span=span,
        )

    def _formal(self, c: Any, span: Span) -> st.Formal:  # noqa: ANN401
        return st.Formal(name=self.ident(c[0]), default=self.maybe(c[1]), span=span)

    def _fn(self, c: Any, span: Span) -> st.Fn:  # noqa: ANN401
        return st.Fn(
            name=self.ident(c[0]), formals=self.names(c[1]), body=self.build(c[2]), span=span
        )

    def _source(self, c: Any, span: Span) -> st.Source:  # noqa: ANN401
        rate, at_most = None, False
        if c[2] is not None:
            at_most = c[2].data == "rate_at_most"
            rate = self.build(c[2].children[0])
        columns = (
            None if c[1] is None else tuple(self.build(x) for x in c[1].children if x is not None)
        )
        return st.Source(
            name=self.ident(c[0]), columns=columns, rate=rate, at_most=at_most, connector=self.build(c[3]),
            clauses=tuple(self.build(x) for x in c[4:]), span=span,
        )  # fmt: skip

    def _column(self, c: Any, span: Span) -> st.Column:  # noqa: ANN401
        return st.Column(
            name=self.ident(c[0]), type=self.maybe(c[1]), expr=self.maybe(c[2]), span=span
        )

    def _key_type(self, c: Any, span: Span) -> st.ColumnType:  # noqa: ANN401
        name = None if c[0] is None else self.ident(c[0].children[0])
        return st.ColumnType(name=name, is_key=True, span=span)

    def _value_type(self, c: Any, span: Span) -> st.ColumnType:  # noqa: ANN401
        shape = () if c[1] is None else tuple(self._integer(x) for x in c[1].children)
        unit = None if c[2] is None else str(c[2])[1:-1]
        return st.ColumnType(name=self.ident(c[0].children[0]), shape=shape, unit=unit,
                            unit_span=None if c[2] is None else self.span(c[2]), span=span)  # fmt: skip

    def _model(self, c: Any, span: Span) -> st.Model:  # noqa: ANN401
        return st.Model(
            name=self.ident(c[0]),
            op=self.build(c[1]),
            clauses=tuple(self.build(x) for x in c[2:]),
            span=span,
        )

    def _stream(self, c: Any, span: Span) -> st.Stream:  # noqa: ANN401
        return st.Stream(name=self.ident(c[0]), pipeline=self.build(c[1]), span=span)

    def _pipeline(self, c: Any, span: Span) -> st.Pipeline:  # noqa: ANN401
        built = [self.build(x) for x in c if x is not None]
        refs = tuple(x for x in built if isinstance(x, t.Ref))
        return st.Pipeline(
            refs=refs, stages=tuple(x for x in built if not isinstance(x, t.Ref)), span=span
        )

    def _ref(self, c: Any, span: Span) -> t.Ref:  # noqa: ANN401
        return t.Ref(
            name=self.ident(c[0]), part=None if c[1] is None else self.ident(c[1]), span=span
        )

    def _sink(self, c: Any, span: Span) -> st.Sink:  # noqa: ANN401
        return st.Sink(pipeline=self.build(c[0]), deadline=self.maybe(c[1]), connector=self.build(c[2]),
                      clauses=tuple(self.build(x) for x in c[3:]), span=span)  # fmt: skip

    def _deadline(self, c: Any, span: Span) -> t.Deadline:  # noqa: ANN401
        policy = c[1]
        if policy.data == "else_model":
            return t.Deadline(
                limit=self.build(c[0]),
                policy=self.ident(policy.children[0]),
                is_model=True,
                span=span,
            )
        text = None if policy.children[1] is None else self.text_of(policy.children[1])
        return t.Deadline(
            limit=self.build(c[0]), policy=self.ident(policy.children[0]), text=text, span=span
        )

    def _test(self, c: Any, span: Span) -> st.Test:  # noqa: ANN401
        parts = [self.build(x) for x in c[1:]]
        return st.Test(name=self.text_of(c[0]), given=tuple(x for x in parts if isinstance(x, st.Given)),
                      expect=tuple(x for x in parts if isinstance(x, st.Expect)), span=span)  # fmt: skip

    def _given(self, c: Any, span: Span) -> st.Given:  # noqa: ANN401
        return st.Given(name=self.ident(c[0]), path=self.text_of(c[1]), span=span)

    def _expect(self, c: Any, span: Span) -> st.Expect:  # noqa: ANN401
        return st.Expect(
            ref=self.build(c[0]), path=self.text_of(c[1]), within=self.maybe(c[2]), span=span
        )

    # ---- clauses

    def _clause(self, word: str, span: Span, **parts: Any) -> st.Clause:  # noqa: ANN401
        return st.Clause(word=word, span=span, **parts)

    def _one_expr(word: str) -> Callable[..., st.Clause]:  # type: ignore[misc]  # noqa: N805  # used while the class is made
        def build(self: "TreeBuilder", c: Any, span: Span) -> st.Clause:  # noqa: ANN401
            return st.Clause(word=word, exprs=(self.build(c[0]),), span=span)

        return build

    _time = _one_expr("time")
    _ahead = _one_expr("ahead")
    _jitter = _one_expr("jitter")
    _on_silence = _one_expr("on_silence")
    _idle = _one_expr("idle")
    _expire = _one_expr("expire")
    _buffer = _one_expr("buffer")

    def _key_columns(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        return self._clause("key", span, names=self.names(c[0]))

    def _units(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        units = tuple(t.Text(value=str(x)[1:-1], span=self.span(x)) for x in c[1::2])
        return self._clause("unit", span, names=tuple(self.ident(x) for x in c[0::2]), units=units)

    def _late(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        return self._clause("late", span, exprs=(self.build(c[0]),), flag=c[1] is not None)

    def _order_time(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        return self._clause("order_time", span)

    def _duplicates(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        return self._clause("duplicates", span, names=(self.ident(c[0]),))

    def _gaps(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        exprs = () if c[1] is None else (self.build(c[1]),)
        return self._clause("gaps", span, names=(self.ident(c[0]),), exprs=exprs)

    def _on_error(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        texts = () if c[1] is None else (self.text_of(c[1]),)
        return self._clause("on_error", span, names=(self.ident(c[0]),), texts=texts)

    def _valid(self, c: Any, span: Span) -> st.Valid:  # noqa: ANN401
        low, high = (None if x is None else self.build(x) for x in c[1:3])
        return st.Valid(
            name=self.ident(c[0]), low=low, high=high, policy=self.ident(c[-1]), span=span
        )

    def _validity(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        return self._clause("valid", span, valid=tuple(self.build(x) for x in c))

    def _max_keys(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        return self._clause("max_keys", span, number=self._integer(c[0]))

    def _model_input(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        return self._clause("input", span, names=self.names(c[0]))

    def _model_labels(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        labels: tuple[Any, ...] = () if c[1] is None else self.build(c[1]).values
        names = tuple(self.ident(x) for x in (c[0], c[2]) if x is not None)
        return self._clause("output", span, names=names, exprs=labels, flag=c[1] is not None)

    def _model_columns(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        return self._clause(
            "output_columns", span, columns=tuple(self.build(x) for x in c if x is not None)
        )

    def _model_state(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        return self._clause("state", span, columns=tuple(self.build(x) for x in c if x is not None))

    def _model_device(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        return self._clause("on", span, names=(self.ident(c[0]),))

    def _model_batch(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        return self._clause("batch", span, number=self._integer(c[0]))

    def _model_breaker(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        exprs = () if c[1] is None else (self.build(c[1]),)
        return self._clause("breaker", span, number=self._integer(c[0]), exprs=exprs)

    def _signed(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        return self._clause("signed", span, texts=(self.text_of(c[0]),))

    def _isolated(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        return self._clause("isolated", span)

    def _sink_name(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        return self._clause("as", span, names=(self.ident(c[0]),))

    def _priority(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        return self._clause("priority", span, number=self._integer(c[0]))

    def _durability(self, c: Any, span: Span) -> st.Clause:  # noqa: ANN401
        exprs = () if c[1] is None else (self.build(c[1]),)
        return self._clause("durability", span, names=(self.ident(c[0]),), exprs=exprs)

    # ---- stages

    def _where(self, c: Any, span: Span) -> t.Where:  # noqa: ANN401
        return t.Where(condition=self.build(c[0]), span=span)

    def _derive(self, c: Any, span: Span) -> t.Derive:  # noqa: ANN401
        return t.Derive(bindings=tuple(self.build(x) for x in c), span=span)

    def _binding(self, c: Any, span: Span) -> t.Binding:  # noqa: ANN401
        return t.Binding(name=self.ident(c[0]), expr=self.build(c[1]), span=span)

    def _select(self, c: Any, span: Span) -> t.Select:  # noqa: ANN401
        return t.Select(bindings=tuple(self.build(x) for x in c), span=span)

    def _selected(self, c: Any, span: Span) -> t.Binding:  # noqa: ANN401
        return t.Binding(name=self.ident(c[0]), expr=self.maybe(c[1]), span=span)

    def _rekey(self, c: Any, span: Span) -> t.Rekey:  # noqa: ANN401
        return t.Rekey(names=self.names(c[0]), span=span)

    def _on_names(self, node: Any) -> tuple[Ident, ...] | None:  # noqa: ANN401
        return None if node is None else self.names(node)

    def _filter(self, c: Any, span: Span) -> t.Filter:  # noqa: ANN401
        return t.Filter(op=self.build(c[0]), on=self._on_names(c[1]), span=span)

    def _compress(self, c: Any, span: Span) -> t.Compress:  # noqa: ANN401
        return t.Compress(op=self.build(c[0]), on=self._on_names(c[1]), span=span)

    def _spectrum(self, c: Any, span: Span) -> t.Spectrum:  # noqa: ANN401
        return t.Spectrum(op=self.build(c[0]), on=self._on_names(c[1]), span=span)

    def _zone_of(self, node: Any) -> Any:  # noqa: ANN401
        return None if node is None else self.build(node.children[0])

    def _resample(self, c: Any, span: Span) -> t.Resample:  # noqa: ANN401
        return t.Resample(grid=self.build(c[0]), method=None if c[1] is None else self.ident(c[1]),
                          up_to=self.maybe(c[2]), zone=self._zone_of(c[3]), span=span)  # fmt: skip

    def _window(self, c: Any, span: Span) -> t.Window:  # noqa: ANN401
        return t.Window(
            size=self.build(c[0]), every=self.maybe(c[1]), zone=self._zone_of(c[2]), span=span
        )

    def _unnest(self, c: Any, span: Span) -> t.Unnest:  # noqa: ANN401
        return t.Unnest(names=self.names(c[0]), rate=self.maybe(c[1]), span=span)

    def _aggregate(self, c: Any, span: Span) -> t.Aggregate:  # noqa: ANN401
        return t.Aggregate(bindings=tuple(self.build(x) for x in c), span=span)

    def _agg(self, c: Any, span: Span) -> t.Binding:  # noqa: ANN401
        return t.Binding(
            name=None if c[1] is None else self.ident(c[1]), expr=self.build(c[0]), span=span
        )

    def _split(self, c: Any, span: Span) -> Any:  # noqa: ANN401
        return replace(self.build(c[0]), span=span)

    def _split_at(self, c: Any, span: Span) -> t.SplitAt:  # noqa: ANN401
        return t.SplitAt(
            events=self.build(c[0]), begin=self.build(c[1]), end=self.build(c[2]), span=span
        )

    def _split_next(self, c: Any, span: Span) -> t.SplitNext:  # noqa: ANN401
        return t.SplitNext(events=self.build(c[0]), up_to=self.maybe(c[1]), span=span)

    def _split_gap(self, c: Any, span: Span) -> t.SplitGap:  # noqa: ANN401
        return t.SplitGap(gap=self.build(c[0]), up_to=self.maybe(c[1]), span=span)

    def _split_on(self, c: Any, span: Span) -> t.SplitOn:  # noqa: ANN401
        return t.SplitOn(condition=self.build(c[0]), up_to=self.maybe(c[1]), span=span)

    def _split_while(self, c: Any, span: Span) -> t.SplitWhile:  # noqa: ANN401
        return t.SplitWhile(condition=self.build(c[0]), up_to=self.maybe(c[1]), span=span)

    def _split_into(self, c: Any, span: Span) -> t.SplitInto:  # noqa: ANN401
        return t.SplitInto(branches=tuple(self.build(x) for x in c), span=span)

    def _branch(self, c: Any, span: Span) -> t.Branch:  # noqa: ANN401
        return t.Branch(name=self.ident(c[0]), condition=self.build(c[1]), span=span)

    def _branch_else(self, c: Any, span: Span) -> t.Branch:  # noqa: ANN401
        return t.Branch(name=self.ident(c[0]), condition=None, span=span)

    def _join(self, c: Any, span: Span) -> t.Join:  # noqa: ANN401
        within = method = None
        if c[1].data == "within":
            within = self.build(c[1].children[0])
            method = None if c[1].children[1] is None else self.ident(c[1].children[1])
        return t.Join(stream=self.build(c[0]), within=within, method=method, span=span)

    def _detect(self, c: Any, span: Span) -> t.Detect:  # noqa: ANN401
        return t.Detect(op=self.build(c[0]), span=span)

    def _classify(self, c: Any, span: Span) -> Any:  # noqa: ANN401
        what, deadline = c[0], self.maybe(c[1])
        if what.data == "with_model":
            model, args, shadow = what.children
            arguments = () if args is None else self._arguments(args)
            return t.ClassifyModel(model=self.ident(model), arguments=arguments, deadline=deadline,
                                   shadow=None if shadow is None else self.ident(shadow), span=span)  # fmt: skip
        if what.data == "rules":
            rules = tuple(self.build(x) for x in what.children if x is not None)
            return t.ClassifyRules(rules=rules, deadline=deadline, span=span)
        return t.ClassifyScorer(op=self.build(what.children[0]), deadline=deadline, span=span)

    def _rule(self, c: Any, span: Span) -> t.Rule:  # noqa: ANN401
        return t.Rule(
            label=self.text_of(c[0]), condition=self.build(c[1]), hold=self.maybe(c[2]), span=span
        )

    def _rule_else(self, c: Any, span: Span) -> t.Rule:  # noqa: ANN401
        return t.Rule(label=self.text_of(c[0]), condition=None, hold=None, span=span)

    def _apply(self, c: Any, span: Span) -> t.Apply:  # noqa: ANN401
        return t.Apply(op=self.build(c[0]), span=span)

    # ---- operators, arguments, expressions

    def _op(self, c: Any, span: Span) -> t.Call:  # noqa: ANN401
        name, part = self.ident(c[0]), c[1]
        if part is not None:
            dotted = f"{name.name}.{self.ident(part).name}"
            name = Ident(name=dotted, span=name.span.to(self.span(part)))
        return t.Call(
            name=name,
            arguments=() if c[2] is None else self._arguments(c[2]),
            has_brackets=span.source.rstrip().endswith(")"),
            span=span,
        )

    _call = _op

    def _arguments(self, node: Any) -> tuple[t.Argument, ...]:  # noqa: ANN401
        out = []
        for child in node.children:
            if child is None:
                continue
            if getattr(child, "data", None) == "kwarg":
                keyword = self.ident(child.children[0])
                out.append(
                    t.Argument(
                        keyword=keyword, value=self.build(child.children[1]), span=self.span(child)
                    )
                )
            else:
                value = self.build(child)
                out.append(t.Argument(keyword=None, value=value, span=value.span))
        return tuple(out)

    def _range(self, c: Any, span: Span) -> t.Range:  # noqa: ANN401
        return t.Range(low=self.build(c[0]), high=self.build(c[1]), span=span)

    def _any(self, c: Any, span: Span) -> t.Logic:  # noqa: ANN401
        return t.Logic(op="or", values=tuple(self.build(x) for x in c), span=span)

    def _all(self, c: Any, span: Span) -> t.Logic:  # noqa: ANN401
        return t.Logic(op="and", values=tuple(self.build(x) for x in c), span=span)

    def _not(self, c: Any, span: Span) -> t.Not:  # noqa: ANN401
        return t.Not(value=self.build(c[0]), span=span)

    def _compare(self, c: Any, span: Span) -> t.Compare:  # noqa: ANN401
        return t.Compare(op=str(c[1]), left=self.build(c[0]), right=self.build(c[2]), span=span)

    def _is_in(self, c: Any, span: Span) -> t.IsIn:  # noqa: ANN401
        return t.IsIn(value=self.build(c[0]), choices=self.build(c[1]), span=span)

    def _binary(self, c: Any, span: Span) -> t.Binary:  # noqa: ANN401
        return t.Binary(
            op=str(c[1]),
            left=self.build(c[0]),
            right=self.build(c[2]),
            op_span=self.span(c[1]),
            span=span,
        )

    def _negate(self, c: Any, span: Span) -> t.Expr:  # noqa: ANN401
        value = self.build(c[1])
        between = re.sub("#[^\n]*", "", self.text[c[0].end_pos : value.span.start])
        if isinstance(value, t.Number) and not between.strip():
            return replace(
                value, value=-value.value, span=span
            )  # a sign belongs to the number after it
        return t.Negate(value=value, span=span)

    def _rolling(self, c: Any, span: Span) -> t.Over:  # noqa: ANN401
        return t.Over(call=self.build(c[0]), extent=self.build(c[1]), span=span)

    def _index(self, c: Any, span: Span) -> t.Index:  # noqa: ANN401
        return t.Index(value=self.build(c[0]), index=self.build(c[1]), span=span)

    def _name(self, c: Any, span: Span) -> t.Name:  # noqa: ANN401
        return t.Name(name=self.ident(c[0]).name, span=span)

    def _string(self, c: Any, span: Span) -> t.Text:  # noqa: ANN401
        return self.text_of(c[0])

    def _list(self, c: Any, span: Span) -> t.List:  # noqa: ANN401
        return t.List(values=tuple(self.build(x) for x in c if x is not None), span=span)

    def _constant(self, c: Any, span: Span) -> t.Constant:  # noqa: ANN401
        return t.Constant(word=str(c[0]), span=span)

    def _quantity(self, c: Any, span: Span) -> t.Number:  # noqa: ANN401
        digits = str(c[0]).replace("_", "")
        is_integer = c[0].type == "INT"
        value = Fraction(self._integer(c[0])) if is_integer else Fraction(digits)
        unit = None if c[1] is None else str(c[1])
        bracketed = unit is not None and unit.startswith("[")
        return t.Number(
            value=value, is_integer=is_integer, unit=unit[1:-1] if bracketed and unit else unit, is_bracketed=bracketed,
            unit_span=None if c[1] is None else self.span(c[1]), span=span,
        )  # fmt: skip
