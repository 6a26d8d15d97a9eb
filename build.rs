//! Linker arguments of the init, each with its reason.

fn main() {
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let script = format!("-T{root}/linker/whit.ld");
    for argument in [
        "-nostartfiles",               // `_start` is ours, in src/pid1/sys/
        "-nostdlib",                   // no libc, no libgcc
        "-static",                     // there is no dynamic loader in the initramfs
        "-no-pie",                     // fixed addresses: no relocations to apply before the first Rust code
        "-Wl,--gc-sections",           // drops unused functions
        "-Wl,--icf=all",               // merges functions of the same bytes
        "-Wl,-O2",                     // merges a string with one that ends in it
        "-Wl,--build-id=none",         // the same source gives the same bytes
        "-Wl,-z,nognustack",           // the linker script sets the permissions of the stack
        "-Wl,-z,max-page-size=0x1000", // segments follow each other at 4 KiB, not at 2 MiB
        &script,
    ] {
        println!("cargo::rustc-link-arg-bin=whit={argument}");
    }
    println!("cargo::rerun-if-changed=linker/whit.ld");
    println!("cargo::rerun-if-changed=build.rs");
}
