//! A folder with a flow and its files.

use super::{Done, Wxhost, temp_dir, wxhost};
use std::path::PathBuf;

/// A temporary folder with a `flow.toml`.
pub struct Case {
    pub dir: tempfile::TempDir,
}

impl Case {
    /// Makes a folder with a flow.
    pub fn new(flow: &str) -> Case {
        let case = Case { dir: temp_dir() };
        case.write("flow.toml", flow);
        case
    }

    /// The path of one of its files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Reads a file.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs the flow to its end.
    pub fn run(&self, arguments: &str) -> Done {
        self.wxhost(arguments).run()
    }

    /// A call that runs the flow.
    pub fn wxhost(&self, arguments: &str) -> Wxhost {
        let flow = "run flow.toml --no-progress --summary=never";
        wxhost(flow).args(arguments).dir(self.dir.path())
    }
}
