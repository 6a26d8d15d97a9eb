//! Linker arguments of the init, each with its reason.

fn main() {
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let script = format!("-T{root}/linker/whit.ld");
    // Largest page of the machine: an arm64 kernel with 16 or 64 KiB pages refuses segments that are closer (fs/binfmt_elf.c, EINVAL).
    let page = match std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("aarch64") => "-Wl,-z,max-page-size=0x10000",
        _ => "-Wl,-z,max-page-size=0x1000",
    };
    // For another machine tools/xtask/src/init/cross.rs passes lld itself, which needs no C compiler for that machine.
    let linker = std::env::var("RUSTC_LINKER").unwrap_or_default();
    let is_lld = linker.contains("lld");
    for argument in [
        "-nostartfiles",       // `_start` is ours, in src/pid1/sys/
        "-nostdlib",           // no libc, no libgcc
        "-static",             // there is no dynamic loader in the initramfs
        "-no-pie",             // fixed addresses: no relocations to apply before the first Rust code
        "-Wl,--gc-sections",   // drops unused functions
        "-Wl,--icf=all",       // merges functions of the same bytes
        "-Wl,-O2",             // merges a string with one that ends in it
        "-Wl,--build-id=none", // the same source gives the same bytes
        "-Wl,-z,nognustack",   // the linker script sets the permissions of the stack
        page,                  // segments follow each other at one page, not at 2 MiB
        &script,
    ] {
        match argument.strip_prefix("-Wl,").filter(|_| is_lld) {
            Some(list) => list.split(',').for_each(pass),
            None if is_lld && argument == "-nostartfiles" => {} // an option of compilers
            None => pass(argument),
        }
    }
    // Functions and constants with common bytes lie together: the initramfs is compressed. Debian's ld.lld may be older than this option.
    match linker.rsplit('/').next() {
        Some(name) if name.starts_with("ld.lld") => {}
        _ if is_lld => pass("--bp-compression-sort=both"),
        _ => pass("-Wl,--bp-compression-sort=both"),
    }
    println!("cargo::rerun-if-changed=linker/whit.ld");
    println!("cargo::rerun-if-changed=build.rs");
}

fn pass(argument: &str) {
    println!("cargo::rustc-link-arg-bin=whit={argument}");
}
