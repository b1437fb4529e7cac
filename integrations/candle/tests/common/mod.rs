//! What the tests of norms over the last dimension share.

use candle_core::{D, DType, Device, Result, Tensor, Var};

pub const EPS: f64 = 1e-5;

/// Numbers between -1 and 1 that look random.
pub fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(next).collect()
}

pub fn var(shape: &[usize], seed: u64) -> Var {
    let len = shape.iter().product();
    let tensor = Tensor::from_vec(numbers(len, seed), shape, &Device::Cpu).unwrap();
    Var::from_tensor(&tensor).unwrap()
}

/// The same variable in f64.
pub fn double(var: &Var) -> Var {
    Var::from_tensor(&var.to_dtype(DType::F64).unwrap()).unwrap()
}

/// The norm by candle's operations.
pub fn slow(
    x: &Tensor,
    gamma: Option<&Tensor>,
    beta: Option<&Tensor>,
    centred: bool,
) -> Result<Tensor> {
    let x = if centred { x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)? } else { x.clone() };
    let y = x.broadcast_div(&(x.sqr()?.mean_keepdim(D::Minus1)? + EPS)?.sqrt()?)?;
    let y = gamma.map_or(Ok(y.clone()), |gamma| y.broadcast_mul(gamma))?;
    beta.map_or(Ok(y.clone()), |beta| y.broadcast_add(beta))
}

pub fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}
