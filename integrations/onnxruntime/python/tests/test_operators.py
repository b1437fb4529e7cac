"""Every operator with every optional input and output, beside the definition in double."""

import itertools
import unittest
from concurrent.futures import ThreadPoolExecutor

import numpy
from common import F32, node_model, normalise, random, run, session
from onnx import TensorProto, helper

SHAPES = [(2, 3, 8), (1, 1, 384), (5, 7), (3, 2, 4, 6), (9,), (130, 17), (2, 0, 4), (2, 3, 1)]


class Norms(unittest.TestCase):
    def close(self, got, expected, **what):
        for y, exact in zip(got, expected, strict=True):
            self.assertEqual(y.shape, exact.shape, what)
            self.assertEqual(y.dtype, F32, what)
            numpy.testing.assert_allclose(y, exact, 2e-6, 2e-6, err_msg=str(what))

    def test_layer_normalization(self):
        for shape, has_beta, mean, rstd in itertools.product(SHAPES, *[(False, True)] * 3):
            for axis in range(-len(shape), len(shape)):
                row = shape[axis % len(shape) :]
                if 0 in row:
                    continue
                inputs = {"x": random(*shape), "scale": random(*row, seed=1), "b": random(*row, seed=2) if has_beta else None}
                if not has_beta:
                    del inputs["b"]
                outputs = ["y", "mean" if mean else "", "rstd" if rstd else ""]
                model = node_model("LayerNormalization", inputs, outputs, axis=axis, epsilon=1e-3)
                exact = normalise(inputs["x"], axis, 1e-3, inputs["scale"], inputs.get("b"))
                wanted = [value for value, name in zip(exact, outputs) if name]
                self.close(run(model, inputs), wanted, shape=shape, axis=axis, beta=has_beta, mean=mean, rstd=rstd)

    def test_rms_normalization(self):
        for op_type, shape in itertools.product(["RMSNormalization", "SimplifiedLayerNormalization"], SHAPES):
            for axis in range(-len(shape), len(shape)):
                row = shape[axis % len(shape) :]
                if 0 in row:
                    continue
                inputs = {"x": random(*shape), "scale": random(*row, seed=1)}
                outputs = ["y", "rstd"] if op_type.startswith("Simplified") else ["y"]
                y, _, rstd = normalise(inputs["x"], axis, 1e-5, inputs["scale"], rms=True)
                got = run(node_model(op_type, inputs, outputs, axis=axis), inputs)
                self.close(got, [y, rstd][: len(outputs)], op_type=op_type, shape=shape, axis=axis)

    def test_skip_layer_normalization(self):
        for rms, (beta, bias, mean, rstd, total) in itertools.product((False, True), itertools.product(*[(False, True)] * 5)):
            if (rms and (beta or mean)) or (not rms and bias and not beta):
                continue
            for shape in [(2, 3, 8), (7, 12), (1, 5, 384)]:
                inputs = {"x": random(*shape), "skip": random(*shape, seed=1), "gamma": random(shape[-1], seed=2)}
                if beta:
                    inputs["beta"] = random(shape[-1], seed=3)
                if bias:
                    inputs["bias"] = random(shape[-1], seed=4)
                outputs = ["y", "mean" if mean else "", "rstd" if rstd else "", "sum" if total else ""]
                while not outputs[-1]:
                    outputs.pop()
                s = inputs["x"] + inputs["bias"] if bias else inputs["x"]
                s = s + inputs["skip"]
                exact = [*normalise(s, -1, 1e-12, inputs["gamma"], inputs.get("beta"), rms), s]
                op_type = "SkipSimplifiedLayerNormalization" if rms else "SkipLayerNormalization"
                got = run(node_model(op_type, inputs, outputs), inputs)
                self.close(got, [value for value, name in zip(exact, outputs) if name], op=op_type, shape=shape, outputs=outputs)
                if total:
                    numpy.testing.assert_array_equal(got[-1], s)

    def test_a_skip_may_be_one_for_all_samples(self):
        x, gamma = random(4, 3, 8), random(8, seed=2)
        for shape in [(1, 3, 8), (3, 8), (8,), (1, 1, 8)]:
            inputs = {"x": x, "skip": random(*shape, seed=1), "gamma": gamma}
            got = run(node_model("SkipLayerNormalization", inputs, ["y", "mean", "rstd", "sum"]), inputs)
            s = x + inputs["skip"]
            self.close(got, [*normalise(s, -1, 1e-12, gamma), s], skip=shape)

    def test_scale_and_b_broadcast_to_x(self):
        x = random(2, 3, 4)
        for axis, scale, b in itertools.product((-1, 1), [(4,), (1,), (), (3, 1), (2, 1, 4), (2, 3, 4)], [None, (4,), (3, 4), (1, 1, 1)]):
            inputs = {"x": x, "scale": random(*scale, seed=1)}
            if b is not None:
                inputs["b"] = random(*b, seed=2)
            got = run(node_model("LayerNormalization", inputs, ["y", "mean", "rstd"], axis=axis), inputs)
            self.close(got, normalise(x, axis, 1e-5, inputs["scale"], inputs.get("b")), axis=axis, scale=scale, b=b)

    def test_shapes_that_the_model_does_not_say(self):
        inputs = {"x": random(2, 3, 8), "skip": random(2, 3, 8, seed=1), "gamma": random(8, seed=2)}
        got = run(node_model("SkipLayerNormalization", inputs, ["y"], dims=False), inputs)
        self.close(got, normalise(inputs["x"] + inputs["skip"], -1, 1e-12, inputs["gamma"])[:1])

    def test_threads_change_no_bit(self):
        inputs = {"x": random(3, 700, 384), "skip": random(3, 700, 384, seed=1), "gamma": random(384, seed=2)}
        model = node_model("SkipLayerNormalization", inputs, ["y", "mean", "rstd", "sum"])
        one, *others = (run(model, inputs, threads=threads) for threads in (1, 2, 3, 16))
        for other in others:
            for a, b in zip(one, other, strict=True):
                numpy.testing.assert_array_equal(a, b)

    def test_threads_of_the_host_can_run_one_session_at_once(self):
        shape = (2, 300, 384)
        inputs = [{"x": random(*shape, seed=i), "skip": random(*shape, seed=9), "gamma": random(384)} for i in range(4)]
        run = session(node_model("SkipLayerNormalization", inputs[0], ["y", "mean"]), threads=2)
        expected = [run.run(None, feeds) for feeds in inputs]
        with ThreadPoolExecutor(4) as pool:
            for i, got in zip(list(range(4)) * 10, pool.map(lambda feeds: run.run(None, feeds), inputs * 10), strict=True):
                for y, exact in zip(got, expected[i], strict=True):
                    numpy.testing.assert_array_equal(y, exact)

    def test_float16(self):
        """y and the sum are rounded once: half a unit in the last place more than in float. Statistics are float."""
        half = numpy.float16
        for rms, shape in itertools.product((False, True), [(2, 3, 8), (7, 12), (1, 5, 384), (130, 17)]):
            row = shape[-1:]
            inputs = {"x": random(*shape), "skip": random(*shape, seed=1), "gamma": random(*row, seed=2)}
            if not rms:
                inputs["beta"] = random(*row, seed=3)
            inputs["bias"] = random(*row, seed=4)
            inputs = {name: x.astype(half) for name, x in inputs.items()}
            wide = {name: x.astype(F32) for name, x in inputs.items()}
            s = (wide["x"] + wide["bias"] + wide["skip"]).astype(half)
            outputs = ["y", "" if rms else "mean", "rstd", "sum"]
            op_type = "SkipSimplifiedLayerNormalization" if rms else "SkipLayerNormalization"
            y, *statistics, total = run(node_model(op_type, inputs, outputs), inputs)
            exact, mean, rstd = normalise(s, -1, 1e-12, wide["gamma"], wide.get("beta"), rms)
            self.assertEqual((y.dtype, total.dtype), (half, half))
            numpy.testing.assert_allclose(y.astype(F32), exact, 2**-11 + 2e-6, 2e-6, err_msg=str((op_type, shape)))
            numpy.testing.assert_array_equal(total, s)
            self.close(statistics, [rstd] if rms else [mean, rstd], op_type=op_type, shape=shape)

    def test_float16_that_broadcasts(self):
        x = random(2, 3, 4).astype(numpy.float16)
        for axis, scale in itertools.product((-1, 1), [(4,), (1,), (3, 1), (2, 1, 4)]):
            inputs = {"x": x, "scale": random(*scale, seed=1).astype(numpy.float16)}
            (y,) = run(node_model("LayerNormalization", inputs, ["y"], axis=axis), inputs)
            exact, *_ = normalise(x, axis, 1e-5, inputs["scale"].astype(F32))
            numpy.testing.assert_allclose(y.astype(F32), exact, 2**-11 + 2e-6, 2e-6, err_msg=str((axis, scale)))

    def test_bfloat16(self):
        """numpy has no such type: the model converts its inputs, which are numbers that bfloat16 holds, and its outputs."""
        row, names = 384, ["x", "skip", "gamma", "beta"]
        shapes = [(3, 70, row), (3, 70, row), (row,), (row,)]
        inputs = {name: numpy.round(random(*shape, seed=i) * 16) / F32(16) for i, (name, shape) in enumerate(zip(names, shapes))}
        casts = [helper.make_node("Cast", [name], [f"{name}_16"], to=TensorProto.BFLOAT16) for name in names]
        norm = helper.make_node(
            "SkipLayerNormalization", [f"{name}_16" for name in names], ["y_16", "mean", "", "s_16"], domain="evenkeel"
        )
        back = [helper.make_node("Cast", [f"{name}_16"], [name], to=TensorProto.FLOAT) for name in ("y", "s")]
        graph = helper.make_graph(
            [*casts, norm, *back],
            "test",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape) for name, x in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "mean", "s")],
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("evenkeel", 1)]
        y, mean, s = run(helper.make_model(graph, opset_imports=opsets, ir_version=8), inputs)
        numpy.testing.assert_array_equal(s, inputs["x"] + inputs["skip"])
        exact, of_rows, _ = normalise(s, -1, 1e-12, inputs["gamma"], inputs["beta"])
        numpy.testing.assert_allclose(y, exact, 2**-8 + 2e-6, 2e-6)
        self.close([mean], [of_rows])

    def test_accuracy_where_the_mean_is_large(self):
        x = random(4, 768) + F32(10_000)
        inputs = {"x": x, "scale": numpy.ones(768, F32)}
        got = run(node_model("LayerNormalization", inputs, ["y"]), inputs)
        numpy.testing.assert_allclose(got[0], normalise(x)[0], 0, 1e-5)

    def test_a_nan_stays_in_its_row(self):
        x = random(3, 16)
        x[1, 5] = numpy.nan
        inputs = {"x": x, "scale": random(16, seed=1)}
        (y,) = run(node_model("LayerNormalization", inputs, ["y"]), inputs)
        self.assertEqual(numpy.isnan(y).all(1).tolist(), [False, True, False])
        self.assertFalse(numpy.isnan(y[[0, 2]]).any())


if __name__ == "__main__":
    unittest.main()
