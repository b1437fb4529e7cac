"""The node tests of the `onnx` package for these operators, through evenkeel."""

import importlib
import unittest

import numpy
from common import session

import evenkeel_ort

# Importing one of these adds its tests to a list.
NODE = "onnx.backend.test.case.node"
MODULES = {"LayerNormalization": "layernormalization", "RMSNormalization": "rmsnormalization"}


class Backend(unittest.TestCase):
    def test_the_nodes_of_onnx(self):
        seen = dict.fromkeys(MODULES, 0)
        for module in MODULES.values():
            importlib.import_module(f"{NODE}.{module}")
        for case in importlib.import_module(NODE)._NodeTestCases:
            # The package has each test once more, spelt out in other operators.
            operators = {node.op_type for node in case.model.graph.node}
            for op_type in operators & seen.keys():
                with self.subTest(case.name):
                    self.check(case)
                seen[op_type] += 1
        # As many as onnx 1.23 has.
        self.assertGreaterEqual(seen["LayerNormalization"], 19, seen)
        self.assertGreaterEqual(seen["RMSNormalization"], 19, seen)

    def check(self, case):
        model = evenkeel_ort.optimize(case.model)
        self.assertEqual([node.domain for node in model.graph.node], ["evenkeel"])
        # The newest onnx may be newer than what onnxruntime reads.
        model.ir_version = min(model.ir_version, 10)
        for opset in model.opset_import:
            opset.version = min(opset.version, 23)
        run = session(model)
        for inputs, outputs in case.data_sets:
            got = run.run(None, dict(zip([value.name for value in run.get_inputs()], inputs, strict=True)))
            for y, expected in zip(got, outputs, strict=True):
                self.assertEqual(y.shape, expected.shape)
                numpy.testing.assert_allclose(y, expected, 1e-5, 1e-6)


if __name__ == "__main__":
    unittest.main()
