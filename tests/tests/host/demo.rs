//! The demo's errors.

use std::process::Command;

use whit_tests::tool;

#[test]
fn a_missing_image_is_one_line() {
    let nowhere = "/nowhere/image.tar";
    let demo = Command::new(tool("demo")).args(["--image", nowhere]).output().unwrap();
    let errors = String::from_utf8_lossy(&demo.stderr);
    assert_eq!(errors, format!("demo: {nowhere}: No such file or directory (os error 2)\n"));
    assert_eq!(demo.status.code(), Some(1));
}
