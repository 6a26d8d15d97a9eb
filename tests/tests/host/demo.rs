//! The demo's refusals.

use std::process::Command;

use whit_tests::tool;

#[test]
fn what_is_not_an_image_is_one_line() {
    let nowhere = "/nowhere/image.tar";
    let demo = Command::new(tool("demo")).args(["--image", nowhere]).output().unwrap();
    let said = String::from_utf8_lossy(&demo.stderr);
    assert_eq!(said, format!("demo: {nowhere}: No such file or directory (os error 2)\n"));
    assert_eq!(demo.status.code(), Some(1));
}
