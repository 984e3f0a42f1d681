//! The sources of the guest SDK, carried along so that a new project needs nothing but this program and cargo.

/// The file that says which versions the SDK's manifests mean.
const WORKSPACE: &str = include_str!("../../../../Cargo.toml");

macro_rules! files {
    ($root:literal: $($path:literal)*) => {
        &[$(($path, include_str!(concat!("../../../../", $root, "/", $path)))),*]
    };
}

/// Path below `guest-sdk` and text. A test compares the list with the folder.
const SOURCES: &[(&str, &str)] = files! { "guest-sdk":
    "Cargo.toml"
    "README.md"
    "macros/Cargo.toml"
    "macros/src/attributes.rs"
    "macros/src/config.rs"
    "macros/src/function.rs"
    "macros/src/lib.rs"
    "macros/src/lifetimes.rs"
    "macros/src/reduce.rs"
    "macros/src/row.rs"
    "macros/src/state.rs"
    "macros/src/stateful.rs"
    "src/bindings.rs"
    "src/columns.rs"
    "src/config.rs"
    "src/error.rs"
    "src/exports.rs"
    "src/fold.rs"
    "src/function.rs"
    "src/host.rs"
    "src/json.rs"
    "src/lib.rs"
    "src/read/mod.rs"
    "src/read/rows.rs"
    "src/read/values.rs"
    "src/schema.rs"
    "src/sink.rs"
    "src/source.rs"
    "src/state.rs"
    "src/stateful.rs"
    "src/testing/folds.rs"
    "src/testing/functions.rs"
    "src/testing/mod.rs"
    "src/testing/recorder.rs"
    "src/testing/rows.rs"
    "src/testing/sinks.rs"
    "src/testing/sources.rs"
    "src/testing/stateful.rs"
    "src/testing/transforms.rs"
    "src/testing/windows.rs"
    "src/time.rs"
    "src/transform.rs"
    "src/write/mod.rs"
    "src/write/values.rs"
};

/// Path below `wit` and text.
const WIT: &[(&str, &str)] = files! { "wit":
    "fold.wit"
    "functions.wit"
    "host.wit"
    "sink.wit"
    "source.wit"
    "stateful.wit"
    "transform.wit"
    "types.wit"
    "world.wit"
};

/// Returns the SDK as files: path below the project's `.wxhost`, text.
pub fn files() -> Vec<(String, String)> {
    let mut files = vec![("Cargo.toml".to_owned(), workspace())];
    for (path, text) in SOURCES {
        let text = if path.ends_with("Cargo.toml") { without_dev_dependencies(text) } else { (*text).to_owned() };
        files.push((format!("guest-sdk/{path}"), text));
    }
    files.extend(WIT.iter().map(|(path, text)| (format!("guest-sdk/wit/{path}"), (*text).to_owned())));
    files
}

/// The manifest of a workspace that has the SDK only.
fn workspace() -> String {
    let start = WORKSPACE.find("[workspace.package]").expect("the workspace says what its packages share");
    let end = WORKSPACE.find("[profile").unwrap_or(WORKSPACE.len());
    let members = "[workspace]\nresolver = \"3\"\nmembers = [\"guest-sdk\", \"guest-sdk/macros\"]\n\n";
    format!("{members}{}", &WORKSPACE[start..end])
}

/// Takes out what only the SDK's own tests need, which is not carried along.
fn without_dev_dependencies(manifest: &str) -> String {
    let mut is_out = false;
    let kept = manifest.lines().filter(|line| {
        if line.starts_with('[') {
            is_out = line.starts_with("[dev-dependencies") || line.starts_with("[[");
        }
        !is_out
    });
    kept.flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn every_file_of_the_sdk_is_carried_along() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (folder, carried) in [("guest-sdk", SOURCES), ("wit", WIT)] {
            let carried: BTreeSet<String> = carried.iter().map(|(path, _)| (*path).to_owned()).collect();
            let mut there = BTreeSet::new();
            list(&root.join(folder), "", &mut there);
            assert_eq!(carried, there);
        }
    }

    fn list(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let relative = format!("{prefix}{name}");
            // The SDK's `wit` is the one of the workspace; its tests stay at home.
            if path.is_symlink() || relative == "tests" || relative == "target" || relative == "examples" {
                continue;
            }
            if path.is_dir() {
                list(&path, &format!("{relative}/"), found);
            } else if [".rs", ".toml", ".wit", ".md"].iter().any(|ending| name.ends_with(ending)) {
                found.insert(relative);
            }
        }
    }

    #[test]
    fn what_only_the_tests_of_the_sdk_need_is_left_out() {
        let manifest =
            "[package]\nname = \"a\"\n[dev-dependencies]\nb = \"1\"\n[[test]]\nname = \"t\"\n[lints]\nc = 1\n";
        assert_eq!(without_dev_dependencies(manifest), "[package]\nname = \"a\"\n[lints]\nc = 1\n");
    }
}
