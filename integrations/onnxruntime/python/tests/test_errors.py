"""Bad models, and versions that do not fit: errors that say which argument, what was expected and what came."""

import types
import unittest
from unittest import mock

import numpy
import onnxruntime
from common import node_model, random, run
from onnx import numpy_helper

import evenkeel_ort


class BadModels(unittest.TestCase):
    def error(self, op_type, inputs, outputs=("y",), **attributes):
        with self.assertRaises(Exception) as raised:
            run(node_model(op_type, inputs, list(outputs), **attributes), inputs)
        self.assertTrue(type(raised.exception).__module__.startswith("onnxruntime"), raised.exception)
        return str(raised.exception)

    def test_shapes(self):
        x, gamma = random(2, 3, 8), random(8)
        cases = [
            ({"x": x, "skip": random(2, 3, 8), "gamma": random(7)}, "`gamma`: expected [8], got [7]"),
            ({"x": x, "skip": random(2, 3, 8), "gamma": random(1, 3, 8)}, "`gamma`: expected [8], got [1, 3, 8]"),
            ({"x": x, "skip": random(2, 3, 8), "gamma": gamma, "beta": random(9)}, "`beta`: expected [8], got [9]"),
            ({"x": x, "skip": random(2, 3, 8), "gamma": gamma, "beta": gamma, "bias": random(1)}, "`bias`: expected [8], got [1]"),
            ({"x": x, "skip": random(2, 4, 8), "gamma": gamma}, "`skip`: expected [2, 3, 8] or its last axes, got [2, 4, 8]"),
            ({"x": x, "skip": random(2, 1, 8), "gamma": gamma}, "`skip`: expected [2, 3, 8] or its last axes, got [2, 1, 8]"),
        ]
        for inputs, text in cases:
            self.assertIn(f"evenkeel SkipLayerNormalization: {text}", self.error("SkipLayerNormalization", inputs))
        text = self.error("LayerNormalization", {"x": x, "scale": random(7)})
        self.assertIn("evenkeel LayerNormalization: `Scale`: expected [8], or what broadcasts to x, got [7]", text)
        text = self.error("RMSNormalization", {"x": x, "scale": random(5, 8)})
        self.assertIn("evenkeel RMSNormalization: `scale`: expected [8], or what broadcasts to x, got [5, 8]", text)

    def test_the_shape_of_a_constant(self):
        inputs = {"x": random(2, 8), "scale": random(8)}
        model = node_model("LayerNormalization", inputs, ["y"])
        model.graph.initializer.append(numpy_helper.from_array(random(7), "scale"))
        del model.graph.input[1]
        with self.assertRaises(Exception) as raised:
            run(model, {"x": inputs["x"]})
        self.assertIn("`Scale`: expected [8], or what broadcasts to x, got [7]", str(raised.exception))

    def test_an_axis_that_x_does_not_have(self):
        for axis in (3, -4):
            text = self.error("LayerNormalization", {"x": random(2, 3, 8), "scale": random(8)}, axis=axis)
            self.assertIn(f"`axis`: expected from -3 to 2, got {axis}", text)

    def test_attributes(self):
        inputs = {"x": random(2, 8), "scale": random(8)}
        for epsilon, got in [(-1.0, "-1"), (float("inf"), "inf"), (float("nan"), "NaN")]:
            text = self.error("LayerNormalization", inputs, epsilon=epsilon)
            self.assertIn(f"`epsilon`: expected a finite number of at least 0, got {got}", text)
        self.assertIn("`stash_type`: expected 1 (float), got 10", self.error("LayerNormalization", inputs, stash_type=10))
        self.assertIn("`epsilon`", self.error("LayerNormalization", inputs, epsilon=1))
        self.assertIn("`axis`", self.error("LayerNormalization", inputs, axis=1.0))

    def test_a_mean_that_a_root_mean_square_does_not_have(self):
        inputs = {"x": random(2, 8), "skip": random(2, 8), "gamma": random(8)}
        text = self.error("SkipSimplifiedLayerNormalization", inputs, ["y", "mean"])
        self.assertIn("the output `mean` is there, but a root mean square has no mean", text)

    def test_missing_gamma(self):
        # ONNX Runtime finds that by what evenkeel has registered.
        text = self.error("LayerNormalization", {"x": random(2, 8)})
        self.assertIn("Node(node) with schema(evenkeel::LayerNormalization:1) has input size 1 not in range [min=2, max=3]", text)
        text = self.error("LayerNormalization", {"x": random(2, 8), "scale": None, "b": random(8)})
        self.assertIn("Node (node)'s input 1 is marked single but has an empty string in the graph", text)

    def test_types(self):
        for dtype in (numpy.float64, numpy.int32):
            inputs = {"x": random(2, 8).astype(dtype), "scale": random(8).astype(dtype)}
            self.assertIn("LayerNormalization", self.error("LayerNormalization", inputs))

    def test_an_operator_that_is_not_there(self):
        self.assertIn("GroupNormalization", self.error("GroupNormalization", {"x": random(2, 8)}))


class Versions(unittest.TestCase):
    def test_an_older_onnxruntime(self):
        older = types.SimpleNamespace(__version__="1.16.3")
        with mock.patch.dict("sys.modules", onnxruntime=older), self.assertRaises(RuntimeError) as raised:
            evenkeel_ort.register(onnxruntime.SessionOptions())
        self.assertEqual(str(raised.exception), "evenkeel_ort: expected onnxruntime 1.17 or newer, got 1.16.3")

    def test_newer_ones(self):
        for version in ("1.17.0", "1.32.0", "2.0", "1.33.0.dev20261130001"):
            evenkeel_ort.library._check_version(version)

    def test_a_wheel_without_a_library(self):
        with mock.patch("pathlib.Path.is_file", return_value=False), self.assertRaises(RuntimeError) as raised:
            evenkeel_ort.register(onnxruntime.SessionOptions())
        self.assertIn("got no file: install a wheel of this platform", str(raised.exception))

    def test_options_can_be_registered_many_times(self):
        for _ in range(3):
            evenkeel_ort.register(onnxruntime.SessionOptions())


if __name__ == "__main__":
    unittest.main()
