//! `lre demo`: the main job, with nothing installed.
use lre_e2e::serve::{Home, said};

#[test]
fn the_demo_ends_well_and_says_so() {
    let home = Home::new().unwrap();
    let output = home.lre(&["demo"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let table = String::from_utf8(output.stdout.clone()).unwrap();
    for row in ["cold", "warm", "second"] {
        assert!(table.contains(row), "the table has a row `{row}`:\n{}", said(&output));
    }
    let left: Vec<_> = std::fs::read_dir(home.work()).unwrap().collect();
    assert!(left.is_empty(), "it leaves nothing where it was called: {left:?}");
}
