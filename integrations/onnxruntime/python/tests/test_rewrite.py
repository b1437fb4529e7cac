"""What `optimize` rewrites, fuses and leaves alone. Each model gives what it gave before."""

import unittest

import numpy
import onnx
import onnxruntime
from common import F32, normalise, random, session
from onnx import TensorProto, helper, numpy_helper

import evenkeel_ort

X = ["batch", "steps", 8]


def graph(nodes, outputs=("y",), inputs=("x", "h"), shape=X, weights=None, values=()):
    """A graph whose inputs have one shape. weights: by name; gamma, beta and bias are there if nothing else is said."""
    if weights is None:
        weights = {name: random(8, seed=i) for i, name in enumerate(("gamma", "beta", "bias"))}
    return helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 3) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
        value_info=values,
    )


def model(*args, opset=23, **kwargs):
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph(*args, **kwargs), opset_imports=opsets, ir_version=10)


def node(op_type, inputs, outputs, domain="", **attributes):
    return helper.make_node(op_type, inputs, outputs, domain=domain, **attributes)


def names(graph):
    """The operators, with the domain where it is evenkeel's."""
    return [f"{node.domain}:{node.op_type}" if node.domain == "evenkeel" else node.op_type for node in graph.node]


LAYER, SKIP = "evenkeel:LayerNormalization", "evenkeel:SkipLayerNormalization"
SIMPLE_SKIP = "evenkeel:SkipSimplifiedLayerNormalization"


class Rewrite(unittest.TestCase):
    def becomes(self, before, operators, shape=(2, 3, 8)):
        """Checks the operators of the optimised model, and that its outputs are those of the model by ONNX Runtime alone."""
        data = before.SerializeToString()
        after = evenkeel_ort.optimize(before)
        self.assertEqual(before.SerializeToString(), data, "the model was changed")
        self.assertEqual(names(after.graph), operators)
        onnx.checker.check_model(after)
        inputs = {value.name: random(*shape, seed=i) for i, value in enumerate(before.graph.input)}
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        expected = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, inputs)
        for y, exact in zip(session(after).run(None, inputs), expected, strict=True):
            numpy.testing.assert_allclose(y, exact, 2e-5, 2e-6)
        return after

    def test_norms(self):
        for op_type in ("LayerNormalization", "RMSNormalization"):
            before = model([node(op_type, ["x", "gamma"], ["y"], axis=-1, epsilon=0.5)], inputs=["x"])
            self.becomes(before, [f"evenkeel:{op_type}"])

    def test_norms_of_onnx_runtime(self):
        before = model([node("SkipLayerNormalization", ["x", "h", "gamma", "beta", "bias"], ["y", "", "", "s"], "com.microsoft")], ["y", "s"])
        self.becomes(before, [SKIP])
        before = model([node("SkipSimplifiedLayerNormalization", ["x", "h", "gamma", "bias"], ["y"], "com.microsoft")])
        self.becomes(before, [SIMPLE_SKIP])
        before = model([node("SimplifiedLayerNormalization", ["x", "gamma"], ["y"])], inputs=["x"])
        self.becomes(before, ["evenkeel:SimplifiedLayerNormalization"])

    def test_a_skip_with_a_bias_and_no_beta_gets_a_beta(self):
        before = model([node("SkipLayerNormalization", ["x", "h", "gamma", "", "bias"], ["y"], "com.microsoft")])
        after = self.becomes(before, [SKIP])
        self.assertNotIn("", after.graph.node[0].input)

    def test_an_addition_is_fused(self):
        before = model([node("Add", ["x", "h"], ["s"]), node("LayerNormalization", ["s", "gamma", "beta"], ["y"])])
        after = self.becomes(before, [SKIP])
        self.assertEqual(list(after.graph.node[0].input), ["x", "h", "gamma", "beta"])
        self.assertEqual(list(after.graph.node[0].output), ["y"])
        epsilon = after.graph.node[0].attribute[0]
        self.assertEqual((epsilon.name, F32(epsilon.f)), ("epsilon", F32(1e-5)))

    def test_an_addition_is_fused_with_a_root_mean_square(self):
        before = model([node("Add", ["x", "h"], ["s"]), node("RMSNormalization", ["s", "gamma"], ["y"], epsilon=0.1)])
        self.becomes(before, [SIMPLE_SKIP])

    def test_the_sum_is_kept_where_it_is_used(self):
        nodes = [
            node("Add", ["x", "h"], ["s"]),
            node("Neg", ["s"], ["n"]),
            node("LayerNormalization", ["s", "gamma", "beta"], ["z", "mean", "rstd"]),
            node("Add", ["z", "n"], ["y"]),
        ]
        after = self.becomes(model(nodes, ["y", "mean", "rstd"]), [SKIP, "Neg", "Add"])
        self.assertEqual(list(after.graph.node[0].output), ["z", "mean", "rstd", "s"])
        # ONNX Runtime knows the shape of the sum.
        (known,) = (value for value in after.graph.value_info if value.name == "s")
        self.assertEqual([dim.dim_param or dim.dim_value for dim in known.type.tensor_type.shape.dim], X)
        self.becomes(model(nodes[:1] + nodes[2:3], ["z", "s"]), [SKIP])

    def test_the_statistics_of_a_root_mean_square_are_kept(self):
        nodes = [node("Add", ["x", "h"], ["s"]), node("SimplifiedLayerNormalization", ["s", "gamma"], ["y", "rstd"])]
        after = evenkeel_ort.optimize(model(nodes, ["y", "rstd"]))
        self.assertEqual(list(after.graph.node[0].output), ["y", "", "rstd"])

    def test_a_bias_is_fused(self):
        for first, second in [("x", "bias"), ("bias", "x")]:
            for branch, other in [("b", "h"), ("h", "b")]:
                nodes = [
                    node("Add", [first, second], ["b"]),
                    node("Add", [branch, other], ["s"]),
                    node("LayerNormalization", ["s", "gamma", "beta"], ["y"]),
                ]
                after = self.becomes(model(nodes), [SKIP])
                self.assertEqual(list(after.graph.node[0].input), ["x", "h", "gamma", "beta", "bias"])

    def test_a_bias_that_is_used_elsewhere_is_not_fused(self):
        nodes = [
            node("Add", ["x", "bias"], ["b"]),
            node("Add", ["b", "h"], ["s"]),
            node("LayerNormalization", ["s", "gamma", "beta"], ["y"]),
        ]
        self.becomes(model(nodes, ["y", "b"]), ["Add", SKIP])
        nodes[2] = node("LayerNormalization", ["s", "gamma"], ["y"])
        self.becomes(model(nodes), ["Add", SKIP])

    def test_two_norms_of_one_sum(self):
        nodes = [
            node("Add", ["x", "h"], ["s"]),
            node("LayerNormalization", ["s", "gamma", "beta"], ["y"]),
            node("LayerNormalization", ["s", "beta", "gamma"], ["z"]),
        ]
        self.becomes(model(nodes, ["y", "z"]), [SKIP, LAYER])

    def test_additions_that_broadcast_are_left_alone(self):
        nodes = [node("Add", ["x", "bias"], ["s"]), node("LayerNormalization", ["s", "gamma", "beta"], ["y"])]
        self.becomes(model(nodes, inputs=["x"]), ["Add", LAYER])
        unknown = [node("Add", ["x", "h"], ["s"]), nodes[1]]
        self.becomes(model(unknown, shape=[None, None, 8]), ["Add", LAYER])

    def test_norms_of_several_axes_are_not_fused(self):
        weights = {"gamma": random(3, 8)}
        nodes = [node("Add", ["x", "h"], ["s"]), node("LayerNormalization", ["s", "gamma"], ["y"], axis=1)]
        self.becomes(model(nodes, weights=weights, shape=[2, 3, 8]), ["Add", LAYER])

    def test_gamma_that_broadcasts_is_not_fused(self):
        nodes = [node("Add", ["x", "h"], ["s"]), node("LayerNormalization", ["s", "gamma"], ["y"])]
        self.becomes(model(nodes, weights={"gamma": random(1)}), ["Add", LAYER])

    def test_gamma_that_is_made_behind_the_addition_is_not_fused(self):
        nodes = [
            node("Add", ["x", "h"], ["s"]),
            node("Neg", ["gamma"], ["g"]),
            node("LayerNormalization", ["s", "g"], ["y"]),
        ]
        self.becomes(model(nodes), ["Add", "Neg", LAYER])

    def test_what_evenkeel_has_no_operator_for_is_left_alone(self):
        mixed = model([node("LayerNormalization", ["x", "gamma"], ["y"])], inputs=["x"])
        mixed.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
        stash = model([node("LayerNormalization", ["x", "gamma"], ["y"], stash_type=TensorProto.DOUBLE)], inputs=["x"])
        mean = model([node("SkipSimplifiedLayerNormalization", ["x", "h", "gamma"], ["y", "m"], "com.microsoft")], ["y", "m"])
        other = model([node("LayerNormalization", ["x", "gamma"], ["y"], "com.example")], inputs=["x"])
        unknown = model([node("LayerNormalization", ["x", "h"], ["y"])])
        for value in unknown.graph.input:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
        for before in (mixed, stash, mean, other, unknown):
            after = evenkeel_ort.optimize(before)
            self.assertEqual(after.SerializeToString(), before.SerializeToString())

    def test_half_precision(self):
        half = numpy.float16
        weights = {name: random(8, seed=i).astype(half) for i, name in enumerate(("gamma", "beta", "bias"))}
        nodes = [node("Add", ["x", "h"], ["s"]), node("LayerNormalization", ["s", "gamma", "beta"], ["y"])]
        before = model(nodes, weights=weights)
        for value in (*before.graph.input, *before.graph.output):
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
        after = evenkeel_ort.optimize(before)
        self.assertEqual(names(after.graph), [SKIP])
        inputs = {name: random(2, 3, 8, seed=i).astype(half) for i, name in enumerate("xh")}
        (y,) = session(after).run(None, inputs)
        exact, *_ = normalise(inputs["x"] + inputs["h"], -1, 1e-5, weights["gamma"].astype(F32), weights["beta"].astype(F32))
        numpy.testing.assert_allclose(y.astype(F32), exact, 2**-11 + 2e-6, 2e-6)
        # A beta of zeros, where a bias follows, has the type of the others.
        skip = node("SkipLayerNormalization", ["x", "h", "gamma", "", "bias"], ["y"], "com.microsoft")
        before.graph.node[0].CopyFrom(skip)
        del before.graph.node[1]
        after = evenkeel_ort.optimize(before)
        (zeros,) = (tensor for tensor in after.graph.initializer if tensor.name == after.graph.node[0].input[3])
        self.assertEqual((zeros.data_type, numpy_helper.to_array(zeros).tolist()), (TensorProto.FLOAT16, [0.0] * 8))
        session(after).run(None, inputs)

    def test_subgraphs(self):
        def branch(name):
            norm = node("LayerNormalization", ["x", "gamma", "beta"], [name])
            return helper.make_graph([norm], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, X)])

        before = model([
            node("ReduceSum", ["x"], ["total"], keepdims=0),
            node("Greater", ["total", "zero"], ["condition"]),
            node("If", ["condition"], ["y"], then_branch=branch("a"), else_branch=branch("b")),
        ], inputs=["x"], weights={"gamma": random(8), "beta": random(8, seed=1), "zero": numpy.zeros((), F32)})
        after = self.becomes(before, ["ReduceSum", "Greater", "If"])
        for attribute in after.graph.node[2].attribute:
            self.assertEqual(names(attribute.g), [LAYER])

    def test_a_sum_that_a_subgraph_uses_is_kept(self):
        def branch(name):
            return helper.make_graph([node("Neg", ["s"], [name])], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, X)])

        before = model([
            node("Add", ["x", "h"], ["s"]),
            node("LayerNormalization", ["s", "gamma", "beta"], ["y"]),
            node("ReduceSum", ["x"], ["total"], keepdims=0),
            node("Greater", ["total", "zero"], ["condition"]),
            node("If", ["condition"], ["z"], then_branch=branch("a"), else_branch=branch("b")),
        ], outputs=["y", "z"], weights={"gamma": random(8), "beta": random(8, seed=1), "zero": numpy.zeros((), F32)})
        self.becomes(before, [SKIP, "ReduceSum", "Greater", "If"])

    def test_a_file(self):
        import tempfile

        before = model([node("LayerNormalization", ["x", "gamma"], ["y"])], inputs=["x"])
        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            file.write(before.SerializeToString())
            file.flush()
            self.assertEqual(evenkeel_ort.optimize(file.name), evenkeel_ort.optimize(before))


class Fusions(unittest.TestCase):
    def test_onnx_runtime_fuses_behind_a_norm(self):
        """It knows the shape of y: a MatMul, an addition and Gelu behind the norm become what they become without evenkeel."""
        weights = {"gamma": random(8), "beta": random(8, seed=1), "w": random(8, 16, seed=2), "b": random(16, seed=3)}
        nodes = [
            node("LayerNormalization", ["x", "gamma", "beta"], ["n"]),
            node("MatMul", ["n", "w"], ["m"]),
            node("Add", ["m", "b"], ["a"]),
            node("Gelu", ["a"], ["y"]),
        ]
        before = model(nodes, inputs=["x"], weights=weights)
        operators = [self.fused(model) for model in (before, evenkeel_ort.optimize(before))]
        self.assertEqual(*operators)
        self.assertIn("BiasGelu", operators[0])

    def fused(self, model):
        import tempfile

        with tempfile.TemporaryDirectory() as directory:
            path = f"{directory}/fused.onnx"
            session(model, optimized_model_filepath=path)
            return [node.op_type for node in onnx.load(path).graph.node]


if __name__ == "__main__":
    unittest.main()
