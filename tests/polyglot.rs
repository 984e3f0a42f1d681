//! One flow with plugins in two languages.

use crate::support::{python, root, wxhost};

/// The words of the soliloquy, as often as they occur.
const WORDS: [(&str, u32); 30] = [
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
];

#[test]
fn a_tokenizer_in_python_counts_the_same_words() {
    python::expect_python();
    let wanted: Vec<String> =
        WORDS.iter().map(|(word, count)| format!("{{\"word\":\"{word}\",\"count\":{count}}}\n")).collect();
    for project in ["wordcount", "wordcount-python"] {
        let flow = root().join("plugins").join(project).join("flow.toml");
        let run = |workers: usize| {
            let call = wxhost(&format!("run --summary=never -w {workers}")).arg(&flow);
            call.run().expect(0).stdout
        };
        assert_eq!(run(1), wanted.concat(), "{project}");
        // Each worker sorts what it counted.
        let with_three = run(3);
        let mut lines: Vec<&str> = with_three.split_inclusive('\n').collect();
        lines.sort();
        assert_eq!(lines, wanted, "{project} with three workers");
    }
}
