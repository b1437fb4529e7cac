"""What is known of the values of a graph: types, shapes, who makes them and who uses them."""

from __future__ import annotations

import math
from collections import Counter

import onnx
from onnx import TensorProto, helper, shape_inference

# Shape inference looks at the values of small tensors, such as the shape of a Reshape. Others are left out of its copy of the
# model, which has to be smaller than 2 GiB.
_LOOKED_AT = 1024


class Values:
    """The values of a graph."""

    def __init__(self, graph: onnx.GraphProto, infos: dict, outer: Values | None = None):
        self._infos = dict(outer._infos) if outer else {}
        self._infos.update(infos)
        self._outer = outer
        self.changed(graph)

    @classmethod
    def of(cls, model: onnx.ModelProto) -> Values:
        """The values of a model."""
        small = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
        _copy_without_data(model.graph, small.graph)
        try:
            small = shape_inference.infer_shapes(small, data_prop=True)
        except shape_inference.InferenceError:
            pass  # Then only what the model says is known.
        return cls(model.graph, _infos(small.graph))

    def within(self, graph: onnx.GraphProto) -> Values:
        """Those of a graph that is an attribute of a node."""
        return Values(graph, _infos(graph), self)

    def changed(self, graph: onnx.GraphProto) -> None:
        """Looks at the nodes of the graph again."""
        self._producers = {name: (i, node) for i, node in enumerate(graph.node) for name in node.output if name}
        self._uses = Counter(output.name for output in graph.output)
        _count_uses(graph.node, self._uses)
        self._constants = {tensor.name for tensor in graph.initializer}
        self._constants -= {value.name for value in graph.input}
        if self._outer:
            self._constants |= self._outer._constants - self._producers.keys() - {value.name for value in graph.input}

    def type(self, name: str) -> int | None:
        """The element type, if it is known."""
        return self._infos.get(name, (None, None))[0]

    def shape(self, name: str) -> tuple | None:
        """The shape, if its rank is known. A dimension is a number, a name, or None."""
        return self._infos.get(name, (None, None))[1]

    def is_constant(self, name: str) -> bool:
        """Whether it is an initializer that the caller cannot replace."""
        return name in self._constants

    def uses(self, name: str) -> int:
        """How many inputs of nodes and outputs of the graph it is."""
        return self._uses[name]

    def producer(self, name: str, op_type: str) -> onnx.NodeProto | None:
        """The node of the graph that makes it, if it is such a node of ONNX."""
        _, node = self._producers.get(name, (0, None))
        return node if node is not None and node.op_type == op_type and node.domain in ("", "ai.onnx") else None

    def is_before(self, name: str, node: onnx.NodeProto) -> bool:
        """Whether it is there before the node runs."""
        return name not in self._producers or self._producers[name][0] < self._producers[node.output[0]][0]

    def keep_shape(self, graph: onnx.GraphProto, name: str) -> None:
        """Writes down the shape of an output that ONNX Runtime does not ask evenkeel for."""
        known = {value.name for value in (*graph.value_info, *graph.output)}
        element_type, shape = self.type(name), self.shape(name)
        if name and name not in known and element_type is not None and shape is not None:
            graph.value_info.append(helper.make_tensor_value_info(name, element_type, shape))

    def zeros(self, graph: onnx.GraphProto, like: str) -> str:
        """An initializer of zeros, of the shape of another tensor."""
        name = f"{like}_evenkeel_zeros"
        if name not in self._infos:
            element_type, shape = self.type(like), self.shape(like)
            width = 4 if element_type == TensorProto.FLOAT else 2
            graph.initializer.append(helper.make_tensor(name, element_type, shape, bytes(width * math.prod(shape)), raw=True))
            self._infos[name] = (element_type, shape)
        return name


def _count_uses(nodes, uses: Counter) -> None:
    for node in nodes:
        uses.update(name for name in node.input if name)
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                uses.update(output.name for output in inner.output)
                _count_uses(inner.node, uses)


def _infos(graph: onnx.GraphProto) -> dict:
    """By name: the element type, and the shape."""
    infos = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        shape = None
        if tensor.HasField("shape"):
            shape = tuple(
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim
            )
        infos[value.name] = (tensor.elem_type or None, shape)
    for tensor in graph.initializer:
        infos[tensor.name] = (tensor.data_type, tuple(tensor.dims))
    return infos


def _copy_without_data(graph: onnx.GraphProto, copy: onnx.GraphProto) -> None:
    """Copies a graph, with inputs in the place of large initializers."""
    copy.name = graph.name
    copy.node.extend(graph.node)
    copy.input.extend(graph.input)
    copy.output.extend(graph.output)
    copy.value_info.extend(graph.value_info)
    inputs = {value.name for value in graph.input}
    for tensor in graph.initializer:
        if math.prod(tensor.dims) <= _LOOKED_AT:
            copy.initializer.append(tensor)
        elif tensor.name not in inputs:
            copy.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
