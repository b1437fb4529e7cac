//! Embeddings by each kind of norm: they have to be the same, and sentences of one meaning have to be near each other.

use std::collections::BTreeMap;

use candle_core::{Result, bail};

use crate::bert::MINILM;
use crate::layers::{KINDS, Kind};
use crate::model::{model, tokenizer, weights};
use crate::sentences::all;

/// How far the cosine of two embeddings of one sentence may be from 1.
const BOUND: f64 = 1e-5;

/// The embedding of the first sentence begins like this: PyTorch in double, from the same weights.
const KNOWN: [f64; 6] = [-0.046379, 0.042266, -0.056585, 0.000630, -0.019919, -0.041290];

pub fn run() -> Result<()> {
    let (tokenizer, weights) = (tokenizer()?, weights()?);
    let embed = |kind: Kind, column: usize| -> Result<Vec<Vec<f64>>> {
        let sentences: Vec<&str> = all().iter().map(|triple| triple[column]).collect();
        let bert = model(MINILM, kind, &weights, &BTreeMap::new())?;
        let embedded = bert.embed(&tokenizer.batch(&sentences)?, false)?;
        let embedded = embedded.to_dtype(candle_core::DType::F64)?;
        embedded.to_vec2()
    };
    let expected = embed(Kind::Fused, 0)?;
    for (got, known) in embed(Kind::Added, 0)?[0].iter().zip(KNOWN) {
        if (got - known).abs() > BOUND {
            bail!("the first embedding has {got} where PyTorch has {known}");
        }
    }
    println!("{} sentences, embedded with candle's fused norms and with others", expected.len());
    for kind in KINDS.into_iter().filter(|&kind| kind != Kind::Fused) {
        let got = embed(kind, 0)?;
        let distances = got.iter().zip(&expected).map(|(got, of)| (1.0 - cosine(got, of)).abs());
        let worst = distances.fold(0.0, f64::max);
        println!("  {:20} 1 - cosine is at most {worst:.1e}", kind.name());
        if worst > BOUND {
            bail!("expected at most {BOUND:e}");
        }
    }
    let same = embed(Kind::Added, 1)?;
    let (mut found, mut of_pairs, mut of_others) = (0, Vec::new(), Vec::new());
    for (i, of) in expected.iter().enumerate() {
        let mut best = (f64::NEG_INFINITY, 0);
        for (j, other) in same.iter().enumerate() {
            let cosine = cosine(of, other);
            best = if cosine > best.0 { (cosine, j) } else { best };
            if i == j { of_pairs.push(cosine) } else { of_others.push(cosine) }
        }
        found += usize::from(best.1 == i);
    }
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    let (pairs, others) = (mean(&of_pairs), mean(&of_others));
    println!("a sentence and one of its meaning: cosine {pairs:.2}; two others: {others:.2}");
    println!("{found} of {} sentences are nearest to that of their meaning", same.len());
    if found * 10 < same.len() * 9 {
        bail!("expected 9 of 10");
    }
    Ok(())
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
