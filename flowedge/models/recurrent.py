"""Recurrent layers before they run: shapes that fit, and an end."""

from collections.abc import Sequence
from typing import Any

from flowedge.lang.errors import ModelError

GATES = {"lstm.input": 4, "gru.input": 3, "rnn_tanh.input": 1, "rnn_relu.input": 1}
"""Operators that turn once for each sample, and how many products of the state they make each time."""

MOST_TURNS = 2**15
"""Samples times layers times directions, at most: each takes some 20 µs, however small the layer is."""


def shapes(torch: Any, target: str, args: Sequence[Any], most_bytes: int, model: str) -> Any:  # noqa: ANN401
    """What a recurrent layer gives, as tensors without numbers.

    Torch's own way to tell takes a millisecond for each sample.

    Parameters
    ----------
    target : one of `GATES`
    args : as in the ATen schema (input, state, weights, has_biases, layers, dropout, train, bidirectional, batch_first),
        tensors without numbers
    most_bytes : for what it holds inside
    model : what to call it in errors

    Raises
    ------
    ModelError
        it would turn too often, or hold too much
    ValueError
        input, state and weights do not fit each other
    """
    x, given, weights, has_biases, layers, _, _, is_both_ways, is_batch_first = args
    gates, ways = GATES[target], 2 if is_both_ways else 1
    states = given if target == "lstm.input" else [given]
    if x.dim() != 3 or not states or layers < 1:
        raise _misfit()
    batch, samples = (x.shape[0], x.shape[1]) if is_batch_first else (x.shape[1], x.shape[0])
    hidden, width = states[0].shape[-1], x.shape[2]
    if samples * layers * ways > MOST_TURNS:
        raise ModelError(
            f"model `{model}` turns a recurrent layer more than {MOST_TURNS} times for one answer; use shorter frames"
        )
    if samples * batch * gates * hidden * x.element_size() > most_bytes:
        raise ModelError(
            f"model `{model}` holds more than {most_bytes >> 20} MiB inside of a recurrent layer"
        )
    wanted: list[tuple[int, ...]] = []
    for _ in range(layers):
        each: list[tuple[int, ...]] = [(gates * hidden, width), (gates * hidden, hidden)]
        each += [(gates * hidden,)] * 2 if has_biases else []
        wanted += each * ways
        width = hidden * ways
    if [tuple(w.shape) for w in weights] != wanted or len(states) != (
        2 if target == "lstm.input" else 1
    ):
        raise _misfit()
    state = (layers * ways, batch, hidden)
    if any(tuple(s.shape) != state for s in states):
        raise _misfit()
    first = (batch, samples) if is_batch_first else (samples, batch)
    out = torch.empty((*first, hidden * ways), dtype=x.dtype, device=x.device)
    return (out, *(torch.empty(state, dtype=x.dtype, device=x.device) for _ in states))


def _misfit() -> ValueError:
    return ValueError("input, state and weights of a recurrent layer do not fit each other")
