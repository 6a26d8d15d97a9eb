//! The README's first command: from nothing to a page served by a machine made of an image.

fn main() {}
