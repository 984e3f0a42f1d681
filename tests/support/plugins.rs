//! The plugins of the repository, built from source once for all tests of a run.

use super::{entries, root, wxhost};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A folder that has each plugin as `NAME.wasm`: those of `plugins/` and of `tests/plugins/`. Flows find it as
/// `${env:PLUGINS}`.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins");
        std::fs::create_dir_all(&folder).unwrap();
        for home in ["plugins", "tests/plugins"] {
            for project in entries(&root().join(home)).into_iter().filter(|path| path.join("Cargo.toml").is_file()) {
                let built = wxhost("build").arg(&project).run().expect(0);
                let name = project.file_name().unwrap().to_str().unwrap().to_owned() + ".wasm";
                // Another process of tests may read the one that is there: it gets the old or the new one whole.
                let new = folder.join(format!("{name}.{}", std::process::id()));
                std::fs::copy(built.stdout.trim_end(), &new).unwrap();
                std::fs::rename(new, folder.join(name)).unwrap();
            }
        }
        folder
    })
}

/// The component of `tests/bench/plugin`.
pub fn bench() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| {
        let built = wxhost("build").arg(root().join("tests/bench/plugin")).run().expect(0);
        built.stdout.trim_end().to_owned()
    })
}
