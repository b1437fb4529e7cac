//! What a gate is: a function of z, and what is multiplied with it.
#![forbid(unsafe_code)]

/// The function of a [gate](crate::NormArgs::gate).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GateFunction {
    /// `silu(z) = z / (1 + exp(-z))`, also called swish: Mamba-2, Nemotron-H, Zamba2, Gated `DeltaNet`, Qwen3-Next.
    #[doc(alias = "swish")]
    #[default]
    Silu,
    /// `sigmoid(z) = 1 / (1 + exp(-z))`: Kimi Linear.
    #[doc(alias = "logistic")]
    Sigmoid,
}

/// What is multiplied with the function of a [gate](crate::NormArgs::gate).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GatePlace {
    /// The result, gamma and beta in it: `y = norm(x) * f(z)`. So gate Gated `DeltaNet`, Qwen3-Next and Kimi Linear; in the code of
    /// Mamba-2, `norm_before_gate=True`.
    #[doc(alias = "norm_before_gate")]
    #[default]
    AfterNorm,
    /// x, before its statistics: `y = norm(x * f(z))`. So gate Mamba-2 by default, Nemotron-H and Zamba2.
    BeforeNorm,
}

/// How an operation gates, if it is passed a z.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Gate {
    pub(crate) function: GateFunction,
    pub(crate) place: GatePlace,
}

impl Gate {
    pub(crate) const DEFAULT: Self =
        Self { function: GateFunction::Silu, place: GatePlace::AfterNorm };

    /// The function, if the gate has this place.
    pub(crate) fn at(self, place: GatePlace) -> Option<GateFunction> {
        (self.place == place).then_some(self.function)
    }
}
