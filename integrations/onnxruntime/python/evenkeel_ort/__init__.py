"""evenkeel's norms in ONNX Runtime.

    import evenkeel_ort, onnxruntime

    model = evenkeel_ort.optimize("model.onnx")
    options = onnxruntime.SessionOptions()
    evenkeel_ort.register(options)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
"""

from .library import library_path, register
from .rewrite import DOMAIN, optimize

__all__ = ["DOMAIN", "library_path", "optimize", "register"]
__version__ = "0.1.0"
