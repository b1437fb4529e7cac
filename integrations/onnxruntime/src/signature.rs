//! The operators: their names, inputs and outputs, and the element types that each is registered with.
#![forbid(unsafe_code)]

use std::ffi::CStr;

use evenkeel::capi::{EVENKEEL_BF16, EVENKEEL_F16, EVENKEEL_F32, evenkeel_dtype};
use ort_sys::ONNXTensorElementDataType;

/// A type of x, y, and every other tensor but the statistics. An operator is registered once for each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element {
    pub(crate) onnx: ONNXTensorElementDataType,
    pub(crate) dtype: evenkeel_dtype,
    pub(crate) bytes: usize,
}

/// The types.
pub(crate) const ELEMENTS: [Element; 3] = [F32, F16, BF16];

/// float
pub(crate) const F32: Element = Element {
    onnx: ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
    dtype: EVENKEEL_F32,
    bytes: 4,
};

/// float16
const F16: Element = Element {
    onnx: ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
    dtype: EVENKEEL_F16,
    bytes: 2,
};

/// bfloat16
const BF16: Element = Element {
    onnx: ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
    dtype: EVENKEEL_BF16,
    bytes: 2,
};

/// Which norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Norm {
    Layer,
    Rms,
}

/// What an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum In {
    X,
    Skip,
    Gamma,
    Beta,
    Bias,
}

/// What an output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    Y,
    Mean,
    Rstd,
    Sum,
}

/// An input or output: what it is, its name in the specification, and whether a node may leave it out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Port<T> {
    pub(crate) is: T,
    pub(crate) name: &'static str,
    pub(crate) optional: bool,
}

/// An operator.
#[derive(Debug)]
pub(crate) struct Signature {
    pub(crate) name: &'static CStr,
    pub(crate) norm: Norm,
    /// Whether x and a skip are added first. Such operators normalise the last axis.
    pub(crate) adds: bool,
    pub(crate) epsilon: f32,
    pub(crate) inputs: &'static [Port<In>],
    pub(crate) outputs: &'static [Port<Out>],
}

const fn required<T>(is: T, name: &'static str) -> Port<T> {
    Port { is, name, optional: false }
}

const fn optional<T>(is: T, name: &'static str) -> Port<T> {
    Port { is, name, optional: true }
}

/// Of ONNX, from opset 17 on.
pub(crate) const LAYER: Signature = Signature {
    name: c"LayerNormalization",
    norm: Norm::Layer,
    adds: false,
    epsilon: 1e-5,
    inputs: &[required(In::X, "X"), required(In::Gamma, "Scale"), optional(In::Beta, "B")],
    outputs: &[
        required(Out::Y, "Y"),
        optional(Out::Mean, "Mean"),
        optional(Out::Rstd, "InvStdDev"),
    ],
};

/// Of ONNX, from opset 23 on.
pub(crate) const RMS: Signature = Signature {
    name: c"RMSNormalization",
    norm: Norm::Rms,
    adds: false,
    epsilon: 1e-5,
    inputs: &[required(In::X, "X"), required(In::Gamma, "scale")],
    outputs: &[required(Out::Y, "Y")],
};

/// Of ONNX Runtime.
pub(crate) const SIMPLIFIED: Signature = Signature {
    name: c"SimplifiedLayerNormalization",
    norm: Norm::Rms,
    adds: false,
    epsilon: 1e-5,
    inputs: &[required(In::X, "X"), required(In::Gamma, "scale")],
    outputs: &[required(Out::Y, "Y"), optional(Out::Rstd, "inv_std_var")],
};

const SKIP_OUTPUTS: &[Port<Out>] = &[
    required(Out::Y, "output"),
    optional(Out::Mean, "mean"),
    optional(Out::Rstd, "inv_std_var"),
    optional(Out::Sum, "input_skip_bias_sum"),
];

/// Of ONNX Runtime's domain `com.microsoft`.
pub(crate) const SKIP_LAYER: Signature = Signature {
    name: c"SkipLayerNormalization",
    norm: Norm::Layer,
    adds: true,
    epsilon: 1e-12,
    inputs: &[
        required(In::X, "input"),
        required(In::Skip, "skip"),
        required(In::Gamma, "gamma"),
        optional(In::Beta, "beta"),
        optional(In::Bias, "bias"),
    ],
    outputs: SKIP_OUTPUTS,
};

/// Of ONNX Runtime's domain `com.microsoft`.
pub(crate) const SKIP_SIMPLIFIED: Signature = Signature {
    name: c"SkipSimplifiedLayerNormalization",
    norm: Norm::Rms,
    adds: true,
    epsilon: 1e-12,
    inputs: &[
        required(In::X, "input"),
        required(In::Skip, "skip"),
        required(In::Gamma, "gamma"),
        optional(In::Bias, "bias"),
    ],
    outputs: SKIP_OUTPUTS,
};

impl Signature {
    /// Its name, for errors.
    pub(crate) fn text(&self) -> &'static str {
        self.name.to_str().unwrap_or_default()
    }

    /// The index of an input, and its name.
    pub(crate) fn input(&self, is: In) -> Option<(usize, &'static str)> {
        let index = self.inputs.iter().position(|port| port.is == is)?;
        Some((index, self.inputs[index].name))
    }

    /// The index of an output.
    pub(crate) fn output(&self, is: Out) -> Option<usize> {
        self.outputs.iter().position(|port| port.is == is)
    }
}
