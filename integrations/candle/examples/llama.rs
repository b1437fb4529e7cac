//! A model of Llama's shape whose weights are random: `RmsNorm` before attention and before the MLP, on queries and keys, and at the
//! end, all of 1 + gamma. Forward and backward with candle's operations and with evenkeel. `cargo run --release --example llama`.

use std::collections::HashMap;
use std::time::Instant;

use candle_core::backprop::GradStore;
use candle_core::{D, DType, Device, Result, Tensor, Var, bail};
use candle_nn::{Linear, Module, VarBuilder, linear_no_bias, loss, ops, rotary_emb};
use evenkeel_candle::RmsNorm;

const WORDS: usize = 1024;
const HIDDEN: usize = 512;
const HEADS: usize = 8;
const HEAD: usize = HIDDEN / HEADS;
const INNER: usize = 1408;
const LAYERS: usize = 4;
const EPS: f64 = 1e-6;

/// How far a gradient in f32 may be from the one in f64, of the largest element of its tensor.
const BOUND: f64 = 1e-4;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Candle,
    Evenkeel,
}

struct Norm {
    kind: Kind,
    ours: RmsNorm,
}

impl Norm {
    fn new(kind: Kind, cols: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let ours = evenkeel_candle::rms_norm(cols, EPS, vb)?.with_one_plus_gamma(true);
        Ok(Self { kind, ours })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self.kind {
            Kind::Evenkeel => self.ours.forward(x),
            Kind::Candle => ops::rms_norm_slow(x, &(self.ours.weight() + 1.0)?, EPS as f32),
        }
    }

    /// The norm of a sum, and the sum.
    fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<(Tensor, Tensor)> {
        match self.kind {
            Kind::Evenkeel => self.ours.forward_add(x, residual),
            Kind::Candle => {
                let sum = (x + residual)?;
                Ok((self.forward(&sum)?, sum))
            }
        }
    }
}

struct Layer {
    before_attention: Norm,
    query: Linear,
    key: Linear,
    value: Linear,
    of_query: Norm,
    of_key: Norm,
    attended: Linear,
    before_mlp: Norm,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Layer {
    fn new(kind: Kind, vb: &VarBuilder<'_>) -> Result<Self> {
        let square = |name| linear_no_bias(HIDDEN, HIDDEN, vb.pp(name));
        let norm = |cols, name| Norm::new(kind, cols, vb.pp(name));
        Ok(Self {
            before_attention: norm(HIDDEN, "input_layernorm")?,
            query: square("self_attn.q_proj")?,
            key: square("self_attn.k_proj")?,
            value: square("self_attn.v_proj")?,
            of_query: norm(HEAD, "self_attn.q_norm")?,
            of_key: norm(HEAD, "self_attn.k_norm")?,
            attended: square("self_attn.o_proj")?,
            before_mlp: norm(HIDDEN, "post_attention_layernorm")?,
            gate: linear_no_bias(HIDDEN, INNER, vb.pp("mlp.gate_proj"))?,
            up: linear_no_bias(HIDDEN, INNER, vb.pp("mlp.up_proj"))?,
            down: linear_no_bias(INNER, HIDDEN, vb.pp("mlp.down_proj"))?,
        })
    }

    /// The hidden states are `x + added`. So are those that come out.
    fn forward(&self, x: &Tensor, added: &Tensor, places: &Places) -> Result<(Tensor, Tensor)> {
        let (normed, x) = self.before_attention.forward_add(added, x)?;
        let attended = self.attend(&normed, places)?;
        let (normed, x) = self.before_mlp.forward_add(&attended, &x)?;
        let inner = (self.gate.forward(&normed)?.silu()? * self.up.forward(&normed)?)?;
        Ok((x, self.down.forward(&inner)?))
    }

    fn attend(&self, x: &Tensor, places: &Places) -> Result<Tensor> {
        let (sentences, tokens, _) = x.dims3()?;
        let heads = |x: Tensor| x.reshape((sentences, tokens, HEADS, HEAD));
        let turn = |x: Tensor| {
            rotary_emb::rope_slow(&x.transpose(1, 2)?.contiguous()?, &places.cos, &places.sin)
        };
        let query = turn(self.of_query.forward(&heads(self.query.forward(x)?)?)?)?;
        let key = turn(self.of_key.forward(&heads(self.key.forward(x)?)?)?)?;
        let value = heads(self.value.forward(x)?)?.transpose(1, 2)?.contiguous()?;
        let scores = (query.matmul(&key.t()?)? * (HEAD as f64).powf(-0.5))?;
        let weights = ops::softmax(&scores.broadcast_add(&places.later)?, D::Minus1)?;
        let attended = weights.matmul(&value)?.transpose(1, 2)?.reshape(x.shape())?;
        self.attended.forward(&attended)
    }
}

/// What depends on the places of tokens alone.
struct Places {
    cos: Tensor,
    sin: Tensor,
    /// Added to scores: no token sees a later one.
    later: Tensor,
}

impl Places {
    fn new(tokens: usize, dtype: DType) -> Result<Self> {
        let angle =
            |token: usize, i: usize| token as f64 * 10_000_f64.powf(-2.0 * i as f64 / HEAD as f64);
        let angles = (0..tokens).flat_map(|token| (0..HEAD / 2).map(move |i| angle(token, i)));
        let angles = Tensor::from_iter(angles, &Device::Cpu)?.reshape((tokens, HEAD / 2))?;
        let later = (0..tokens * tokens).map(|i| if i % tokens > i / tokens { -1e9 } else { 0.0 });
        let later = Tensor::from_iter(later, &Device::Cpu)?.reshape((tokens, tokens))?;
        let to = |x: Tensor| x.to_dtype(dtype);
        Ok(Self { cos: to(angles.cos()?)?, sin: to(angles.sin()?)?, later: to(later)? })
    }
}

struct Llama {
    words: Tensor,
    layers: Vec<Layer>,
    last: Norm,
    head: Linear,
}

impl Llama {
    fn new(kind: Kind, vars: &HashMap<String, Var>, dtype: DType) -> Result<Self> {
        let tensors = vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
        let vb = VarBuilder::from_tensors(tensors.collect(), dtype, &Device::Cpu);
        let layer = |i| Layer::new(kind, &vb.pp("layers").pp(i));
        Ok(Self {
            words: vb.get((WORDS, HIDDEN), "embed_tokens.weight")?,
            layers: (0..LAYERS).map(layer).collect::<Result<_>>()?,
            last: Norm::new(kind, HIDDEN, vb.pp("norm"))?,
            head: linear_no_bias(HIDDEN, WORDS, vb.pp("lm_head"))?,
        })
    }

    /// The loss of the next token, and its gradients.
    fn learn(&self, ids: &Tensor) -> Result<(Tensor, GradStore)> {
        let (sentences, tokens) = ids.dims2()?;
        let places = Places::new(tokens, self.words.dtype())?;
        let flat = ids.flatten_all()?;
        let mut x = self.words.index_select(&flat, 0)?.reshape((sentences, tokens, HIDDEN))?;
        let mut added = x.zeros_like()?;
        for layer in &self.layers {
            (x, added) = layer.forward(&x, &added, &places)?;
        }
        let (normed, _) = self.last.forward_add(&added, &x)?;
        let scores = self.head.forward(&normed)?.narrow(1, 0, tokens - 1)?;
        let scores = scores.reshape((sentences * (tokens - 1), WORDS))?;
        let next = ids.narrow(1, 1, tokens - 1)?.flatten_all()?;
        let loss = loss::cross_entropy(&scores, &next)?;
        let gradients = loss.backward()?;
        Ok((loss, gradients))
    }
}

/// Numbers between -1 and 1 that look random.
fn numbers(state: &mut u64) -> f32 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 40) as f32 / (1 << 23) as f32 - 1.0
}

fn variables() -> Result<HashMap<String, Var>> {
    let mut shapes = vec![
        ("embed_tokens".to_owned(), vec![WORDS, HIDDEN], 1.0),
        ("norm".to_owned(), vec![HIDDEN], 0.3),
        ("lm_head".to_owned(), vec![WORDS, HIDDEN], 0.05),
    ];
    for layer in 0..LAYERS {
        for (name, shape, scale) in [
            ("input_layernorm", vec![HIDDEN], 0.3),
            ("post_attention_layernorm", vec![HIDDEN], 0.3),
            ("self_attn.q_norm", vec![HEAD], 0.3),
            ("self_attn.k_norm", vec![HEAD], 0.3),
            ("self_attn.q_proj", vec![HIDDEN, HIDDEN], 0.05),
            ("self_attn.k_proj", vec![HIDDEN, HIDDEN], 0.05),
            ("self_attn.v_proj", vec![HIDDEN, HIDDEN], 0.05),
            ("self_attn.o_proj", vec![HIDDEN, HIDDEN], 0.05),
            ("mlp.gate_proj", vec![INNER, HIDDEN], 0.05),
            ("mlp.up_proj", vec![INNER, HIDDEN], 0.05),
            ("mlp.down_proj", vec![HIDDEN, INNER], 0.05),
        ] {
            shapes.push((format!("layers.{layer}.{name}"), shape, scale));
        }
    }
    let mut state = 1;
    let var = |(name, shape, scale): (String, Vec<usize>, f32)| {
        let len = shape.iter().product();
        let elements: Vec<f32> = (0..len).map(|_| scale * numbers(&mut state)).collect();
        let var = Var::from_tensor(&Tensor::from_vec(elements, shape, &Device::Cpu)?)?;
        Ok((format!("{name}.weight"), var))
    };
    shapes.into_iter().map(var).collect()
}

fn main() -> Result<()> {
    let vars = variables()?;
    let double = |(name, var): (&String, &Var)| {
        Ok((name.clone(), Var::from_tensor(&var.to_dtype(DType::F64)?)?))
    };
    let vars64 = vars.iter().map(double).collect::<Result<HashMap<_, _>>>()?;
    let ids = (0..4 * 128_u32).map(|i| (i * i * 31 + i * 17) % WORDS as u32);
    let ids = Tensor::from_iter(ids, &Device::Cpu)?.reshape((4, 128))?;
    let candle = Llama::new(Kind::Candle, &vars, DType::F32)?;
    let evenkeel = Llama::new(Kind::Evenkeel, &vars, DType::F32)?;
    let (exact_loss, exact) = Llama::new(Kind::Candle, &vars64, DType::F64)?.learn(&ids)?;
    let exact_loss = exact_loss.to_scalar::<f64>()?;
    println!("A Llama of {} tensors, 4 sentences of 128 tokens, loss {exact_loss:.4}", vars.len());
    for (name, model) in [("candle", &candle), ("evenkeel", &evenkeel)] {
        let (loss, gradients) = model.learn(&ids)?;
        let mut worst = (0.0, "");
        for (of, var) in &vars {
            let (Some(got), Some(exact)) = (gradients.get(var), exact.get(&vars64[of])) else {
                bail!("{name}: {of} has no gradient");
            };
            let distance = distance(got, exact)?;
            worst = if distance > worst.0 { (distance, of.as_str()) } else { worst };
        }
        println!(
            "{name:9} loss {:+.1e} from f64, gradients within {:.1e} of the largest of their tensor ({})",
            f64::from(loss.to_scalar::<f32>()?) - exact_loss,
            worst.0,
            worst.1
        );
        if worst.0 > BOUND {
            bail!("expected at most {BOUND:e}");
        }
    }
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..7 {
        for (model, times) in [&candle, &evenkeel].into_iter().zip(&mut times) {
            let start = Instant::now();
            model.learn(&ids)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let [candle, evenkeel] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!(
        "forward + backward, ms, the median of 7: candle {candle:.0}, evenkeel {evenkeel:.0}, ratio {:.2}",
        candle / evenkeel
    );
    Ok(())
}

/// The largest difference of two tensors, of the largest element of the exact one.
fn distance(got: &Tensor, exact: &Tensor) -> Result<f64> {
    let most = |x: Tensor| x.abs()?.flatten_all()?.max(0)?.to_scalar::<f64>();
    Ok(most((got.to_dtype(DType::F64)? - exact)?)? / most(exact.clone())?.max(1e-30))
}
