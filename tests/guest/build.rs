//! Link arguments of programs that start without a C library.

fn main() {
    // For another machine the linker itself is used, without a C compiler (tools/xtask/src/init/cross.rs).
    let is_lld = std::env::var("RUSTC_LINKER").is_ok_and(|linker| linker.contains("lld"));
    for argument in ["-nostartfiles", "-nostdlib", "-static", "-no-pie", "-Wl,--gc-sections", "-Wl,--build-id=none"] {
        match argument.strip_prefix("-Wl,") {
            Some(own) if is_lld => println!("cargo::rustc-link-arg-bins={own}"),
            None if is_lld && argument == "-nostartfiles" => {} // an option of compilers
            _ => println!("cargo::rustc-link-arg-bins={argument}"),
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
}
