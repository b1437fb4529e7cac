"""Rewrites the norms of a model into evenkeel's operators."""

from __future__ import annotations

import os
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from .values import Values

DOMAIN = "evenkeel"
VERSION = 1

# Of ONNX, and of ONNX Runtime before and after its fusions.
_NORMS = {
    ("", "LayerNormalization"),
    ("", "RMSNormalization"),
    ("", "SimplifiedLayerNormalization"),
    ("com.microsoft", "SkipLayerNormalization"),
    ("com.microsoft", "SkipSimplifiedLayerNormalization"),
}

# What a norm becomes that is fused with the addition before it.
_FUSED = {
    "LayerNormalization": "SkipLayerNormalization",
    "RMSNormalization": "SkipSimplifiedLayerNormalization",
    "SimplifiedLayerNormalization": "SkipSimplifiedLayerNormalization",
}

# The element types of evenkeel's operators.
_TYPES = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16}


def optimize(model: onnx.ModelProto | str | os.PathLike) -> onnx.ModelProto:
    """A copy of the model whose norms are evenkeel's operators, fused with the addition before them where there is one.

    A node stays as it is where evenkeel has no operator for it: in double, with tensors of two types, or with a `stash_type` other than
    float. An addition is fused if its inputs have equal shapes as far as shape inference knows.
    """
    if isinstance(model, onnx.ModelProto):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
    else:
        copy = onnx.load(model)
    rewritten = _rewrite_graph(copy.graph, Values.of(copy))
    if rewritten and all(opset.domain != DOMAIN for opset in copy.opset_import):
        copy.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
    return copy


def _rewrite_graph(graph: onnx.GraphProto, values: Values) -> int:
    """Rewrites the nodes of a graph and of those within it. Returns how many."""
    rewritten = 0
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                rewritten += _rewrite_graph(inner, values.within(inner))
    for node in list(graph.node):
        if _is_ours(node, values):
            fusion = _fusion(graph, node, values)
            if fusion is None:
                _rewrite_alone(graph, node, values)
            else:
                fusion.apply(graph, values)
            rewritten += 1
    return rewritten


def _is_ours(node: onnx.NodeProto, values: Values) -> bool:
    """Whether evenkeel has an operator for the node."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    if (domain, node.op_type) not in _NORMS:
        return False
    types = {values.type(name) for name in node.input if name} - {None}
    if len(types) != 1 or not types <= _TYPES:
        return False
    if _attribute(node, "stash_type", TensorProto.FLOAT) != TensorProto.FLOAT:
        return False
    if node.op_type == "SkipSimplifiedLayerNormalization" and len(node.output) > 1 and node.output[1]:
        return False  # A mean, which it does not have.
    return not _lacks_beta(node) or values.shape(node.input[2]) is not None


def _lacks_beta(node: onnx.NodeProto) -> bool:
    """Whether there is a bias, but no beta before it."""
    return node.op_type == "SkipLayerNormalization" and len(node.input) > 4 and node.input[4] != "" and not node.input[3]


def _rewrite_alone(graph: onnx.GraphProto, node: onnx.NodeProto, values: Values) -> None:
    node.domain = DOMAIN
    if _lacks_beta(node):
        # ONNX Runtime does not take a custom operator that lacks an input before one that it has.
        node.input[3] = values.zeros(graph, node.input[2])
    while node.input and not node.input[-1]:
        del node.input[-1]
    if len(node.output) > 3:
        values.keep_shape(graph, node.output[3])


def _attribute(node: onnx.NodeProto, name: str, default):
    found = [attribute for attribute in node.attribute if attribute.name == name]
    return helper.get_attribute_value(found[0]) if found else default


@dataclass
class _Fusion:
    """A norm, the addition before it, and perhaps the addition of a bias before that."""

    norm: onnx.NodeProto
    add: onnx.NodeProto
    x: str
    skip: str
    bias_add: onnx.NodeProto | None
    bias: str
    keeps_sum: bool

    def apply(self, graph: onnx.GraphProto, values: Values) -> None:
        norm, is_layer = self.norm, self.norm.op_type == "LayerNormalization"
        inputs = [self.x, self.skip, norm.input[1]]
        if is_layer and len(norm.input) > 2:
            inputs.append(norm.input[2])
        if self.bias:
            inputs.append(self.bias)
        outputs = [norm.output[0], "", "", self.add.output[0] if self.keeps_sum else ""]
        for i, statistic in enumerate(norm.output[1:], start=1 if is_layer else 2):
            outputs[i] = statistic
        while not outputs[-1]:
            del outputs[-1]
        epsilon = _attribute(norm, "epsilon", 1e-5)
        fused = helper.make_node(
            _FUSED[norm.op_type], inputs, outputs, name=norm.name, domain=DOMAIN, epsilon=epsilon
        )
        if self.keeps_sum:
            values.keep_shape(graph, self.add.output[0])
        for old in (norm, self.bias_add):
            if old is not None:
                del graph.node[_index(graph, old)]
        # In the place of the addition: what uses the sum may come before the norm.
        place = _index(graph, self.add)
        del graph.node[place]
        graph.node.insert(place, fused)
        values.changed(graph)


def _index(graph: onnx.GraphProto, node: onnx.NodeProto) -> int:
    return next(i for i, other in enumerate(graph.node) if other.output == node.output)


def _fusion(graph: onnx.GraphProto, norm: onnx.NodeProto, values: Values) -> _Fusion | None:
    """How a norm can be fused with the addition before it."""
    if norm.op_type not in _FUSED:
        return None
    add = values.producer(norm.input[0], "Add")
    shape = values.shape(norm.input[0])
    if add is None or not shape or not isinstance(shape[-1], int):
        return None
    if _attribute(norm, "axis", -1) not in (-1, len(shape) - 1):
        return None
    if any(values.shape(name) != shape or None in shape or values.type(name) not in _TYPES for name in add.input):
        return None
    if len({values.type(name) for name in (*add.input, *norm.input) if name} - {None}) != 1:
        return None
    # gamma and beta are those of a row, and are there before the addition.
    for name in norm.input[1:]:
        if name and (values.shape(name) != (shape[-1],) or not values.is_before(name, add)):
            return None
    if norm.op_type == "LayerNormalization" and len(norm.input) > 2 and not norm.input[2]:
        return None
    x, skip, bias_add, bias = *add.input, None, ""
    if norm.op_type != "LayerNormalization" or len(norm.input) > 2:
        for name, other in (add.input, reversed(add.input)):
            found = _bias(name, shape, values)
            if found is not None and name != other:
                bias_add, x, bias = found
                skip = other
                break
    keeps_sum = values.uses(add.output[0]) > 1
    return _Fusion(norm, add, x, skip, bias_add, bias, keeps_sum)


def _bias(name: str, shape: tuple, values: Values) -> tuple[onnx.NodeProto, str, str] | None:
    """The addition of a bias that makes this value and nothing else uses: the node, what the bias is added to, the bias."""
    add = values.producer(name, "Add")
    if add is None or values.uses(name) > 1:
        return None
    for x, bias in (add.input, reversed(add.input)):
        if values.is_constant(bias) and values.shape(bias) == (shape[-1],) and values.shape(x) == shape:
            return add, x, bias
    return None
