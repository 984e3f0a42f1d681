//! From the path in a flow to a component: a file as it is, a project built from source.

use super::identify::refusal;
use crate::catalog::function::FunctionError;
use serde::Deserialize;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

const TARGET: &str = "wasm32-wasip2";
const RUSTFLAGS: &str = "CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS";
/// The names of the file that says how a project in another language is built.
const MANIFESTS: [&str; 2] = ["wxhost.toml", "plugin.toml"];

/// Returns the component that `path` stands for: a file itself; of a project's directory, what its build makes.
/// Cargo and other builders write their progress to stderr, and decide themselves what is to be done.
///
/// # Errors
/// There is nothing, the tools are not there, or the build failed.
pub fn resolve(path: &Path) -> Result<PathBuf, FunctionError> {
    if path.is_file() {
        return Ok(path.to_owned());
    }
    if !path.is_dir() {
        let help = "give a .wasm component or the directory of a plugin's project";
        return Err(refusal(format!("there is no plugin at {}", path.display()), help));
    }
    if let Some(manifest) = MANIFESTS.iter().map(|name| path.join(name)).find(|manifest| manifest.is_file()) {
        return build_by_command(path, &manifest);
    }
    if path.join("Cargo.toml").is_file() {
        return build_by_cargo(path);
    }
    Err(refusal(
        format!("{} is no plugin's project", path.display()),
        "it has neither a Cargo.toml nor a wxhost.toml with `build = \"command\"` and `artifact = \"file.wasm\"`",
    ))
}

/// How a project in another language is built.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// A command for the shell, run in the project's directory.
    build: String,
    /// The component that it makes, relative to that directory.
    artifact: PathBuf,
}

fn build_by_command(dir: &Path, manifest: &Path) -> Result<PathBuf, FunctionError> {
    let text = std::fs::read_to_string(manifest)
        .map_err(|error| FunctionError { message: format!("{}: {error}", manifest.display()), help: None })?;
    let Manifest { build, artifact } = toml::from_str(&text).map_err(|error| {
        let message = format!("{}: {}", manifest.display(), error.message());
        refusal(message, "it should say `build = \"command\"` and `artifact = \"file.wasm\"`")
    })?;
    // Data goes to stdout, and a build's words are none.
    let status = Command::new("sh").arg("-c").arg(format!("{{ {build}\n}} >&2")).current_dir(dir).status();
    let status = status.map_err(|error| cannot_run("sh", &error))?;
    if !status.success() {
        return Err(build_failed(dir, &format!("`{build}`"), status));
    }
    let artifact = dir.join(artifact);
    if !artifact.is_file() {
        let message = format!("`{build}` did not make {}", artifact.display());
        return Err(refusal(message, format!("correct `artifact` in {}", manifest.display())));
    }
    Ok(artifact)
}

fn build_by_cargo(dir: &Path) -> Result<PathBuf, FunctionError> {
    install_target(dir)?;
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"])
        .current_dir(dir)
        .stdout(Stdio::piped());
    for name in
        std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| is_of_outer_cargo(name))
    {
        cargo.env_remove(name);
    }
    // Names stay, for backtraces; line tables would be nine tenths of the file.
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "false").env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");
    if std::env::var_os(RUSTFLAGS).is_none() {
        cargo.env(RUSTFLAGS, "-Ctarget-feature=+simd128");
    }
    let mut running = cargo.spawn().map_err(|error| cannot_run("cargo", &error))?;
    let stdout = running.stdout.take().expect("stdout is piped");
    let found = artifact(BufReader::new(stdout).lines().map_while(Result::ok), dir);
    let status = running.wait().map_err(|error| cannot_run("cargo", &error))?;
    if !status.success() {
        return Err(build_failed(dir, "cargo", status));
    }
    found.ok_or_else(|| {
        refusal(
            format!("the build of {} made no component", dir.display()),
            "a plugin's Cargo.toml needs: [lib] crate-type = [\"cdylib\"]",
        )
    })
}

/// Finds the component of the package in `dir` in cargo's messages. Reads all of them, since cargo waits for that.
fn artifact(messages: impl Iterator<Item = String>, dir: &Path) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        reason: String,
        #[serde(default)]
        manifest_path: PathBuf,
        #[serde(default)]
        filenames: Vec<PathBuf>,
        target: Option<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        kind: Vec<String>,
    }
    let manifest = dir.join("Cargo.toml");
    let manifest = manifest.canonicalize().unwrap_or(manifest);
    let mut found = None;
    for message in messages.filter_map(|line| serde_json::from_str::<Message>(&line).ok()) {
        let is_ours = message.reason == "compiler-artifact"
            && message.target.is_some_and(|target| target.kind.iter().any(|kind| kind == "cdylib"))
            && message.manifest_path.canonicalize().unwrap_or(message.manifest_path) == manifest;
        if is_ours {
            found =
                message.filenames.into_iter().find(|file| file.extension().is_some_and(|end| end == "wasm")).or(found);
        }
    }
    found
}

/// Sees to it that rustc can compile for the target. Without rustup that is for whoever installed rustc.
fn install_target(dir: &Path) -> Result<(), FunctionError> {
    let rustup = |args: &[&str]| {
        let mut rustup = Command::new("rustup");
        // The toolchain is the directory's, not that of a cargo around this program.
        rustup.args(args).current_dir(dir).env_remove("RUSTUP_TOOLCHAIN").stderr(Stdio::inherit());
        rustup
    };
    let Ok(list) = rustup(&["target", "list", "--installed"]).output() else { return Ok(()) };
    if !list.status.success() || String::from_utf8_lossy(&list.stdout).lines().any(|target| target.trim() == TARGET) {
        return Ok(());
    }
    tracing::info!("installing the Rust target {TARGET}");
    let added = rustup(&["target", "add", TARGET]).stdout(Stdio::null()).status();
    if added.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(refusal(
        format!("Rust's target {TARGET} is not installed, and rustup could not install it"),
        format!("run `rustup target add {TARGET}`, then try again"),
    ))
}

/// Says whether a variable comes from a cargo that runs this program, or would hide the flags given here.
fn is_of_outer_cargo(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "CARGO",
        "CARGO_CRATE_NAME",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_MAKEFLAGS",
        "OUT_DIR",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
    ];
    const PREFIXES: [&str; 5] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CFG_", "CARGO_FEATURE_"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn cannot_run(program: &str, error: &std::io::Error) -> FunctionError {
    refusal(
        format!("{program} cannot be run: {error}"),
        match program {
            "cargo" => "install Rust (https://rustup.rs) to build plugins from source, or give a built .wasm component",
            _ => "give a built .wasm component instead of a project",
        },
    )
}

fn build_failed(dir: &Path, builder: &str, status: ExitStatus) -> FunctionError {
    let message = format!("the plugin in {} cannot be built: {builder} failed ({status})", dir.display());
    refusal(message, "its messages are above")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_as_it_is_and_nothing_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.wasm");
        std::fs::write(&file, "").unwrap();
        assert_eq!(resolve(&file), Ok(file));
        assert!(resolve(&dir.path().join("nothing")).unwrap_err().message.starts_with("there is no plugin at "));
        assert!(resolve(dir.path()).unwrap_err().message.ends_with(" is no plugin's project"));
    }

    #[test]
    fn a_project_in_another_language_is_built_by_its_command() {
        for (manifest, expected) in [
            ("build = \"echo built > x.wasm\"\nartifact = \"x.wasm\"", Ok("x.wasm")),
            ("build = \"true\"\nartifact = \"x.wasm\"", Err("`true` did not make ")),
            ("build = \"exit 3\"\nartifact = \"x.wasm\"", Err("the plugin in ")),
            ("build = \"true\"", Err("")),
            ("make = \"true\"", Err("")),
        ] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("plugin.toml"), manifest).unwrap();
            match (resolve(dir.path()), expected) {
                (Ok(path), Ok(name)) => assert_eq!(path, dir.path().join(name)),
                (Err(error), Err(start)) => assert!(error.message.starts_with(start), "{}", error.message),
                (found, _) => panic!("{manifest}: {found:?}"),
            }
        }
    }

    #[test]
    fn the_component_of_the_package_is_found_in_the_messages_of_cargo() {
        let artifact_of = |manifest: &str, kind: &str, file: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"{manifest}","target":{{"kind":["{kind}"]}},"filenames":["{file}"]}}"#
            )
        };
        let messages = [
            artifact_of("/other/Cargo.toml", "cdylib", "/t/other.wasm"),
            artifact_of("/p/Cargo.toml", "lib", "/t/p.rlib"),
            artifact_of("/p/Cargo.toml", "cdylib", "/t/p.wasm"),
            r#"{"reason":"build-script-executed","package_id":"x"}"#.to_owned(),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
            "no message".to_owned(),
        ];
        assert_eq!(artifact(messages.clone().into_iter(), Path::new("/p")), Some("/t/p.wasm".into()));
        assert_eq!(artifact(messages.into_iter(), Path::new("/q")), None);
    }

    #[test]
    fn what_an_outer_cargo_sets_is_kept_from_the_build() {
        for name in ["CARGO", "CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO_BIN_EXE_wxhost", "RUSTFLAGS"] {
            assert!(is_of_outer_cargo(name), "{name}");
        }
        for name in ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_NET_OFFLINE", "PATH", RUSTFLAGS] {
            assert!(!is_of_outer_cargo(name), "{name}");
        }
    }
}
