//! Builds the init and says where each of its bytes went.

fn main() {}
