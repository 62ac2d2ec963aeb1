"""The operators that a model may use: a list of ATen names, and nothing else.

Each is pure: tensors and numbers in, tensors out. What is not here is refused by name.
"""

ALLOWED = frozenset({
    "_softmax.default", "_to_copy.default", "abs.default", "adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default",
    "adaptive_max_pool1d.default", "add.Scalar", "add.Tensor", "addmm.default", "alias.default", "amax.default", "amin.default",
    "argmax.default", "argmin.default", "avg_pool1d.default", "avg_pool2d.default", "batch_norm.default", "bmm.default",
    "cat.default", "clamp.default", "clamp_max.default", "clamp_min.default", "clone.default", "contiguous.default",
    "constant_pad_nd.default", "conv1d.default", "conv1d.padding", "conv2d.default", "conv2d.padding",
    "conv_transpose1d.default", "convolution.default", "cos.default", "cumsum.default",
    "detach.default", "div.Scalar", "div.Tensor", "dropout.default", "elu.default", "embedding.default", "eq.Scalar", "erf.default", "exp.default",
    "expand.default", "flatten.using_ints", "floor.default", "gather.default", "ge.Scalar", "gelu.default", "group_norm.default", "gt.Scalar",
    "hardsigmoid.default", "hardswish.default", "hardtanh.default", "instance_norm.default", "layer_norm.default", "le.Scalar",
    "leaky_relu.default", "lift_fresh_copy.default", "linear.default", "log.default", "log1p.default", "log_softmax.int", "lt.Scalar",
    "matmul.default", "max.dim", "max_pool1d.default", "max_pool2d.default", "maximum.default", "mean.default", "mean.dim", "min.dim",
    "minimum.default", "mish.default", "mm.default", "mul.Scalar", "mul.Tensor", "native_layer_norm.default", "neg.default",
    "pad.default", "permute.default", "pow.Tensor_Scalar", "pow.Tensor_Tensor", "prelu.default", "reciprocal.default", "relu.default",
    "relu6.default", "reshape.default", "rsqrt.default", "rsub.Scalar", "scaled_dot_product_attention.default", "select.int",
    "selu.default", "sigmoid.default", "silu.default", "sin.default", "slice.Tensor", "softmax.int", "softplus.default",
    "split.Tensor", "split_with_sizes.default", "sqrt.default", "squeeze.default", "squeeze.dim", "squeeze.dims", "stack.default",
    "std.correction", "std.dim", "sub.Scalar", "sub.Tensor", "sum.default", "sum.dim_IntList", "t.default", "tanh.default", "to.dtype",
    "transpose.int", "unbind.int", "unflatten.int", "unsqueeze.default", "upsample_linear1d.vec", "upsample_nearest1d.vec", "var.correction",
    "var.dim", "view.default", "where.self", "zeros_like.default", "ones_like.default",
})  # fmt: skip
"""Names below ``torch.ops.aten``."""

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
