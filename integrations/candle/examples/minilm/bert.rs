//! The BERT encoder of `MiniLM` in plain candle, whose norms and dropout can be swapped.

use std::rc::Rc;

use candle_core::{D, Result, Tensor};
use candle_nn::{Linear, Module, VarBuilder, linear, ops};

use crate::layers::{Clock, Dropout, Kind, Norm};
use crate::tokenizer::Batch;

/// The sizes of a model.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub words: usize,
    pub positions: usize,
    pub hidden: usize,
    pub heads: usize,
    pub inner: usize,
    pub layers: usize,
    /// The probability of both dropouts, of hidden states and of attention.
    pub dropout: f64,
}

pub const MINILM: Config = Config {
    words: 30522,
    positions: 512,
    hidden: 384,
    heads: 12,
    inner: 1536,
    layers: 6,
    dropout: 0.1,
};

pub struct Bert {
    words: Tensor,
    positions: Tensor,
    types: Tensor,
    norm: Norm,
    dropout: Dropout,
    layers: Vec<Layer>,
    pub clock: Rc<Clock>,
}

impl Bert {
    pub fn new(config: Config, kind: Kind, vb: &VarBuilder<'_>) -> Result<Self> {
        let Config { words, positions, hidden, .. } = config;
        let clock = Rc::new(Clock::default());
        let (of_embeddings, of_layers) = (vb.pp("embeddings"), vb.pp("encoder.layer"));
        let layer = |i: usize| Layer::new(config, kind, i as u64, &of_layers.pp(i), &clock);
        Ok(Self {
            words: of_embeddings.get((words, hidden), "word_embeddings.weight")?,
            positions: of_embeddings.get((positions, hidden), "position_embeddings.weight")?,
            types: of_embeddings.get((2, hidden), "token_type_embeddings.weight")?,
            norm: Norm::new(kind, hidden, of_embeddings.pp("LayerNorm"), &clock)?,
            dropout: Dropout::new(kind, config.dropout, 0),
            layers: (0..config.layers).map(layer).collect::<Result<_>>()?,
            clock,
        })
    }

    /// A vector of length 1 for each sentence: the mean of the hidden states of its tokens.
    pub fn embed(&self, batch: &Batch, train: bool) -> Result<Tensor> {
        let hidden = self.forward(batch, train)?;
        let sum = match &batch.mask {
            None => hidden.sum(1)?,
            Some(mask) => hidden.broadcast_mul(&mask.unsqueeze(2)?)?.sum(1)?,
        };
        // The number of tokens is a factor of all, which the length takes out.
        sum.broadcast_div(&sum.sqr()?.sum_keepdim(1)?.sqrt()?)
    }

    fn forward(&self, batch: &Batch, train: bool) -> Result<Tensor> {
        let (sentences, tokens) = batch.ids.dims2()?;
        let words = self.words.index_select(&batch.ids.flatten_all()?, 0)?;
        let words = words.reshape((sentences, tokens, ()))?;
        let places = self.positions.narrow(0, 0, tokens)?;
        let places = places.broadcast_add(&self.types.narrow(0, 0, 1)?)?;
        let sum = words.broadcast_add(&places)?;
        let mut x = self.dropout.forward(&self.norm.forward(&sum)?, train)?;
        // What is added to the scores of padding.
        let padding = match &batch.mask {
            None => None,
            Some(mask) => Some(((mask - 1.0)? * 1e9)?.unsqueeze(1)?.unsqueeze(1)?),
        };
        for layer in &self.layers {
            x = layer.forward(&x, padding.as_ref(), train)?;
        }
        Ok(x)
    }
}

struct Layer {
    heads: usize,
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    after_attention: Norm,
    wide: Linear,
    narrow: Linear,
    after_mlp: Norm,
    dropouts: [Dropout; 3],
}

impl Layer {
    fn new(
        config: Config,
        kind: Kind,
        index: u64,
        vb: &VarBuilder<'_>,
        clock: &Rc<Clock>,
    ) -> Result<Self> {
        let Config { hidden, inner, heads, dropout, .. } = config;
        let square = |name: &str| linear(hidden, hidden, vb.pp(name));
        let norm = |name: &str| Norm::new(kind, hidden, vb.pp(name), clock);
        Ok(Self {
            heads,
            query: square("attention.self.query")?,
            key: square("attention.self.key")?,
            value: square("attention.self.value")?,
            attended: square("attention.output.dense")?,
            after_attention: norm("attention.output.LayerNorm")?,
            wide: linear(hidden, inner, vb.pp("intermediate.dense"))?,
            narrow: linear(inner, hidden, vb.pp("output.dense"))?,
            after_mlp: norm("output.LayerNorm")?,
            dropouts: [1, 2, 3].map(|place| Dropout::new(kind, dropout, 3 * index + place)),
        })
    }

    fn forward(&self, x: &Tensor, padding: Option<&Tensor>, train: bool) -> Result<Tensor> {
        let [of_attention, after_attention, after_mlp] = &self.dropouts;
        let attended = self.attend(x, padding, of_attention, train)?;
        let attended = after_attention.forward(&self.attended.forward(&attended)?, train)?;
        let x = self.after_attention.forward_residual(&attended, x)?;
        let inner = self.wide.forward(&x)?.gelu_erf()?;
        let mlp = after_mlp.forward(&self.narrow.forward(&inner)?, train)?;
        self.after_mlp.forward_residual(&mlp, &x)
    }

    fn attend(
        &self,
        x: &Tensor,
        padding: Option<&Tensor>,
        dropout: &Dropout,
        train: bool,
    ) -> Result<Tensor> {
        let (sentences, tokens, hidden) = x.dims3()?;
        let head = hidden / self.heads;
        let heads = |x: Tensor| {
            x.reshape((sentences, tokens, self.heads, head))?.transpose(1, 2)?.contiguous()
        };
        let query = heads((self.query.forward(x)? * (head as f64).powf(-0.5))?)?;
        let (key, value) = (heads(self.key.forward(x)?)?, heads(self.value.forward(x)?)?);
        let mut scores = query.matmul(&key.t()?)?;
        if let Some(padding) = padding {
            scores = scores.broadcast_add(padding)?;
        }
        // candle's fused softmax has no gradient either.
        let weights =
            if train { ops::softmax(&scores, D::Minus1)? } else { ops::softmax_last_dim(&scores)? };
        let attended = dropout.forward(&weights, train)?.matmul(&value)?;
        attended.transpose(1, 2)?.reshape((sentences, tokens, hidden))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use candle_nn::VarMap;

    use super::*;
    use crate::layers::KINDS;

    const SMALL: Config = Config {
        words: 20,
        positions: 8,
        hidden: 16,
        heads: 2,
        inner: 24,
        layers: 2,
        dropout: 0.0,
    };

    /// The same model with the norms of each kind, and the variables that it learns.
    fn models() -> (VarMap, Vec<(Kind, Bert)>) {
        let map = VarMap::new();
        let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
        let models = KINDS.map(|kind| (kind, Bert::new(SMALL, kind, &vb).unwrap())).into();
        for (name, var) in map.data().lock().unwrap().iter() {
            let wave = |i: usize| ((i * 37 + name.len() * 11) as f32).sin() * 0.5;
            let wave = Tensor::from_iter((0..var.elem_count()).map(wave), &Device::Cpu).unwrap();
            var.set(&wave.reshape(var.shape()).unwrap()).unwrap();
        }
        (map, models)
    }

    /// Two sentences, of which one is shorter.
    fn batch() -> Batch {
        let ids = Tensor::new(&[[2_u32, 7, 9, 11, 3], [2, 5, 3, 0, 0]], &Device::Cpu).unwrap();
        let mask = [[1.0_f32; 5], [1.0, 1.0, 1.0, 0.0, 0.0]];
        Batch { ids, mask: Some(Tensor::new(&mask, &Device::Cpu).unwrap()) }
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn all_norms_give_one_embedding() {
        let (_, models) = models();
        let expected = values(&models[0].1.embed(&batch(), false).unwrap());
        for (kind, bert) in &models {
            let got = values(&bert.embed(&batch(), false).unwrap());
            let worst = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5, "{kind:?}: {worst}");
        }
    }

    #[test]
    fn padding_changes_no_embedding() {
        let (_, models) = models();
        let ids = Tensor::new(&[[2_u32, 5, 3]], &Device::Cpu).unwrap();
        let alone = models[0].1.embed(&Batch { ids, mask: None }, false).unwrap();
        let padded = models[0].1.embed(&batch(), false).unwrap().narrow(0, 1, 1).unwrap();
        for (alone, padded) in values(&alone).iter().zip(values(&padded)) {
            assert!((alone - padded).abs() < 1e-6, "{alone} and {padded}");
        }
    }

    #[test]
    fn all_parameters_learn_but_with_fused_norms_none() {
        let (map, models) = models();
        let vars = map.all_vars();
        for (kind, bert) in &models {
            let embedded = bert.embed(&batch(), true).unwrap();
            let first = embedded.narrow(1, 0, 1).unwrap().sum_all().unwrap();
            let gradients = first.backward().unwrap();
            let learning = vars.iter().filter(|var| gradients.get(var).is_some()).count();
            let expected = if *kind == Kind::Fused { 0 } else { vars.len() };
            assert_eq!(learning, expected, "{kind:?}");
        }
    }
}
