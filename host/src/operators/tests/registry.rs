//! What every declaration must have.

use super::super::OPERATORS;
use crate::spec;
use std::collections::BTreeSet;

#[test]
fn names_are_unique_and_in_snake_case() {
    let mut names = BTreeSet::new();
    for operator in OPERATORS {
        let name = operator.name();
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert!(names.insert(name), "{name} twice");
    }
}

#[test]
fn reference_texts_begin_with_a_sentence_and_name_their_ports() {
    for operator in OPERATORS {
        let first = operator.doc().lines().next().unwrap();
        assert!(first.ends_with('.') && first.starts_with(char::is_uppercase), "{}: {first}", operator.name());
        assert!(operator.doc().contains("\nPorts: "), "{}", operator.name());
        let longest = operator.doc().lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= 120, "{}: a line of {longest} characters", operator.name());
    }
}

#[test]
fn examples_are_steps_of_the_operator() {
    for operator in OPERATORS {
        let doc = operator.doc();
        let example = doc.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
        let text = format!("flow = \"example\"\n{}", example.unwrap_or_else(|| panic!("{}", operator.name())));
        let (spec, problems) = spec::parse(&text, &|_| None);
        assert!(problems.is_empty(), "{}: {problems:?}", operator.name());
        assert!(spec.unwrap().steps.iter().any(|step| step.op.value == operator.name()), "{}", operator.name());
    }
}
