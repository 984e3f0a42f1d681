//! Projects outside of this workspace: what a new one says of itself is true, and the SDK works as a package.

use crate::support::{entries, root, temp_dir, wxhost};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where all of them are built, so that what they depend on is compiled once.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("new")
}

/// Takes the versions that are here already; a user's cargo would choose the newest.
fn take_versions(project: &Path) {
    std::fs::copy(root().join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
}

#[test]
fn all_that_a_new_project_says_of_itself_works() {
    let dir = temp_dir();
    wxhost("new my-steps").dir(dir.path()).run().expect(0);
    let project = dir.path().join("my-steps");
    take_versions(&project);
    let readme = std::fs::read_to_string(project.join("README.md")).unwrap();
    let commands = readme.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let mut called = Vec::new();
    for command in commands.lines().map(|line| line.split('#').next().unwrap().trim()) {
        let (program, arguments) = command.split_once(' ').unwrap();
        let stdout = match program {
            "wxhost" => wxhost(arguments).dir(&project).env("CARGO_TARGET_DIR", target()).run().expect(0).stdout,
            _ => cargo(arguments, &project),
        };
        let mut lines: Vec<&str> = stdout.lines().collect();
        lines.sort();
        match command {
            "wxhost run flow.toml" => assert_eq!(
                lines,
                [r#"{"sensor":"cellar","mean":54.05,"rows":2}"#, r#"{"sensor":"roof","mean":72.5,"rows":3}"#]
            ),
            "wxhost test flow.toml" => assert!(stdout.ends_with("1 passed, 0 failed\n"), "{stdout}"),
            "wxhost check flow.toml" => {
                assert!(stdout.starts_with("flow \"my-steps\"") && stdout.contains("celsius: float64"), "{stdout}");
            }
            "cargo test" => assert!(stdout.contains("test result: ok. 1 passed"), "{stdout}"),
            "wxhost plugin list ." => {
                let names: Vec<&str> = lines.iter().filter_map(|line| line.split_whitespace().next()).collect();
                assert_eq!(names, ["my-steps.Average", "my-steps.to_fahrenheit"]);
            }
            other => panic!("the README has the command {other}, of which this test knows nothing"),
        }
        called.push(command);
    }
    assert_eq!(called.len(), 5, "{called:?}");
}

/// The plugin of somebody who has the SDK from a registry.
const PLUGIN: &str = r#"
use wxhost_guest::prelude::*;

/// Says a word twice.
#[map]
fn twice(word: &str) -> String {
    word.repeat(2)
}

plugin!(twice);
"#;

#[test]
fn the_sdk_works_as_a_package() {
    let packed = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packed");
    let package = format!(
        "package -p wxhost-guest-macros -p wxhost-guest --allow-dirty --no-verify --target-dir {}",
        packed.display()
    );
    cargo(&package, &root());
    let dir = temp_dir();
    for name in ["wxhost-guest", "wxhost-guest-macros"] {
        let file = packed.join("package").join(format!("{name}-{}.crate", env!("CARGO_PKG_VERSION")));
        let done = Command::new("tar").arg("xzf").arg(&file).arg("-C").arg(dir.path()).status().unwrap();
        assert!(done.success(), "{}", file.display());
    }
    let unpacked = |name: &str| dir.path().join(format!("{name}-{}", env!("CARGO_PKG_VERSION")));
    // The contract travels with it, though its folder is a link here.
    let contract = |folder: &Path| -> Vec<_> {
        let read = |path: PathBuf| (path.file_name().unwrap().to_owned(), std::fs::read_to_string(&path).unwrap());
        entries(folder).into_iter().map(read).collect()
    };
    assert_eq!(contract(&unpacked("wxhost-guest").join("wit")), contract(&root().join("wit")));

    let project = dir.path().join("words");
    std::fs::create_dir_all(project.join("src")).unwrap();
    std::fs::write(project.join("src/lib.rs"), PLUGIN).unwrap();
    let manifest = format!(
        "[package]\nname = \"words\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
         [lib]\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\nwxhost-guest = \"{}\"\n\n\
         [patch.crates-io]\nwxhost-guest = {{ path = {:?} }}\nwxhost-guest-macros = {{ path = {:?} }}\n\n\
         [workspace]\n",
        env!("CARGO_PKG_VERSION"),
        unpacked("wxhost-guest"),
        unpacked("wxhost-guest-macros"),
    );
    std::fs::write(project.join("Cargo.toml"), manifest).unwrap();
    take_versions(&project);
    let done = wxhost("plugin inspect").arg(&project).env("CARGO_TARGET_DIR", target()).run().expect(0);
    assert!(done.stdout.contains("\nfunction words.twice (map)\n    Says a word twice.\n"), "{}", done.stdout);
}

/// Calls cargo in a folder, and returns what it wrote to stdout.
fn cargo(arguments: &str, dir: &Path) -> String {
    let mut cargo = Command::new("cargo");
    cargo.args(arguments.split_whitespace()).current_dir(dir).env("CARGO_TARGET_DIR", target());
    let done = cargo.output().unwrap();
    assert!(done.status.success(), "cargo {arguments}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}
