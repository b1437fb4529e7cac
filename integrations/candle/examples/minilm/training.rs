//! Fine-tuning: which parameters learn, how the loss falls, what a step costs, and whether a run can be repeated.

use std::collections::BTreeMap;
use std::time::Instant;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var, bail};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use indicatif::{ProgressBar, ProgressStyle};

use crate::bert::{Bert, Config, MINILM};
use crate::inference::{median, random_batch};
use crate::layers::Kind;
use crate::model::{WORDS, directory, model, tokenizer, variables, weights};
use crate::picture::{Curve, picture};
use crate::process;
use crate::sentences::{Batches, held_out, in_columns, learnt};
use crate::tokenizer::{Batch, Tokenizer};

/// The arguments of the processes that learn, and that measure.
pub const CHILD: &str = "training-run";
pub const STEP_CHILD: &str = "step-run";

const STEPS: usize = 200;
const REPEATED_STEPS: usize = 20;
/// How far gradients by two kinds of norm may be apart, of the largest element of their tensor.
const BOUND: f64 = 1e-4;
/// Triples a step.
const TRIPLES: usize = 8;
const LEARNING_RATE: f64 = 3e-5;

/// Without dropout: what a gradient is compared with has to have the same masks.
const CERTAIN: Config = Config { dropout: 0.0, ..MINILM };

pub fn run() -> Result<()> {
    gradients()?;
    let mut curves = Vec::new();
    for (kind, colour) in [(Kind::Fused, "#888"), (Kind::Added, "#06c")] {
        let of = learn(kind, 2, STEPS)?;
        println!(
            "{:20} loss {:.3} at first, {:.3} at last; {}; {:.0} s",
            kind.name(),
            mean(&of.losses[..20]),
            mean(&of.losses[STEPS - 20..]),
            of.held_out,
            of.seconds,
        );
        curves.push(Curve { name: kind.name(), colour, points: of.losses });
    }
    let path = directory().join("losses.svg");
    std::fs::write(&path, picture(&curves))?;
    println!("both losses: {}", path.display());
    repeat()
}

/// Counts the parameters that have a gradient, and compares the gradients of two kinds.
fn gradients() -> Result<()> {
    let weights = weights()?;
    let vars = variables(&weights)?;
    let parameters: usize = vars.values().map(|var| var.elem_count()).sum();
    let sentences = Batches::new(learnt(), 1).take(TRIPLES);
    let batch = tokenizer()?.batch(&sentences)?;
    let of = |kind: Kind| loss(&model(CERTAIN, kind, &weights, &vars)?, &batch)?.backward();
    println!("Parameters with a gradient, of {parameters} in {} tensors", vars.len());
    for kind in [Kind::Fused, Kind::Slow, Kind::Added] {
        let (tensors, parameters) = learning(&vars, &of(kind)?);
        println!("  {:20} {parameters} in {tensors} tensors", kind.name());
    }
    // What is added to all keys changes no weight of attention: that gradient is 0, but for rounding.
    let (ours, theirs) = (of(Kind::Added)?, of(Kind::Slow)?);
    let (mut worst, mut of_what) = (0.0, "");
    for (name, var) in vars.iter().filter(|(name, _)| !name.ends_with("key.bias")) {
        let (Some(ours), Some(theirs)) = (ours.get(var), theirs.get(var)) else {
            bail!("{name} has no gradient");
        };
        let distance = distance(ours, theirs)?;
        (worst, of_what) =
            if distance > worst { (distance, name.as_str()) } else { (worst, of_what) };
    }
    println!("Gradients differ by at most {worst:.1e} of the largest of their tensor ({of_what})");
    if worst > BOUND {
        bail!("expected at most {BOUND:e}");
    }
    Ok(())
}

/// How many tensors, and parameters in them, have a gradient.
fn learning(vars: &BTreeMap<String, Var>, gradients: &GradStore) -> (usize, usize) {
    let learning: Vec<&Var> = vars.values().filter(|var| gradients.get(var).is_some()).collect();
    (learning.len(), learning.iter().map(|var| var.elem_count()).sum())
}

/// The largest difference of two tensors, of the largest element.
fn distance(got: &Tensor, expected: &Tensor) -> Result<f64> {
    let most = |x: Tensor| x.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>();
    let scale = most(expected.clone())?;
    Ok(f64::from(most((got - expected)?)?) / f64::from(scale.max(f32::MIN_POSITIVE)))
}

/// The mean square of what the cosine of two sentences lacks: to 1 for those of one meaning, to 0 for the others.
fn loss(bert: &Bert, batch: &Batch) -> Result<Tensor> {
    let [same, others] = cosines(&bert.embed(batch, true)?)?;
    ((same - 1.0)?.sqr()?.mean_all()? + others.sqr()?.mean_all()?)? / 2.0
}

/// The cosines of the sentences in the first third with those in the second, and in the last.
fn cosines(embedded: &Tensor) -> Result<[Tensor; 2]> {
    let of = embedded.chunk(3, 0)?;
    Ok([(&of[0] * &of[1])?.sum(1)?, (&of[0] * &of[2])?.sum(1)?])
}

/// What a process that learns says.
#[derive(Default)]
struct Learnt {
    losses: Vec<f64>,
    seconds: f64,
    held_out: String,
    /// A hash of all bits of all parameters.
    parameters: String,
}

fn learn(kind: Kind, threads: usize, steps: usize) -> Result<Learnt> {
    let bar = ProgressBar::new(steps as u64).with_style(
        ProgressStyle::with_template("{prefix:20} {bar:40} {pos}/{len} {elapsed} loss {msg}")
            .expect("a template"),
    );
    bar.set_prefix(kind.name());
    let (mut of, start) = (Learnt::default(), Instant::now());
    let args = [CHILD, kind.name(), &steps.to_string()];
    process::run(threads, &args, |words| match words {
        ["loss", loss] => {
            of.losses.push(process::number(&[loss], 0));
            bar.set_message((*loss).to_owned());
            bar.inc(1);
        }
        ["parameters", hash] => (*hash).clone_into(&mut of.parameters),
        words => of.held_out = words.join(" "),
    })?;
    bar.finish_and_clear();
    of.seconds = start.elapsed().as_secs_f64();
    Ok(of)
}

/// Learns, and prints the losses, a hash of the parameters, and what became of the sentences that were held out.
pub fn child(kind: Kind, steps: usize) -> Result<()> {
    let (tokenizer, mut student) = (tokenizer()?, Student::new(kind)?);
    let before = judge(&student.bert, &tokenizer)?;
    let mut batches = Batches::new(learnt(), 1);
    for _ in 0..steps {
        println!("loss {}", student.step(&tokenizer.batch(&batches.take(TRIPLES))?)?);
    }
    println!("parameters {:016x}", hash(&student.vars)?);
    println!("held out: {before} right before, {} after", judge(&student.bert, &tokenizer)?);
    Ok(())
}

struct Student {
    vars: BTreeMap<String, Var>,
    bert: Bert,
    optimizer: AdamW,
}

impl Student {
    fn new(kind: Kind) -> Result<Self> {
        let weights = weights()?;
        let mut vars = variables(&weights)?;
        vars.remove(WORDS);
        let bert = model(MINILM, kind, &weights, &vars)?;
        let params = ParamsAdamW { lr: LEARNING_RATE, ..ParamsAdamW::default() };
        let optimizer = AdamW::new(vars.values().cloned().collect(), params)?;
        Ok(Self { vars, bert, optimizer })
    }

    fn step(&mut self, batch: &Batch) -> Result<f32> {
        let loss = loss(&self.bert, batch)?;
        self.optimizer.backward_step(&loss)?;
        loss.to_scalar()
    }
}

/// How many of the sentences held out are nearer to that of their meaning than to that of nearly their words.
fn judge(bert: &Bert, tokenizer: &Tokenizer) -> Result<String> {
    let triples = held_out();
    let embedded = bert.embed(&tokenizer.batch(&in_columns(&triples))?, false)?;
    let [same, others] = cosines(&embedded)?;
    let right = same.gt(&others)?.to_dtype(candle_core::DType::U32)?.sum_all()?;
    Ok(format!("{} of {}", right.to_scalar::<u32>()?, triples.len()))
}

/// FNV-1a of the bits of all parameters.
fn hash(vars: &BTreeMap<String, Var>) -> Result<u64> {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for var in vars.values() {
        for x in var.flatten_all()?.to_vec1::<f32>()? {
            for byte in x.to_bits().to_le_bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    Ok(hash)
}

/// Learns twice with one thread and twice with two.
fn repeat() -> Result<()> {
    let mut all = Vec::new();
    for threads in [1, 2] {
        let runs = [0; 2].map(|_| learn(Kind::Added, threads, REPEATED_STEPS));
        let [first, second] = runs.map(|run| run.map(|run| (run.losses, run.parameters)));
        let (first, second) = (first?, second?);
        if first != second {
            bail!("two runs with {threads} threads have other bits");
        }
        all.push(first);
    }
    let threads = if all[0] == all[1] {
        "and those with one are those with two"
    } else {
        "those with one are not those with two"
    };
    println!(
        "{REPEATED_STEPS} steps, twice with one thread, twice with two: every bit of every loss and parameter is the same, {threads}"
    );
    Ok(())
}

/// The time and the memory of a step.
pub fn steps() -> Result<()> {
    println!("A step of 9 sentences of 128 tokens: forward, backward and AdamW");
    println!("threads                       s    of norms, forward    peak MiB");
    for threads in [1, 2] {
        for kind in [Kind::Slow, Kind::Added] {
            process::run(threads, &[STEP_CHILD, kind.name()], |words| {
                let [seconds, norms, peak] = [0, 1, 2].map(|at| process::number(words, at));
                let name = kind.name();
                println!("{threads:7} {name:20} {seconds:5.3} {norms:20.4} {peak:11.0}");
            })?;
        }
    }
    Ok(())
}

/// Prints the median time of a step, that of its norms in the forward pass, and the peak of memory.
pub fn step_child(kind: Kind) -> Result<()> {
    // Three sentences each, as the loss takes them.
    let (mut student, batch) = (Student::new(kind)?, random_batch(9, 128)?);
    let (mut times, mut norms) = (Vec::new(), Vec::new());
    for turn in 0..6 {
        student.bert.clock.take();
        let start = Instant::now();
        student.step(&batch)?;
        if turn > 0 {
            times.push(start.elapsed().as_secs_f64());
            norms.push(student.bert.clock.take());
        }
    }
    println!("{} {} {}", median(times), median(norms), process::peak_mib());
    Ok(())
}

fn mean(of: &[f64]) -> f64 {
    of.iter().sum::<f64>() / of.len() as f64
}
