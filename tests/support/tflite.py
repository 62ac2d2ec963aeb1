"""TensorFlow Lite files made by hand, with the schema that the runtime brings: tests need no TensorFlow."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as s

KINDS = {"float32": 0, "int32": 2, "uint8": 3, "int64": 4, "int8": 9}


class Net:
    """A graph that is built tensor by tensor; every method gives the number of a tensor."""

    def __init__(self):
        self.model = s.ModelT()
        self.model.version, self.model.description = 3, "made by a test"
        self.model.operatorCodes, self.model.buffers = [], [s.BufferT()]
        graph = self.graph = s.SubGraphT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
        self.model.subgraphs = [graph]

    def tensor(self, shape, kind="float32", name="", *, free=False, scale=None, zero=0, buffer=0):
        one = s.TensorT()
        one.shape, one.type, one.buffer = list(shape), KINDS[kind], buffer
        one.name = name or f"t{len(self.graph.tensors)}"
        if free:
            one.shapeSignature = [-1, *shape[1:]]
        if scale is not None:
            one.quantization = s.QuantizationParametersT()
            one.quantization.scale = [float(x) for x in np.atleast_1d(scale)]
            one.quantization.zeroPoint = [int(x) for x in np.atleast_1d(zero)]
        self.graph.tensors.append(one)
        return len(self.graph.tensors) - 1

    def weight(self, values, **more):
        values = np.ascontiguousarray(values)
        held = s.BufferT()
        held.data = np.frombuffer(values.tobytes(), np.uint8)
        self.model.buffers.append(held)
        return self.tensor(
            values.shape, str(values.dtype), buffer=len(self.model.buffers) - 1, **more
        )

    def op(
        self, does, inputs, shape, options=None, *, kind="float32", version=1, custom=None, **more
    ):
        code = s.OperatorCodeT()
        number = getattr(s.BuiltinOperator, does)
        code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
        code.version, code.customCode = version, custom
        self.model.operatorCodes.append(code)
        one = s.OperatorT()
        one.opcodeIndex = len(self.model.operatorCodes) - 1
        one.inputs, one.outputs = list(inputs), [self.tensor(shape, kind, **more)]
        if options is not None:
            one.builtinOptions = options
            one.builtinOptionsType = getattr(s.BuiltinOptions, type(options).__name__[:-1])
        self.graph.operators.append(one)
        return one.outputs[0]

    def bytes(self, inputs, outputs):
        """The file, with these tensors at its edges."""
        self.graph.inputs, self.graph.outputs = list(inputs), list(outputs)
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def dense(net, x, rows, weights, bias):
    """A fully connected layer."""
    return net.op(
        "FULLY_CONNECTED",
        [x, net.weight(weights.astype(np.float32)), net.weight(bias.astype(np.float32))],
        (rows, len(bias)),
        s.FullyConnectedOptionsT(),
    )


def softmax(net, x, shape, **more):
    options = s.SoftmaxOptionsT()
    options.beta = 1.0
    return net.op("SOFTMAX", [x], shape, options, **more)


def convolution(seed=1, length=60, channels=2, hidden=8, classes=3, *, free=True):
    """A network of one convolution, a mean and a dense layer; its bytes, and the same in NumPy."""
    draw = np.random.default_rng(seed)
    w = draw.normal(0, 0.4, (hidden, 1, 5, channels)).astype(np.float32)
    b = draw.normal(0, 0.1, hidden).astype(np.float32)
    v = draw.normal(0, 0.4, (classes, hidden)).astype(np.float32)
    c = draw.normal(0, 0.1, classes).astype(np.float32)
    net = Net()
    x = net.tensor((1, length, channels), name="x", free=free)
    to = net.weight(np.array([-1, 1, length, channels], np.int32))
    image = net.op("RESHAPE", [x, to], (1, 1, length, channels), s.ReshapeOptionsT())
    options = s.Conv2DOptionsT()
    options.padding, options.strideW, options.strideH = s.Padding.VALID, 1, 1
    options.dilationWFactor = options.dilationHFactor = 1
    options.fusedActivationFunction = s.ActivationFunctionType.RELU
    y = net.op(
        "CONV_2D", [image, net.weight(w), net.weight(b)], (1, 1, length - 4, hidden), options
    )
    mean = s.ReducerOptionsT()
    axes = net.weight(np.array([1, 2], np.int32))
    y = net.op("MEAN", [y, axes], (1, hidden), mean)
    y = dense(net, y, 1, v, c)
    out = softmax(net, y, (1, classes), name="y")

    def reference(frames):
        found = []
        for frame in np.asarray(frames, np.float64):
            steps = np.stack([frame[i : i + 5].ravel() for i in range(length - 4)])
            hid = np.maximum(steps @ w.reshape(hidden, -1).T.astype(float) + b, 0).mean(0)
            z = v.astype(float) @ hid + c
            e = np.exp(z - z.max())
            found.append(e / e.sum())
        return np.array(found)

    return net.bytes([x], [out]), reference


def quantised(seed=2):
    """A dense layer of bytes: 4 numbers in, 3 out; its bytes, and the same in NumPy."""
    draw = np.random.default_rng(seed)
    w = draw.integers(-100, 100, (3, 4)).astype(np.int8)
    b = draw.integers(-500, 500, 3).astype(np.int32)
    s_in, s_w, s_out, z_in, z_out = 0.05, 0.01, 0.1, 3, -7
    net = Net()
    x = net.tensor((1, 4), "int8", "x", free=True, scale=s_in, zero=z_in)
    held = [net.weight(w, scale=s_w), net.weight(b, scale=s_in * s_w)]
    y = net.op("FULLY_CONNECTED", [x, *held], (1, 3), s.FullyConnectedOptionsT(), kind="int8", version=4, name="y", scale=s_out, zero=z_out)  # fmt: skip

    def reference(rows):
        q = np.clip(np.round(np.asarray(rows, float) / s_in) + z_in, -128, 127)
        real = ((q - z_in) @ w.T.astype(float) + b) * (s_in * s_w)
        return (np.clip(np.round(real / s_out) + z_out, -128, 127) - z_out) * s_out

    return net.bytes([x], [y]), reference
