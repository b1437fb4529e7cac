//! A node of a model: its attributes, checked once, and one execution of it.

use std::borrow::Cow;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::slice;

use crate::api::{Api, Context, Fault, Info, Tensor};
use crate::call::{Call, Parameters, Repeated, Rows};
use crate::shapes::{self, Spread, broadcast, elements, spread};
use crate::signature::{Element, In, Norm, Out, Signature};

/// A node.
pub(crate) struct Kernel {
    api: Api,
    signature: &'static Signature,
    element: Element,
    epsilon: f64,
    axis: i64,
    inputs: Vec<Source>,
    has_output: Vec<bool>,
}

/// Where an input comes from.
enum Source {
    Nowhere,
    /// It is a constant of the model.
    Model(Tensor),
    /// Each execution has another.
    Execution,
}

impl Kernel {
    /// Reads the attributes.
    pub(crate) fn new(
        signature: &'static Signature,
        element: Element,
        info: Info,
    ) -> Result<Self, Fault> {
        let name = signature.text();
        let epsilon = info.float(c"epsilon", signature.epsilon)?;
        if !(epsilon.is_finite() && epsilon >= 0.0) {
            let expected = "expected a finite number of at least 0";
            return Err(format!("evenkeel {name}: `epsilon`: {expected}, got {epsilon}").into());
        }
        let mut axis = -1;
        if !signature.adds {
            axis = info.int(c"axis", axis)?;
            // Statistics are computed in double, whatever it says. It is the type of the outputs Mean and InvStdDev.
            let stash = info.int(c"stash_type", 1)?;
            if stash != 1 {
                return Err(format!(
                    "evenkeel {name}: `stash_type`: expected 1 (float), got {stash}"
                )
                .into());
            }
        }
        let (inputs, outputs) = info.counts()?;
        let source = |index| {
            if index >= inputs {
                return Ok(Source::Nowhere);
            }
            Ok(info.constant(index)?.map_or(Source::Execution, Source::Model))
        };
        let inputs = (0..signature.inputs.len()).map(source).collect::<Result<_, Fault>>()?;
        let has_output = |index| Ok(index < outputs && info.has_output(index)?);
        let has_output: Vec<bool> =
            (0..signature.outputs.len()).map(has_output).collect::<Result<_, Fault>>()?;
        if let (Norm::Rms, Some(mean)) = (signature.norm, signature.output(Out::Mean))
            && has_output[mean]
        {
            let text = "the output `mean` is there, but a root mean square has no mean";
            return Err(format!("evenkeel {name}: {text}").into());
        }
        let epsilon = epsilon.into();
        Ok(Self { api: info.api, signature, element, epsilon, axis, inputs, has_output })
    }

    pub(crate) fn api(&self) -> Api {
        self.api
    }

    /// Executes the node.
    pub(crate) fn compute(&self, context: &Context) -> Result<(), Fault> {
        self.normalise(context).map_err(|fault| match fault {
            Fault::Message(text) => format!("evenkeel {}: {text}", self.signature.text()).into(),
            status => status,
        })
    }

    fn normalise(&self, context: &Context) -> Result<(), Fault> {
        let x = self.required(context, In::X)?;
        let first = shapes::first_axis(self.axis, x.dims.len())?;
        let (rows, cols) = (elements(&x.dims[..first])?, elements(&x.dims[first..])?);
        let skip = self.skip(context, &x.dims)?;
        let gamma = self.required(context, In::Gamma)?;
        let gamma = self.parameter(In::Gamma, gamma, &x.dims, first)?;
        let beta = self.input(context, In::Beta)?;
        let beta = beta.map(|beta| self.parameter(In::Beta, beta, &x.dims, first)).transpose()?;
        let bias = self.input(context, In::Bias)?;
        let bias = bias.map(|bias| self.parameter(In::Bias, bias, &x.dims, first)).transpose()?;

        // Nothing is wrong with the inputs: now ONNX Runtime allocates the outputs.
        let mut of_rows = x.dims.clone();
        of_rows[first..].fill(1);
        let output = |is, dims: &[usize]| match self.signature.output(is) {
            Some(index) if self.has_output[index] => context.output(index, dims),
            _ => Ok(None),
        };
        let y = output(Out::Y, &x.dims)?
            .ok_or("the output `Y`: expected a tensor, got none".to_owned())?;
        let (mean, rstd) = (output(Out::Mean, &of_rows)?, output(Out::Rstd, &of_rows)?);
        let sum = output(Out::Sum, &x.dims)?;
        let call = Call {
            norm: self.signature.norm,
            epsilon: self.epsilon,
            element: self.element,
            rows,
            cols,
            skip_elements: skip.as_ref().map_or(0, |(_, period)| *period),
            context,
        };
        let rows = Rows { x: x.data, skip: skip.map(|(skip, _)| skip), y, sum, mean, rstd };
        let gamma = Some(&gamma);
        // SAFETY: inputs have the dimensions that were checked, and ONNX Runtime has allocated outputs for them. Its inputs and
        // outputs do not overlap, since no operator says that it works in place.
        Ok(unsafe { call.run(rows, gamma, beta.as_ref(), bias.as_ref()) }?)
    }

    /// An input, if the operator and the node have it.
    fn input(&self, context: &Context, is: In) -> Result<Option<Cow<'_, Tensor>>, Fault> {
        let Some((index, _)) = self.signature.input(is) else { return Ok(None) };
        match &self.inputs[index] {
            Source::Nowhere => Ok(None),
            Source::Model(tensor) => Ok(Some(Cow::Borrowed(tensor))),
            Source::Execution => Ok(context.input(index)?.map(Cow::Owned)),
        }
    }

    fn required(&self, context: &Context, is: In) -> Result<Cow<'_, Tensor>, Fault> {
        let input = self.input(context, is)?;
        Ok(input.ok_or_else(|| format!("{}: expected a tensor, got none", self.name(is)))?)
    }

    /// An input's name in the specification.
    fn name(&self, is: In) -> String {
        let name = self.signature.input(is).map_or("?", |(_, name)| name);
        format!("`{name}`")
    }

    /// The skip, and after how many elements of x it begins again.
    fn skip(
        &self,
        context: &Context,
        x: &[usize],
    ) -> Result<Option<(*const c_void, usize)>, Fault> {
        if !self.signature.adds {
            return Ok(None);
        }
        let skip = self.required(context, In::Skip)?;
        let Some(period) = shapes::period(&skip.dims, x) else {
            let (name, dims) = (self.name(In::Skip), &skip.dims);
            return Err(format!("{name}: expected {x:?} or its last axes, got {dims:?}").into());
        };
        Ok(Some((skip.data, period)))
    }

    /// gamma, beta or a bias, with as many elements as a row has, or as x has.
    fn parameter(
        &self,
        is: In,
        tensor: Cow<'_, Tensor>,
        x: &[usize],
        first: usize,
    ) -> Result<Parameters, Fault> {
        let Tensor { data, dims } = &*tensor;
        let spread = spread(dims, x, first);
        let plain_alone = self.signature.adds;
        match spread {
            Some(Spread::Row) => Ok(Parameters::Borrowed(*data)),
            Some(spread) if !plain_alone => {
                let to = if spread == Spread::Shared { &x[first..] } else { x };
                // SAFETY: the tensor has these elements, which are of so many bytes.
                let repeated = unsafe { repeat(*data, self.element, dims, to)? };
                Ok(match spread {
                    Spread::EachRow => Parameters::EachRow(repeated),
                    _ => Parameters::Owned(repeated),
                })
            }
            _ => {
                let (name, row) = (self.name(is), &x[first..]);
                let or = if plain_alone { "" } else { ", or what broadcasts to x" };
                Err(format!("{name}: expected {row:?}{or}, got {dims:?}").into())
            }
        }
    }
}

/// A copy of a tensor, repeated until it has the dimensions `to`.
///
/// # Safety
///
/// The tensor has the dimensions `dims`, and elements of this type.
unsafe fn repeat(
    data: *const c_void,
    element: Element,
    dims: &[usize],
    to: &[usize],
) -> Result<Repeated, String> {
    let length = elements(dims)?;
    elements(to)?;
    let source = if length == 0 { NonNull::<u64>::dangling().as_ptr().cast() } else { data };
    // SAFETY: the caller's promise; ONNX Runtime aligns tensors to their elements, and any bits are a number.
    Ok(unsafe {
        match element.bytes {
            2 => Repeated::Two(broadcast(slice::from_raw_parts(source.cast(), length), dims, to)),
            _ => Repeated::Four(broadcast(slice::from_raw_parts(source.cast(), length), dims, to)),
        }
    })
}
