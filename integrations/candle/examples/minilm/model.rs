//! The weights of the model: where they are, and as what they are loaded.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use candle_core::{DType, Device, Result, Tensor, Var, bail, safetensors};
use candle_nn::VarBuilder;

use crate::bert::{Bert, Config};
use crate::layers::Kind;
use crate::tokenizer::Tokenizer;

/// The table of words. A fine-tuning on few sentences leaves it as it is.
pub const WORDS: &str = "embeddings.word_embeddings.weight";

pub fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/minilm"))
}

fn file(name: &str) -> Result<PathBuf> {
    let path = directory().join("cache").join(name);
    if !path.exists() {
        let fetch = directory().join("fetch");
        bail!("{} is not there. Run {}", path.display(), fetch.display());
    }
    Ok(path)
}

pub fn tokenizer() -> Result<Tokenizer> {
    Tokenizer::read(&file("vocab.txt")?)
}

/// All tensors that an embedding depends on: the pooler of BERT is not one of them.
pub fn weights() -> Result<BTreeMap<String, Tensor>> {
    let all = safetensors::load(file("model.safetensors")?, &Device::Cpu)?;
    let is_used = |name: &str, of: &Tensor| of.dtype() == DType::F32 && !name.starts_with("pooler");
    Ok(all.into_iter().filter(|(name, of)| is_used(name, of)).collect())
}

/// A model of these weights. What is a variable is learnt.
pub fn model(
    config: Config,
    kind: Kind,
    weights: &BTreeMap<String, Tensor>,
    vars: &BTreeMap<String, Var>,
) -> Result<Bert> {
    let mut tensors: HashMap<_, _> = weights.clone().into_iter().collect();
    tensors.extend(vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())));
    Bert::new(config, kind, &VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))
}

/// A variable for each tensor.
pub fn variables(weights: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Var>> {
    weights.iter().map(|(name, of)| Ok((name.clone(), Var::from_tensor(of)?))).collect()
}
