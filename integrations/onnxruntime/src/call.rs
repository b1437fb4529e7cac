//! The call of evenkeel, through its C ABI: pointers, and types of elements that are known at run time.

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::thread;

use evenkeel::capi::{
    EVENKEEL_ENVIRONMENT_HOST, EVENKEEL_F32, EVENKEEL_OK, EVENKEEL_ROWS, evenkeel_execution,
    evenkeel_input, evenkeel_last_error_message, evenkeel_layer_norm, evenkeel_layer_norm_args,
    evenkeel_output, evenkeel_part, evenkeel_rms_norm, evenkeel_rms_norm_args, evenkeel_shape,
};

use crate::api::Context;
use crate::signature::{Element, Norm};

/// What a node computes, and over how many rows.
pub(crate) struct Call<'a> {
    pub(crate) norm: Norm,
    pub(crate) epsilon: f64,
    pub(crate) element: Element,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// How many elements a skip has; 0 without one.
    pub(crate) skip_elements: usize,
    pub(crate) context: &'a Context,
}

/// Tensors with rows: x, y, the skip and the sum of `rows * cols` elements, the statistics of `rows`. The skip may have fewer:
/// then it begins again.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    pub(crate) x: *const c_void,
    pub(crate) skip: Option<*const c_void>,
    pub(crate) y: *mut c_void,
    pub(crate) sum: Option<*mut c_void>,
    pub(crate) mean: Option<*mut c_void>,
    pub(crate) rstd: Option<*mut c_void>,
}

/// gamma, beta or a bias.
pub(crate) enum Parameters {
    /// Of a row, in ONNX Runtime's memory.
    Borrowed(*const c_void),
    /// Of a row, repeated.
    Owned(Repeated),
    /// Of every row, repeated.
    EachRow(Repeated),
}

/// A copy of parameters, by the size of an element.
pub(crate) enum Repeated {
    Two(Vec<u16>),
    Four(Vec<u32>),
}

impl Repeated {
    /// From an element on.
    fn from(&self, element: usize) -> *const c_void {
        match self {
            Self::Two(data) => data.as_ptr().wrapping_add(element).cast(),
            Self::Four(data) => data.as_ptr().wrapping_add(element).cast(),
        }
    }
}

impl Parameters {
    /// Those of a row.
    fn at(&self, row: usize, cols: usize) -> *const c_void {
        match self {
            Self::Borrowed(data) => *data,
            Self::Owned(data) => data.from(0),
            Self::EachRow(data) => data.from(row * cols),
        }
    }

    fn differ(&self) -> bool {
        matches!(self, Self::EachRow(_))
    }
}

impl Call<'_> {
    /// Normalises all rows, in one call unless a skip or parameters differ between them.
    ///
    /// # Safety
    ///
    /// The tensors have as many elements as `Rows` says, and parameters as many as a row. Inputs are readable, outputs writable,
    /// and nothing else uses outputs meanwhile.
    pub(crate) unsafe fn run(
        &self,
        mut of: Rows,
        gamma: Option<&Parameters>,
        beta: Option<&Parameters>,
        bias: Option<&Parameters>,
    ) -> Result<(), String> {
        let Self { rows, cols, .. } = *self;
        let parameters = [gamma, beta, bias];
        // evenkeel gives a mean with the other statistic alone.
        let mut not_wanted = Vec::new();
        if of.mean.is_some() && of.rstd.is_none() {
            not_wanted.resize(rows, 0.0_f32);
            of.rstd = Some(not_wanted.as_mut_ptr().cast());
        }
        let together = if parameters.into_iter().flatten().any(Parameters::differ) {
            1
        } else if self.skip_elements > 0 {
            self.skip_elements / cols.max(1)
        } else {
            rows
        };
        let mut from = 0;
        while from < rows {
            let part = together.clamp(1, rows - from);
            let [gamma, beta, bias] = parameters.map(|all| all.map(|all| all.at(from, cols)));
            let inputs = [of.skip, gamma, beta, bias];
            // SAFETY: the caller's promise, of these rows.
            unsafe { self.run_part(self.part(of, from), part, inputs)? };
            from += part;
        }
        Ok(())
    }

    /// The tensors from a row on.
    fn part(&self, of: Rows, row: usize) -> Rows {
        let bytes = row * self.cols * self.element.bytes;
        let statistics = row * size_of::<f32>();
        Rows {
            x: of.x.wrapping_byte_add(bytes),
            skip: of.skip,
            y: of.y.wrapping_byte_add(bytes),
            sum: of.sum.map(|sum| sum.wrapping_byte_add(bytes)),
            mean: of.mean.map(|mean| mean.wrapping_byte_add(statistics)),
            rstd: of.rstd.map(|rstd| rstd.wrapping_byte_add(statistics)),
        }
    }

    /// # Safety
    ///
    /// As for [`run`](Self::run).
    unsafe fn run_part(
        &self,
        of: Rows,
        rows: usize,
        [skip, gamma, beta, bias]: [Option<*const c_void>; 4],
    ) -> Result<(), String> {
        let Self { cols, element, .. } = *self;
        let all = rows * cols;
        let input = |data: Option<*const c_void>, len| match data {
            Some(data) => evenkeel_input {
                data,
                len,
                pitch: 0,
                outer_pitch: 0,
                dtype: element.dtype,
                inner_rows: 0,
            },
            None => evenkeel_input {
                data: ptr::null(),
                len: 0,
                pitch: 0,
                outer_pitch: 0,
                dtype: 0,
                inner_rows: 0,
            },
        };
        let output = |data: Option<*mut c_void>, len, dtype| match data {
            Some(data) => {
                evenkeel_output { data, len, pitch: 0, outer_pitch: 0, dtype, inner_rows: 0 }
            }
            None => evenkeel_output {
                data: ptr::null_mut(),
                len: 0,
                pitch: 0,
                outer_pitch: 0,
                dtype: 0,
                inner_rows: 0,
            },
        };
        let shape = evenkeel_shape {
            layout: EVENKEEL_ROWS,
            reserved: 0,
            rows,
            cols,
            batch: 0,
            channels: 0,
            positions: 0,
        };
        let execution = evenkeel_execution {
            // A session that flushes subnormal numbers means these operators too.
            environment: EVENKEEL_ENVIRONMENT_HOST,
            parallel_for: Some(parallel_for),
            pool_context: ptr::from_ref(self.context).cast_mut().cast(),
            pool_threads: processors(),
            ..evenkeel_execution::default()
        };
        let (x, y) = (input(Some(of.x), all), output(Some(of.y), all, element.dtype));
        let (residual, sum) = (input(skip, all), output(of.sum, all, element.dtype));
        let (gamma, beta, bias) = (input(gamma, cols), input(beta, cols), input(bias, cols));
        let rstd = output(of.rstd, rows, EVENKEEL_F32);
        let (eps, execution) = (self.epsilon, &raw const execution);
        let status = match self.norm {
            Norm::Layer => {
                let mean = output(of.mean, rows, EVENKEEL_F32);
                let args = evenkeel_layer_norm_args {
                    x,
                    y,
                    shape,
                    eps,
                    execution,
                    gamma,
                    beta,
                    mean,
                    rstd,
                    x_bias: bias,
                    residual,
                    sum,
                    ..evenkeel_layer_norm_args::default()
                };
                // SAFETY: the caller's promise; the structures live until the call returns.
                unsafe { evenkeel_layer_norm(&raw const args) }
            }
            Norm::Rms => {
                let args = evenkeel_rms_norm_args {
                    x,
                    y,
                    shape,
                    eps,
                    execution,
                    gamma,
                    beta,
                    rstd,
                    x_bias: bias,
                    residual,
                    sum,
                    ..evenkeel_rms_norm_args::default()
                };
                // SAFETY: as above.
                unsafe { evenkeel_rms_norm(&raw const args) }
            }
        };
        if status == EVENKEEL_OK {
            return Ok(());
        }
        // SAFETY: a text that ends with a zero, and lives until this thread's next failing call.
        let text = unsafe { CStr::from_ptr(evenkeel_last_error_message()) };
        Err(text.to_string_lossy().into_owned())
    }
}

/// How many threads ONNX Runtime has at most. It does not tell custom operators; parts that are more than its threads are run one
/// after the other.
fn processors() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

/// Runs parts of a call on the threads of ONNX Runtime. What they leave out, the calling thread does.
///
/// # Safety
///
/// `context` is that of the call.
unsafe extern "C" fn parallel_for(
    context: *mut c_void,
    parts: usize,
    part: evenkeel_part,
    work: *mut c_void,
) {
    let Some(part) = part else { return };
    // SAFETY: evenkeel passes on what `run_part` has passed, while it waits for the call.
    let Context { api, raw } = unsafe { &*context.cast::<Context>() };
    // SAFETY: the context of this execution; `part` may be called by any thread, with any number.
    api.text(unsafe { (api.0.KernelContext_ParallelFor)(*raw, part, parts, 0, work) });
}
