//! `wxhost new`: what it refuses to do. What it makes is tested with projects outside of this workspace.

use crate::support::{temp_dir, wxhost};

#[test]
fn nothing_is_written_over_what_is_there() {
    let dir = temp_dir();
    std::fs::create_dir(dir.path().join("mine")).unwrap();
    std::fs::write(dir.path().join("mine/notes.txt"), "").unwrap();
    let done = wxhost("new mine").dir(dir.path()).run().expect(2);
    assert!(done.stderr.contains("mine is there already"), "{}", done.stderr);
    assert_eq!(crate::support::files_below(dir.path()), ["mine/notes.txt"]);
    wxhost("new 2things").dir(dir.path()).run().expect(2);
    wxhost("new things --dir mine/notes.txt").dir(dir.path()).run().expect(74);
    wxhost("new things --sdk nowhere").dir(dir.path()).run().expect(74);
}
