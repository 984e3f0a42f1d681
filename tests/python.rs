//! The contract is not Rust's alone: the word count with a tokenizer in Python, built by componentize-py from PyPI.

use crate::support::{root, wxhost};

#[test]
fn a_tokenizer_in_python_counts_the_same_words() {
    let flow = |plugin: &str| {
        let path = root().join("plugins").join(plugin).join("flow.toml");
        wxhost("run --summary=never").arg(path).run()
    };
    let done = flow("wordcount-python");
    // What keeps Python or PyPI away from a machine is none of this program's faults.
    let lacks = ["python3: ", "ensurepip is not available", "No matching distribution", "Could not find a version"];
    if done.code == Some(78) && lacks.iter().any(|lack| done.stderr.contains(lack)) {
        eprintln!("not tested, since componentize-py cannot be had here:\n{}", done.stderr);
        return;
    }
    let done = done.expect(0);
    assert_eq!(done.stdout.lines().count(), 30);
    assert_eq!(done.stdout, flow("wordcount").expect(0).stdout);
}
