"""The operators that a model may use: a list of ATen names, and nothing else.

Each is pure: tensors and numbers in, tensors out, the same ones each time. What reads files, gives memory as it
was found, draws at random or has a length that depends on values is not here, and is refused by name.
"""

ALLOWED = frozenset({
    # values by values
    "abs.default", "add.Scalar", "add.Tensor", "bitwise_and.Tensor", "bitwise_not.default", "bitwise_or.Tensor", "ceil.default",
    "celu.default", "clamp.Tensor", "clamp.default", "clamp_max.default", "clamp_min.default", "cos.default", "cosh.default",
    "div.Scalar", "div.Tensor", "div.Tensor_mode", "elu.default", "eq.Scalar", "eq.Tensor", "erf.default", "exp.default",
    "exp2.default", "expm1.default", "floor.default", "floor_divide.default", "fmod.Scalar", "ge.Scalar", "ge.Tensor",
    "gelu.default", "glu.default", "gt.Scalar", "gt.Tensor", "hardsigmoid.default", "hardswish.default", "hardtanh.default",
    "isfinite.default", "isnan.default", "le.Scalar", "le.Tensor", "leaky_relu.default", "lerp.Scalar", "lerp.Tensor",
    "log.default", "log10.default", "log1p.default", "log2.default", "log_sigmoid.default", "logical_and.default",
    "logical_not.default", "logical_or.default", "lt.Scalar", "lt.Tensor", "masked_fill.Scalar", "maximum.default",
    "minimum.default", "mish.default", "mul.Scalar", "mul.Tensor", "nan_to_num.default", "ne.Scalar", "ne.Tensor", "neg.default",
    "pow.Scalar", "pow.Tensor_Scalar", "pow.Tensor_Tensor", "prelu.default", "reciprocal.default", "relu.default",
    "relu6.default", "remainder.Scalar", "round.default", "rsqrt.default", "rsub.Scalar", "selu.default", "sigmoid.default",
    "sign.default", "silu.default", "sin.default", "sinh.default", "softplus.default", "softshrink.default", "sqrt.default",
    "square.default", "sub.Scalar", "sub.Tensor", "tan.default", "tanh.default", "threshold.default", "true_divide.Tensor",
    "where.ScalarOther", "where.ScalarSelf", "where.self",
    # over lengths
    "_log_softmax.default", "_softmax.default", "all.dim", "amax.default", "amin.default", "any.dim", "argmax.default",
    "argmin.default", "cumsum.default", "linalg_vector_norm.default", "log_softmax.int", "logsumexp.default", "max.dim",
    "mean.default", "mean.dim", "min.dim", "norm.ScalarOpt_dim", "prod.dim_int", "softmax.int", "sort.default", "std.correction",
    "std.default", "std.dim", "sum.default", "sum.dim_IntList", "topk.default", "var.correction", "var.default", "var.dim",
    "var_mean.correction",
    # layers
    "adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default", "adaptive_max_pool1d.default", "adaptive_max_pool2d.default",
    "addmm.default", "avg_pool1d.default", "avg_pool2d.default", "baddbmm.default", "batch_norm.default", "bmm.default",
    "conv1d.default", "conv1d.padding", "conv2d.default", "conv2d.padding", "conv_transpose1d.default",
    "conv_transpose2d.input", "convolution.default", "cosine_similarity.default", "dot.default", "dropout.default",
    "einsum.default", "embedding.default", "feature_dropout.default", "group_norm.default", "gru.input", "gru_cell.default",
    "instance_norm.default", "layer_norm.default", "linear.default", "lstm.input", "lstm_cell.default", "matmul.default",
    "max_pool1d.default", "max_pool2d.default", "mm.default", "mv.default", "native_group_norm.default",
    "native_layer_norm.default", "pixel_shuffle.default", "rms_norm.default", "rnn_relu.input", "rnn_tanh.input",
    "rnn_tanh_cell.default", "scaled_dot_product_attention.default", "upsample_bilinear2d.vec", "upsample_linear1d.vec",
    "upsample_nearest1d.vec", "upsample_nearest2d.vec",
    # the same numbers in another shape or place
    "_to_copy.default", "alias.default", "cat.default", "chunk.default", "clone.default", "constant_pad_nd.default",
    "contiguous.default", "detach.default", "detach_.default", "expand.default", "expand_as.default", "flatten.using_ints", "flip.default",
    "gather.default", "index_select.default", "lift_fresh_copy.default", "movedim.int", "narrow.default", "numpy_T.default",
    "pad.default", "permute.default", "repeat.default", "reshape.default", "roll.default", "select.int", "slice.Tensor",
    "split.Tensor", "split_with_sizes.default", "squeeze.default", "squeeze.dim", "squeeze.dims", "stack.default", "t.default",
    "to.device", "to.dtype", "to.dtype_layout", "transpose.int", "tril.default", "triu.default", "type_as.default",
    "unbind.int", "unflatten.int", "unfold.default", "unsqueeze.default", "view.default", "view_as.default",
    # numbers of their own
    "arange.default", "arange.start", "arange.start_step", "eye.default", "full.default", "full_like.default",
    "hamming_window.default", "hann_window.default", "linspace.default", "new_full.default", "new_ones.default",
    "new_zeros.default", "ones.default", "ones_like.default", "scalar_tensor.default", "zeros.default", "zeros_like.default",
    # lengths
    "sym_size.int",
})  # fmt: skip
"""Names below ``torch.ops.aten``."""

CHECKS = frozenset({
    "_assert_scalar.default", "_assert_tensor_metadata.default", "sym_constrain_range.default",
    "sym_constrain_range_for_size.default",
})  # fmt: skip
"""What a graph checks of itself; passed over, for shapes are checked in another way."""

LENGTHS = frozenset({"add", "sub", "mul", "floordiv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge"})  # fmt: skip
"""What a graph may do with lengths: names below ``_operator``."""

IN_PLACE = {
    f"{name}_.{overload}": f"{name}.{overload}"
    for name, overload in (
        ("add", "Tensor"), ("add", "Scalar"), ("sub", "Tensor"), ("mul", "Tensor"), ("mul", "Scalar"), ("div", "Tensor"),
        ("clamp", "default"), ("relu", "default"), ("relu6", "default"), ("leaky_relu", "default"), ("elu", "default"), ("celu", "default"), ("selu", "default"),
        ("silu", "default"), ("mish", "default"), ("hardswish", "default"), ("hardsigmoid", "default"),
        ("hardtanh", "default"), ("sigmoid", "default"), ("tanh", "default"), ("dropout", "default"), ("threshold", "default"),
    )
}  # fmt: skip
"""What overwrites its first argument, and what gives the same without: fit where nobody else sees that argument."""

VIEWS = frozenset({
    "alias", "chunk", "contiguous", "detach", "detach_", "dropout", "expand", "expand_as", "feature_dropout", "flatten", "getitem",
    "movedim", "narrow", "numpy_T", "permute", "reshape", "select", "slice", "split", "split_with_sizes", "squeeze", "t", "to",
    "transpose", "type_as", "unbind", "unflatten", "unfold", "unsqueeze", "view", "view_as",
})  # fmt: skip
"""Names, without overload, of what may give the memory of its argument."""

DRAWS = {
    "dropout.default": (2, "train"),
    "feature_dropout.default": (2, "train"),
    "batch_norm.default": (5, "training"),
    "scaled_dot_product_attention.default": (4, "dropout_p"),
    "gru.input": (6, "train"),
    "lstm.input": (6, "train"),
    "rnn_relu.input": (6, "train"),
    "rnn_tanh.input": (6, "train"),
}
"""The argument, by place and name, that makes answers depend on chance or on the other frames of a batch."""

DTYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    12: "bool",
    13: "bfloat16",
}
"""The schema's numbers for element types."""

FORMATS = {1: "contiguous_format", 2: "channels_last", 3: "channels_last_3d", 4: "preserve_format"}
"""The schema's numbers for the order of elements in memory."""

STRIDED = 7
"""The schema's number for tensors that are neither sparse nor opaque."""
