//! `wxhost new`: a plugin project in Rust, with a test and a flow, that runs as it is.

mod sdk;

use super::exit::Failure;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What stands for the project's name in the template.
const NAME: &str = "my-steps";
/// What stands for the SDK's path.
const SDK_PATH: &str = "SDK_PATH";

/// The files of a project: path and text.
const TEMPLATE: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    ("src/lib.rs", include_str!("template/src/lib.rs")),
    ("flow.toml", include_str!("template/flow.toml")),
    ("readings.jsonl", include_str!("template/readings.jsonl")),
    ("README.md", include_str!("template/README.md")),
    (".gitignore", include_str!("template/gitignore")),
];

#[derive(clap::Args)]
pub struct Args {
    /// The name of the project, its plugin and its flow
    #[arg(value_parser = name)]
    name: String,

    /// The folder to make it in [default: one of that name]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// The folder of an SDK to use, instead of writing this program's own into the project
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

/// Reads a name that cargo takes for a package and a flow for a plugin.
fn name(text: &str) -> Result<String, String> {
    // Names that would hide a crate, or that cargo refuses.
    const TAKEN: [&str; 9] =
        ["core", "std", "alloc", "test", "proc-macro", "proc_macro", "wxhost", "wxhost-guest", "build"];
    let is_made_of_word_characters = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if !is_made_of_word_characters || !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Err("a name has letters, digits, \"-\" and \"_\", and begins with a letter".to_owned());
    }
    if TAKEN.contains(&text) || KEYWORDS.contains(&text) {
        return Err("the name means something else in Rust; take another".to_owned());
    }
    Ok(text.to_owned())
}

/// Rust's words, which cannot name a crate.
const KEYWORDS: &[&str] = &[
    "Self", "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro",
    "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super",
    "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Makes a project.
///
/// # Errors
/// There is something in its place, or its files cannot be written.
pub fn new(args: &Args) -> Result<(), Failure> {
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    if fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::Usage {
            message: format!("{} is there already, and not empty", dir.display()),
            help: "take another name, or another folder: --dir DIR".to_owned(),
        });
    }
    let sdk = match &args.sdk {
        Some(sdk) => fs::canonicalize(sdk).map_err(|error| Failure::io(sdk, &error))?.display().to_string(),
        None => {
            for (path, text) in sdk::files() {
                write(&dir.join(".wxhost").join(path), &text)?;
            }
            ".wxhost/guest-sdk".to_owned()
        }
    };
    for (path, text) in TEMPLATE {
        write(&dir.join(path), &text.replace(NAME, &args.name).replace(SDK_PATH, &sdk))?;
    }
    // Who does not read stderr does not need to know how to go on.
    let _ =
        writeln!(io::stderr(), "made the plugin project {0}\nrun its flow: wxhost run {0}/flow.toml", dir.display());
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text));
    written.map_err(|error| Failure::io(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_for_cargo_and_for_flows() {
        for (text, is_name) in [
            ("my-steps", true),
            ("a1_b", true),
            ("", false),
            ("1a", false),
            ("-a", false),
            ("a b", false),
            ("ä", false),
            ("../x", false),
            ("fn", false),
            ("core", false),
        ] {
            assert_eq!(name(text).is_ok(), is_name, "{text}");
        }
    }
}
