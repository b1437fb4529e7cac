//! Sentences to tokens: `WordPiece` of the vocabulary of the model, for text without accents and East Asian characters.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Result, Tensor, bail};

/// Sentences of one length, filled up with padding.
pub struct Batch {
    pub ids: Tensor,
    /// 1 for a token, 0 for padding. None where there is no padding.
    pub mask: Option<Tensor>,
}

pub struct Tokenizer {
    ids: HashMap<String, u32>,
    padding: u32,
    unknown: u32,
    start: u32,
    end: u32,
}

impl Tokenizer {
    pub fn read(path: &Path) -> Result<Self> {
        Self::new(&std::fs::read_to_string(path)?)
    }

    /// A vocabulary has one token a line.
    fn new(vocabulary: &str) -> Result<Self> {
        let ids: HashMap<String, u32> =
            vocabulary.lines().zip(0..).map(|(token, id)| (token.to_owned(), id)).collect();
        let id = |token: &str| match ids.get(token) {
            Some(&id) => Ok(id),
            None => bail!("the vocabulary lacks {token}"),
        };
        let (padding, unknown) = (id("[PAD]")?, id("[UNK]")?);
        let (start, end) = (id("[CLS]")?, id("[SEP]")?);
        Ok(Self { ids, padding, unknown, start, end })
    }

    pub fn batch(&self, sentences: &[&str]) -> Result<Batch> {
        let tokens: Vec<Vec<u32>> =
            sentences.iter().map(|sentence| self.tokens(sentence)).collect();
        let longest = tokens.iter().map(Vec::len).max().unwrap_or(0);
        let (mut ids, mut mask) = (Vec::new(), Vec::new());
        for tokens in &tokens {
            let padding = longest - tokens.len();
            ids.extend(tokens.iter().copied().chain(std::iter::repeat_n(self.padding, padding)));
            mask.extend(std::iter::repeat_n(1.0_f32, tokens.len()));
            mask.extend(std::iter::repeat_n(0.0_f32, padding));
        }
        let shape = (tokens.len(), longest);
        let mask = mask.contains(&0.0).then(|| Tensor::from_vec(mask, shape, &Device::Cpu));
        Ok(Batch { ids: Tensor::from_vec(ids, shape, &Device::Cpu)?, mask: mask.transpose()? })
    }

    fn tokens(&self, sentence: &str) -> Vec<u32> {
        let mut tokens = vec![self.start];
        for word in words(&sentence.to_lowercase()) {
            self.pieces(word, &mut tokens);
        }
        tokens.push(self.end);
        tokens
    }

    /// The longest piece that the vocabulary has, again and again. A word that does not come out is unknown.
    fn pieces(&self, word: &str, tokens: &mut Vec<u32>) {
        let (mut start, mut pieces) = (0, Vec::new());
        while start < word.len() {
            let prefix = if start == 0 { "" } else { "##" };
            let ends = word[start..].char_indices().map(|(at, c)| start + at + c.len_utf8()).rev();
            let longest = ends
                .filter_map(|end| {
                    Some((end, *self.ids.get(&format!("{prefix}{}", &word[start..end]))?))
                })
                .next();
            let Some((end, id)) = longest else {
                tokens.push(self.unknown);
                return;
            };
            pieces.push(id);
            start = end;
        }
        tokens.extend(pieces);
    }
}

/// Words, and each punctuation mark by itself.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for word in text.split_whitespace() {
        let mut rest = word;
        while let Some(at) = rest.find(|c: char| c.is_ascii_punctuation()) {
            words.extend([&rest[..at], &rest[at..=at]].into_iter().filter(|part| !part.is_empty()));
            rest = &rest[at + 1..];
        }
        words.extend(Some(rest).filter(|rest| !rest.is_empty()));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOCABULARY: &str =
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\nket\nkettle\n##s\n##tle\nis\n.\n'\nt\nisn";

    #[test]
    fn words_fall_into_their_longest_pieces() {
        let tokenizer = Tokenizer::new(VOCABULARY).unwrap();
        assert_eq!(tokenizer.tokens("The kettles."), [2, 4, 6, 7, 10, 3]);
        assert_eq!(tokenizer.tokens("isn't"), [2, 13, 11, 12, 3]);
        // "ketx" has a first piece and no second one.
        assert_eq!(tokenizer.tokens("ketx is"), [2, 1, 9, 3]);
        assert_eq!(tokenizer.tokens(""), [2, 3]);
    }

    #[test]
    fn shorter_sentences_are_padded() {
        let batch = Tokenizer::new(VOCABULARY).unwrap().batch(&["the kettle is", "the"]).unwrap();
        assert_eq!(batch.ids.to_vec2::<u32>().unwrap(), [[2, 4, 6, 9, 3], [2, 4, 3, 0, 0]]);
        let mask = batch.mask.unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(mask, [[1.0; 5], [1.0, 1.0, 1.0, 0.0, 0.0]]);
    }
}
