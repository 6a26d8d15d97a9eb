//! Link arguments for the init alone, one reason each.

fn main() {
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let script = format!("-T{root}/linker/whit.ld");
    for argument in [
        "-nostartfiles",               // `_start` is ours, in src/pid1/sys/
        "-nostdlib",                   // no libc, no libgcc
        "-static",                     // there is no dynamic loader in the initramfs
        "-no-pie",                     // fixed addresses: no relocations to apply before the first line of Rust
        "-Wl,--gc-sections",           // what nothing calls is not there
        "-Wl,--icf=all",               // functions that are the same bytes are one
        "-Wl,-O2",                     // a string that ends another is not there twice
        "-Wl,--build-id=none",         // the same source gives the same bytes
        "-Wl,-z,nognustack",           // the stack's permissions are the linker script's business
        "-Wl,-z,max-page-size=0x1000", // segments follow each other at 4 KiB, not at 2 MiB
        &script,
    ] {
        println!("cargo::rustc-link-arg-bin=whit={argument}");
    }
    println!("cargo::rerun-if-changed=linker/whit.ld");
    println!("cargo::rerun-if-changed=build.rs");
}
