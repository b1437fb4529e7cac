//! The task: a sentence, another with its meaning, and one with nearly its words and another meaning.

use std::sync::LazyLock;

pub type Triple = [&'static str; 3];

/// Every fifth is held out.
const FOLD: usize = 5;

static ALL: LazyLock<Vec<Triple>> = LazyLock::new(|| {
    let triple = |line: &'static str| {
        let mut columns = line.split('\t');
        [(); 3].map(|()| columns.next().expect("three sentences a line"))
    };
    include_str!("sentences.tsv").lines().map(triple).collect()
});

pub fn all() -> &'static [Triple] {
    &ALL
}

pub fn learnt() -> Vec<Triple> {
    part(|i| i % FOLD != FOLD - 1)
}

pub fn held_out() -> Vec<Triple> {
    part(|i| i % FOLD == FOLD - 1)
}

fn part(is_in: impl Fn(usize) -> bool) -> Vec<Triple> {
    all().iter().enumerate().filter(|(i, _)| is_in(*i)).map(|(_, triple)| *triple).collect()
}

/// Batches without an end: all triples in an order of the seed, then in another one.
pub struct Batches {
    triples: Vec<Triple>,
    left: Vec<Triple>,
    state: u64,
}

impl Batches {
    pub fn new(triples: Vec<Triple>, seed: u64) -> Self {
        Self { triples, left: Vec::new(), state: seed | 1 }
    }

    /// First all sentences, then those of their meaning, then the others.
    pub fn take(&mut self, count: usize) -> Vec<&'static str> {
        if self.left.len() < count {
            self.left = self.triples.clone();
            for i in (1..self.left.len()).rev() {
                let other = self.random() as usize % (i + 1);
                self.left.swap(i, other);
            }
        }
        in_columns(&self.left.split_off(self.left.len() - count))
    }

    /// Marsaglia's xorshift.
    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state >> 11
    }
}

/// First all sentences, then those of their meaning, then the others.
pub fn in_columns(triples: &[Triple]) -> Vec<&'static str> {
    (0..3).flat_map(|column| triples.iter().map(move |triple| triple[column])).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_sentence_is_learnt_and_held_out() {
        let (learnt, held_out) = (in_columns(&learnt()), in_columns(&held_out()));
        assert_eq!((learnt.len(), held_out.len()), (132, 33));
        let all: HashSet<_> = learnt.iter().chain(&held_out).collect();
        assert_eq!(all.len(), 165, "a sentence is there twice");
    }

    #[test]
    fn a_pass_over_the_task_takes_every_triple_once() {
        let mut batches = Batches::new(learnt(), 7);
        let first: HashSet<_> = (0..4).flat_map(|_| batches.take(11)).collect();
        assert_eq!(first, HashSet::from_iter(in_columns(&learnt())));
        assert_ne!(batches.take(44), in_columns(&learnt()), "the order is that of the file");
    }
}
