//! Diagnostics: what is wrong in a flow file, where it stands and what to do about it.
//!
//! The stages that read a flow collect [`Diagnostics`] and go on, so that one run reports everything. A span is a range
//! of bytes in the source text; only rendering needs the text itself.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// One problem, as it is shown to the user.
///
/// Texts that are often absent are boxed, so that the whole stays small enough for the error of a `Result`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// A stable name in kebab-case, such as `unknown-operator`.
    pub code: &'static str,
    /// A lower-case fragment that names the thing.
    pub message: String,
    /// The bytes of the source that are wrong, where that can be said.
    pub span: Option<Range<usize>>,
    /// A few words put beside the marked source.
    pub label: Option<Box<str>>,
    /// What to do.
    pub help: Option<Box<str>>,
    /// More facts, one a line.
    pub notes: Vec<String>,
}

impl Diagnostic {
    /// Starts a diagnostic; `code` is in kebab-case, `message` a lower-case fragment without final period.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), span: None, label: None, help: None, notes: Vec::new() }
    }

    /// Says where in the source the problem stands, as a range of bytes.
    #[must_use]
    pub fn at(mut self, span: Range<usize>) -> Self {
        self.span = Some(span);
        self
    }

    /// Puts a few words beside the marked source.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into().into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into().into());
        self
    }

    /// Says what to do, where there is something to say.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<impl Into<String>>) -> Self {
        if let Some(help) = help {
            self.help = Some(help.into().into());
        }
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    fn render(&self, path: &str, source: &str, renderer: &Renderer) -> String {
        let mut group = Group::with_title(Level::ERROR.primary_title(&self.message).id(self.code));
        group = match &self.span {
            Some(span) => {
                let excerpt = Excerpt::of(source, span);
                let mark = AnnotationKind::Primary.span(excerpt.span).label(self.label.as_deref());
                group.element(Snippet::source(excerpt.text).line_start(excerpt.line).path(path).annotation(mark))
            }
            None => group.element(Origin::path(path)),
        };
        for note in &self.notes {
            group = group.element(Level::NOTE.message(note));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_ref()));
        }
        renderer.render(&[group])
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)
    }
}

/// The problems found so far, in the order they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Makes an empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a problem.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Adds every problem of `more`.
    pub fn extend(&mut self, more: impl IntoIterator<Item = Diagnostic>) {
        self.0.extend(more);
    }

    /// Keeps the value of a result, or its problems.
    pub fn take<T>(&mut self, result: Result<T, Diagnostics>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(problems) => {
                self.extend(problems);
                None
            }
        }
    }

    /// Says whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts the problems.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Iterates over the problems in the order they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// Gives `value` when nothing is wrong, else the problems.
    pub fn into_result<T>(self, value: T) -> Result<T, Diagnostics> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }

    /// Renders every problem with an excerpt of `source`, in the order of the source, with ANSI colours if `color`.
    pub fn render(&self, path: &str, source: &str, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for diagnostic in self.sorted() {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&diagnostic.render(path, source, &renderer));
            text.push('\n');
        }
        text
    }

    /// Describes every problem for programs: an array of objects with `file`, `line`, `column`, `code`, `message`,
    /// `help` and `notes`; lines and columns count from 1, columns in characters; what is not known is null.
    pub fn to_json(&self, path: &str, source: &str) -> serde_json::Value {
        let objects = self.sorted().into_iter().map(|diagnostic| {
            let place = diagnostic.span.as_ref().map(|span| line_and_column(source, span.start));
            serde_json::json!({
                "file": path,
                "line": place.map(|(line, _)| line),
                "column": place.map(|(_, column)| column),
                "code": diagnostic.code,
                "message": diagnostic.message,
                "help": diagnostic.help,
                "notes": diagnostic.notes,
            })
        });
        objects.collect()
    }

    // What has no place concerns the file as a whole and comes first.
    fn sorted(&self) -> Vec<&Diagnostic> {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by_key(|diagnostic| diagnostic.span.as_ref().map(|span| span.start));
        sorted
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl FromIterator<Diagnostic> for Diagnostics {
    fn from_iter<I: IntoIterator<Item = Diagnostic>>(diagnostics: I) -> Self {
        Self(diagnostics.into_iter().collect())
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Gives `did you mean "…"?` for the candidate that `name` was most likely meant to be, if one is near enough.
pub fn suggest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    nearest(name, candidates).map(|candidate| format!("did you mean {candidate:?}?"))
}

/// Finds the candidate that `name` was most likely meant to be; on a tie the first one.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = plain(name);
    let length = wanted.chars().count();
    // Of one letter, all other letters are as near.
    let allowed = (length / 3).max(usize::from(length > 1));
    candidates
        .filter(|candidate| *candidate != name)
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

// `keyOn`, `key-on` and `key_on` are the same word to the person who wrote them.
fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// The whole lines of a source that a span touches. Rendering costs as much as its source is long, so a file with many
/// problems must not be rendered whole for each.
struct Excerpt<'a> {
    text: &'a str,
    /// The number of the first line, from 1.
    line: usize,
    /// The span within `text`, on character boundaries.
    span: Range<usize>,
}

impl<'a> Excerpt<'a> {
    fn of(source: &'a str, span: &Range<usize>) -> Self {
        let start = source.floor_char_boundary(span.start);
        let end = source.ceil_char_boundary(span.end.max(start));
        let first = source[..start].rfind('\n').map_or(0, |at| at + 1);
        // A span that ends with a line break is about the line before it.
        let end = if end > start && source[..end].ends_with('\n') { end - 1 } else { end };
        let last = source[end..].find('\n').map_or(source.len(), |at| end + at);
        let line = 1 + source[..first].matches('\n').count();
        Self { text: &source[first..last], line, span: start - first..end - first }
    }
}

fn line_and_column(source: &str, at: usize) -> (usize, usize) {
    let before = &source[..source.floor_char_boundary(at)];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (1 + before.matches('\n').count(), 1 + before[line_start..].chars().count())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    const SOURCE: &str = "flow = \"paid\"\n\n[[step]]\nname = \"é\"  # ü\nop = \"fliter\"\n";

    fn at(text: &str) -> Range<usize> {
        let start = SOURCE.find(text).expect("the text is in the source");
        start..start + text.len()
    }

    fn check(diagnostics: &Diagnostics, expect: &Expect) {
        expect.assert_eq(&diagnostics.render("flow.toml", SOURCE, false));
    }

    #[test]
    fn a_problem_is_shown_with_its_line_its_place_and_what_to_do() {
        let operators = ["map", "filter", "flat_map"];
        let diagnostic = Diagnostic::new("unknown-operator", "no operator \"fliter\"")
            .at(at("\"fliter\""))
            .maybe_help(suggest("fliter", operators.into_iter()));
        check(
            &diagnostic.into(),
            &expect![[r#"
                error[unknown-operator]: no operator "fliter"
                 --> flow.toml:5:6
                  |
                5 | op = "fliter"
                  |      ^^^^^^^^
                  |
                  = help: did you mean "filter"?
            "#]],
        );
    }

    #[test]
    fn problems_come_in_the_order_of_the_source_and_those_without_a_place_first() {
        let diagnostics = Diagnostics::from_iter([
            Diagnostic::new("second", "a label").at(at("\"é\"")).label("here").note("one").note("two").help("three"),
            Diagnostic::new("first", "many lines").at(0..at("[[step]]").end),
            Diagnostic::new("whole", "the file as a whole"),
            Diagnostic::new("third", "the end").at(SOURCE.len()..SOURCE.len() + 10),
        ]);
        check(
            &diagnostics,
            &expect![[r#"
            error[whole]: the file as a whole
            --> flow.toml

            error[first]: many lines
             --> flow.toml:1:1
              |
            1 | / flow = "paid"
            2 | |
            3 | | [[step]]
              | |________^

            error[second]: a label
             --> flow.toml:4:8
              |
            4 | name = "é"  # ü
              |        ^^^ here
              |
              = note: one
              = note: two
              = help: three

            error[third]: the end
             --> flow.toml:6:1
              |
            6 |
              | ^
        "#]],
        );
    }

    #[test]
    fn programs_get_lines_and_columns_in_characters() {
        let diagnostics = Diagnostics::from_iter([
            Diagnostic::new("a", "after two bytes for one character").at(at("# ü")),
            Diagnostic::new("b", "nowhere").help("look"),
        ]);
        expect![[r#"
            [
              {
                "code": "b",
                "column": null,
                "file": "flow.toml",
                "help": "look",
                "line": null,
                "message": "nowhere",
                "notes": []
              },
              {
                "code": "a",
                "column": 13,
                "file": "flow.toml",
                "help": null,
                "line": 4,
                "message": "after two bytes for one character",
                "notes": []
              }
            ]"#]]
        .assert_eq(&format!("{:#}", diagnostics.to_json("flow.toml", SOURCE)));
    }

    #[test]
    fn only_near_names_are_suggested() {
        let names = ["k", "map", "filter", "filter_map", "key_on", "fold_window"];
        for (name, expect) in [
            ("fliter", Some("filter")),
            ("filtermap", Some("filter_map")),
            ("keyOn", Some("key_on")),
            ("foldwindw", Some("fold_window")),
            ("mpa", Some("map")),
            ("K", Some("k")),
            ("window", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, names.into_iter()), expect, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_span_of_any_text_can_be_shown(
            source in "[a\u{e9}\u{4e00}\u{1f600}\t\r\n\u{1b}\u{0}]{0,30}",
            start in 0_usize..120,
            length in 0_usize..120,
            message in "\\PC{0,10}|[a\n\r\u{1b}]{0,5}",
        ) {
            let diagnostic = Diagnostic::new("code", message.clone()).at(start..start + length);
            let diagnostics: Diagnostics = diagnostic.label(message.clone()).note(message.clone()).help(message).into();
            diagnostics.render("flow.toml", &source, true);
            diagnostics.to_json("flow.toml", &source);
        }
    }
}
