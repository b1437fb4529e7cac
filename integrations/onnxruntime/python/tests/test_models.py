"""MiniLM with real weights: the outputs of evenkeel's norms are those of ONNX Runtime's."""

import pathlib
import sys
import unittest

import numpy
import onnx
from common import session

import evenkeel_ort

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "models"))
import minilm  # noqa: E402


class MiniLm(unittest.TestCase):
    def test_outputs_are_equal_within_1e_5(self):
        for name, path in minilm.models().items():
            before = onnx.load(path)
            after = evenkeel_ort.optimize(before)
            norms = [node for node in after.graph.node if "LayerNormalization" in node.op_type]
            # Twelve and that of the embeddings, which ONNX Runtime may have fused with them.
            self.assertIn(len(norms), (12, 13))
            ours = [node for node in norms if node.domain == evenkeel_ort.DOMAIN]
            self.assertGreaterEqual(len(ours), 12, [node.op_type for node in norms])
            # Shape inference knows that the sums behind feed-forward layers do not broadcast; behind attention, if it is fused.
            fused = sum(node.op_type == "SkipLayerNormalization" for node in ours)
            self.assertEqual(fused, 6 if name == "plain" else 12, name)
            for threads in (1, 2):
                sessions = [session(model, threads=threads) for model in (before, after)]
                for batch in (1, 8):
                    for steps in (16, 128, 512):
                        feeds = minilm.inputs(batch, steps)
                        # What padding gives, nobody looks at: ONNX Runtime is up to 4e-5 off there.
                        words = feeds["attention_mask"] == 1
                        expected, got = (of.run(None, feeds)[0][words] for of in sessions)
                        with self.subTest(name, batch=batch, steps=steps, threads=threads):
                            numpy.testing.assert_allclose(got, expected, 0, 1e-5)


if __name__ == "__main__":
    unittest.main()
