//! The norms as operations of candle's graph.

use std::sync::{Mutex, OnceLock};

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Error, Layout, Result, Shape, Storage, Tensor,
    WithDType, bail,
};
use evenkeel::{Dropout, GradArgs, InOut, NormArgs, Rows, Stream, to_vec};

use crate::layout::{RowsOf, Stored, for_dtype, rows, shape, vector};

/// Which norm.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Norm {
    Layer(evenkeel::LayerNorm),
    Rms(evenkeel::RmsNorm),
}

/// One application of a norm. candle keeps it until the backward pass, and so it keeps the statistics.
#[derive(Debug)]
pub(crate) struct Application {
    norm: Norm,
    statistics: OnceLock<[Vec<f64>; 2]>,
    /// What another call has computed already.
    output: Mutex<Option<CpuStorage>>,
}

impl Norm {
    pub(crate) fn application(self) -> Application {
        Application { norm: self, statistics: OnceLock::new(), output: Mutex::new(None) }
    }

    /// The statistics of so many rows, to be written: those of `RmsNorm` have no mean.
    fn statistics(self, rows: Rows) -> [Vec<f64>; 2] {
        let means = if matches!(self, Self::Layer(_)) { rows.rows() } else { 0 };
        [vec![0.0; means], vec![0.0; rows.rows()]]
    }

    fn forward<'a, T: Stored>(
        self,
        io: InOut<'_, 'a, T>,
        rows: Rows,
        args: NormArgs<'_>,
        [mean, rstd]: &mut [Vec<f64>; 2],
    ) -> std::result::Result<&'a mut [T], evenkeel::Error> {
        match self {
            Self::Layer(norm) => norm.forward(io, rows, args.stats(mean, rstd)),
            Self::Rms(norm) => norm.forward(io, rows, args.rstd(rstd)),
        }
    }

    fn backward<'a, T: Stored>(
        self,
        dy: InOut<'_, 'a, T>,
        x: &[T],
        rows: Rows,
        args: GradArgs<'_>,
    ) -> std::result::Result<&'a mut [T], evenkeel::Error> {
        match self {
            Self::Layer(norm) => norm.backward(dy, x, rows, args),
            Self::Rms(norm) => norm.backward(dy, x, rows, args),
        }
    }

    /// The norm of `x + residual`, with dropout of x where there is any, and an application that knows its statistics. Writes the sum,
    /// if somebody wants it.
    pub(crate) fn of_sum<T: Stored>(
        self,
        [x, residual]: [&Tensor; 2],
        (gamma, beta): (&Tensor, Option<&Tensor>),
        dropout: Option<(f64, Stream)>,
        sum: Option<&mut Vec<T>>,
    ) -> Result<(Vec<T>, Application)> {
        let (x, of_x) = x.storage_and_layout();
        let (residual, of_residual) = residual.storage_and_layout();
        let (gamma, of_gamma) = gamma.storage_and_layout();
        let beta = beta.map(Tensor::storage_and_layout);
        let x = rows::<T>(cpu(&x)?, of_x)?;
        let residual = rows::<T>(cpu(&residual)?, of_residual)?;
        let mut statistics = self.statistics(x.rows);
        let gamma = Some((cpu(&gamma)?, of_gamma));
        let beta = match &beta {
            Some((beta, of_beta)) => Some((cpu(beta)?, *of_beta)),
            None => None,
        };
        let mut args =
            affine::<T>(gamma, beta)?.residual(residual.elements).residual_pitch(residual.pitch);
        if let Some(sum) = sum {
            args = args.sum_vec(sum);
        }
        if let Some((p, stream)) = dropout {
            args = args.dropout(p, stream);
        }
        let y = to_vec(x.rows.elements(), |y| {
            let io = InOut::strided_uninit(x.elements, x.pitch, y);
            self.forward(io, x.rows, args, &mut statistics)
        })
        .map_err(Error::wrap)?;
        let application = self.application();
        let _ = application.statistics.set(statistics);
        Ok((y, application))
    }
}

pub(crate) fn cpu(storage: &Storage) -> Result<&CpuStorage> {
    match storage {
        Storage::Cpu(storage) => Ok(storage),
        _ => bail!("evenkeel runs on CPUs"),
    }
}

/// gamma or beta.
type Parameter<'a> = (&'a CpuStorage, &'a Layout);

/// Arguments with gamma and beta, each of type T or f32.
fn affine<'a, T: Stored>(
    gamma: Option<Parameter<'a>>,
    beta: Option<Parameter<'a>>,
) -> Result<NormArgs<'a>> {
    let args = match gamma {
        None => NormArgs::new(),
        Some((gamma @ CpuStorage::F32(_), layout)) => {
            NormArgs::new().gamma(vector::<f32>(gamma, layout)?)
        }
        Some((gamma, layout)) => NormArgs::new().gamma(vector::<T>(gamma, layout)?),
    };
    Ok(match beta {
        None => args,
        Some((beta @ CpuStorage::F32(_), layout)) => args.beta(vector::<f32>(beta, layout)?),
        Some((beta, layout)) => args.beta(vector::<T>(beta, layout)?),
    })
}

impl Application {
    /// The same, whose forward pass hands out y.
    pub(crate) fn with_output(mut self, y: CpuStorage) -> Self {
        self.output = Mutex::new(Some(y));
        self
    }

    fn forward(
        &self,
        (storage, layout): (&CpuStorage, &Layout),
        gamma: Option<Parameter<'_>>,
        beta: Option<Parameter<'_>>,
    ) -> Result<(CpuStorage, Shape)> {
        if let Some(y) =
            self.output.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
        {
            return Ok((y, layout.shape().clone()));
        }
        let y = for_dtype!(storage.dtype(), {
            let args = affine::<T>(gamma, beta)?;
            T::to_cpu_storage_owned(self.forward_of::<T>(rows(storage, layout)?, args)?)
        });
        Ok((y, layout.shape().clone()))
    }

    fn forward_of<T: Stored>(&self, x: RowsOf<'_, T>, args: NormArgs<'_>) -> Result<Vec<T>> {
        let mut statistics = self.norm.statistics(x.rows);
        let y = to_vec(x.rows.elements(), |y| {
            let io = InOut::strided_uninit(x.elements, x.pitch, y);
            self.norm.forward(io, x.rows, args, &mut statistics)
        })
        .map_err(Error::wrap)?;
        let _ = self.statistics.set(statistics);
        Ok(y)
    }

    /// The gradients of x, gamma and beta, each if somebody wants it.
    fn backward(
        &self,
        x: &Tensor,
        gamma: Option<&Tensor>,
        beta: Option<&Tensor>,
        dy: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        for_dtype!(x.dtype(), self.backward_of::<T>(x, gamma, beta, dy))
    }

    fn backward_of<T: Stored>(
        &self,
        x: &Tensor,
        gamma: Option<&Tensor>,
        beta: Option<&Tensor>,
        dy: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let wants = |tensor: Option<&Tensor>| tensor.is_some_and(Tensor::track_op);
        let device = x.device().clone();
        let dy = rows_at_a_pitch(dy)?;
        let (x_storage, of_x) = x.storage_and_layout();
        let (dy_storage, of_dy) = dy.storage_and_layout();
        let of_rows = rows::<T>(cpu(&x_storage)?, of_x)?;
        let dy_rows = rows::<T>(cpu(&dy_storage)?, of_dy)?;
        let gamma_storage = gamma.map(Tensor::storage_and_layout);
        let shape = of_rows.rows;
        let cols = shape.cols();
        let (mut dgamma, mut dbeta) = (Vec::new(), Vec::new());
        let mut args = GradArgs::new().x_pitch(of_rows.pitch);
        if let Some((storage, layout)) = &gamma_storage {
            args = match cpu(storage)? {
                gamma @ CpuStorage::F32(_) => args.gamma(vector::<f32>(gamma, layout)?),
                gamma => args.gamma(vector::<T>(gamma, layout)?),
            };
        }
        if let Some([mean, rstd]) = self.statistics.get() {
            args = match self.norm {
                Norm::Layer(_) => args.stats(mean, rstd),
                Norm::Rms(_) => args.rstd(rstd),
            };
        }
        if wants(gamma) {
            dgamma.resize(cols, 0.0_f32);
            args = args.dgamma(&mut dgamma);
        }
        if wants(beta) {
            dbeta.resize(cols, 0.0_f32);
            args = args.dbeta(&mut dbeta);
        }
        let dx = if wants(Some(x)) {
            let dx = to_vec(shape.elements(), |dx| {
                let io = InOut::strided_uninit(dy_rows.elements, dy_rows.pitch, dx);
                self.norm.backward(io, of_rows.elements, shape, args)
            });
            Some(Tensor::from_vec(dx.map_err(Error::wrap)?, x.shape(), &device)?)
        } else {
            let io = InOut::strided_read_only(dy_rows.elements, dy_rows.pitch);
            self.norm.backward(io, of_rows.elements, shape, args).map_err(Error::wrap)?;
            None
        };
        // Sums over all rows are rounded to the parameter's type once.
        let gradient = |gradient: Vec<f32>, of: Option<&Tensor>| match of {
            Some(of) if wants(Some(of)) => {
                Tensor::from_vec(gradient, cols, &device)?.to_dtype(of.dtype()).map(Some)
            }
            _ => Ok(None),
        };
        Ok([dx, gradient(dgamma, gamma)?, gradient(dbeta, beta)?])
    }
}

/// The same tensor, or a copy whose rows are contiguous.
pub(crate) fn rows_at_a_pitch(x: &Tensor) -> Result<Tensor> {
    if crate::layout::pitch(x.layout()).is_some() { Ok(x.clone()) } else { x.force_contiguous() }
}

impl CustomOp1 for Application {
    fn name(&self) -> &'static str {
        "evenkeel norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, of_x: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward((x, of_x), None, None)
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let [dx, ..] = self.backward(x, None, None, dy)?;
        Ok(dx)
    }
}

impl CustomOp2 for Application {
    fn name(&self) -> &'static str {
        "evenkeel norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        of_x: &Layout,
        gamma: &CpuStorage,
        of_gamma: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((x, of_x), Some((gamma, of_gamma)), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [dx, dgamma, _] = self.backward(x, Some(gamma), None, dy)?;
        Ok((dx, dgamma))
    }
}

impl CustomOp3 for Application {
    fn name(&self) -> &'static str {
        "evenkeel norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        of_x: &Layout,
        gamma: &CpuStorage,
        of_gamma: &Layout,
        beta: &CpuStorage,
        of_beta: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((x, of_x), Some((gamma, of_gamma)), Some((beta, of_beta)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dx, dgamma, dbeta] = self.backward(x, Some(gamma), Some(beta), dy)?;
        Ok((dx, dgamma, dbeta))
    }
}

/// `x + residual` that has been computed already. candle adds what comes back from the norm of the sum and from the sum itself.
pub(crate) struct Sum {
    pub(crate) sum: Mutex<Option<CpuStorage>>,
    /// What x went through before.
    pub(crate) dropout: Option<(f64, Stream)>,
}

impl CustomOp2 for Sum {
    fn name(&self) -> &'static str {
        "evenkeel sum"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        of_x: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        shape(of_x)?;
        let sum = self.sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(sum) = sum else { bail!("a sum is handed out once") };
        Ok((sum, of_x.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        dsum: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some((p, stream)) = self.dropout else {
            return Ok((Some(dsum.clone()), Some(dsum.clone())));
        };
        let dsum = dsum.contiguous()?;
        let (storage, layout) = dsum.storage_and_layout();
        let dx = for_dtype!(dsum.dtype(), {
            let elements = vector::<T>(cpu(&storage)?, layout)?;
            let dx = to_vec(elements.len(), |dx| {
                Dropout::new().with_p(p).backward(InOut::uninit(elements, dx), stream)
            });
            Tensor::from_vec(dx.map_err(Error::wrap)?, dsum.shape(), dsum.device())?
        });
        drop(storage);
        Ok((Some(dx), Some(dsum)))
    }
}
