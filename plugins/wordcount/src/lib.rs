//! The word count: lines become lower case and fall into words, which the host counts.

use std::sync::LazyLock;

use regex::Regex;
use wxhost_guest::prelude::*;

static WORD: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"[^\s!,.?":;0-9]+"#).expect("the pattern is a regular expression"));

/// Makes a line lower case.
#[map]
fn lower(line: &str) -> String {
    line.to_lowercase()
}

/// Splits a line into words.
#[flat_map]
fn tokenize(line: &str) -> impl Iterator<Item = &str> {
    WORD.find_iter(line).map(|word| word.as_str())
}

plugin!(lower, tokenize);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use wxhost_guest::testing::{self, transform};

    use super::*;

    #[test]
    fn the_soliloquy_has_thirty_words() {
        let lines: Vec<&str> = include_str!("../wordcount.txt").lines().collect();
        let lowered = transform::<lower>().run(lines).texts();
        let mut counts = BTreeMap::new();
        for word in transform::<tokenize>().run(lowered).texts() {
            *counts.entry(word).or_insert(0) += 1;
        }
        let counts: Vec<_> = counts.iter().map(|(word, count)| (word.as_str(), *count)).collect();
        assert_eq!(
            counts,
            [
                ("'tis", 1),
                ("a", 1),
                ("against", 1),
                ("and", 2),
                ("arms", 1),
                ("arrows", 1),
                ("be", 2),
                ("by", 1),
                ("end", 1),
                ("fortune", 1),
                ("in", 1),
                ("is", 1),
                ("mind", 1),
                ("nobler", 1),
                ("not", 1),
                ("of", 2),
                ("opposing", 1),
                ("or", 2),
                ("outrageous", 1),
                ("question", 1),
                ("sea", 1),
                ("slings", 1),
                ("suffer", 1),
                ("take", 1),
                ("that", 1),
                ("the", 3),
                ("them", 1),
                ("to", 4),
                ("troubles", 1),
                ("whether", 1),
            ]
        );
    }

    #[test]
    fn digits_and_punctuation_part_words_and_other_signs_do_not() {
        let words = transform::<tokenize>().run(["don't;stop 2go", "naïve\u{a0}über—alles"]);
        assert_eq!(words.texts(), ["don't", "stop", "go", "naïve", "über—alles"]);
        assert_eq!(words.parents, [0, 0, 0, 1, 1]);
    }

    #[test]
    fn both_functions_are_in_the_component() {
        let names: Vec<_> = testing::functions::<WxhostPlugin>().into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["lower", "tokenize"]);
    }
}
