//! `wxhost plugin test-sink`.

use crate::support::{plugins, wxhost};

#[test]
fn a_sink_is_killed_everywhere_and_its_rows_are_counted() {
    let ledger = plugins::folder().join("ledger.wasm");
    let done = wxhost("plugin test-sink").arg(&ledger).arg("careful").run().expect(0);
    assert!(done.stdout.ends_with("runs, each row once after every crash\n"), "{}", done.describe());
    let check =
        wxhost("plugin test-sink").arg(&ledger).arg("careful").arg("--check").arg("cat {dir}/*").run().expect(0);
    assert!(check.stdout.ends_with("runs, each row once after every crash\n"), "{}", check.describe());
    let done = wxhost("plugin test-sink").arg(&ledger).arg("careless").run().expect(1);
    assert!(done.stdout.contains("ledger-0.txt has"), "{}", done.describe());
    let done = wxhost("plugin test-sink").arg(&ledger).args("careful --schema value").run().expect(2);
    assert!(done.stderr.contains("\"value\" is no column"), "{}", done.describe());
    let kinds = plugins::folder().join("kinds.wasm");
    let done = wxhost("plugin test-sink").arg(&kinds).arg("notes").run().expect(2);
    assert!(done.stderr.contains("not two-phase"), "{}", done.describe());
}
