//! The menus of boot loaders: an iPXE script, PXELINUX's and GRUB's.
//!
//! Each passes what it knows of the machine as words of the kernel's command line: `BOOTIF=`, or `whit.net.dev=`, selects the interface
//! that the machine booted from, and the workload gets `MAC` and `ASSET`, the asset tag of the chassis (SMBIOS type 3), in its
//! environment.

use super::{INITRAMFS, KERNEL};

/// The longest command line. x86 kernels take 2047 bytes; the rest is for the words of the boot loaders.
const MAX_WORDS: usize = 1536;

/// Checks that each boot loader passes the words on as they are.
///
/// # Errors
/// A character or a word with a meaning in a boot loader; too many bytes.
pub fn check(words: &str) -> Result<(), String> {
    if let Some(bad) = words.chars().find(|char| matches!(char, '\\' | '\'' | '$' | '`') || !matches!(char, ' '..='~'))
    {
        return Err(format!("{bad:?} has another meaning in a boot loader; put such an option into a run record"));
    }
    // iPXE ends a command at such a word (src/core/exec.c, split_command()).
    if let Some(bad) = words.split(' ').find(|word| matches!(*word, ";" | "&&" | "||") || word.starts_with('#')) {
        return Err(format!("the word {bad} has another meaning in iPXE; put such an option into a run record"));
    }
    // iPXE splits at white space, quotes or not, and joins with one space (src/core/exec.c, split_command(), concat_args()).
    let quoted = words.split('"').skip(1).step_by(2);
    if let Some(bad) = quoted.into_iter().find(|text| text.contains("  ")) {
        return Err(format!("\"{bad}\": iPXE passes one space of several; put such an option into a run record"));
    }
    if words.len() > MAX_WORDS {
        return Err(format!("{} bytes; at most {MAX_WORDS} fit beside the words of the boot loaders", words.len()));
    }
    Ok(())
}

/// The script for iPXE, which finds the files beside it: its own address may be of TFTP, HTTP or HTTPS.
pub(super) fn ipxe(words: &str) -> String {
    format!(
        "#!ipxe\n\
         kernel {KERNEL} initrd={INITRAMFS} BOOTIF=01-${{netX/mac:hexhyp}} whit.env=MAC=${{netX/mac}} \
         whit.env=ASSET=${{asset:uristring}}{}\n\
         initrd {INITRAMFS}\n\
         boot\n",
        more(words)
    )
}

/// The menu of PXELINUX, which knows no asset tag of the chassis. It adds `BOOTIF=` and the board's `MBASSET=`
/// (doc/syslinux.txt, SYSAPPEND: 2 and 0x4000), after all other words (core/elflink's execute()): after `--` these would be arguments
/// of the workload, so it adds none then. A line INITRD would add `initrd=` at the end, too.
pub(super) fn pxelinux(words: &str) -> String {
    let has_arguments = split(words).iter().any(|word| word == "--");
    format!(
        "DEFAULT whit\n\
         LABEL whit\n  \
         KERNEL {KERNEL}\n  \
         APPEND initrd={INITRAMFS}{}\n{}",
        more(words),
        if has_arguments { "" } else { "  SYSAPPEND 0x4002\n" }
    )
}

/// The menu of GRUB, whose files are in the root of the server. GRUB quotes words with spaces by itself.
pub(super) fn grub(words: &str) -> String {
    let quoted: String = split(words).iter().map(|word| format!(" '{word}'")).collect();
    format!(
        "set timeout=0\n\
         set asset=\n\
         smbios --type 3 --get-string 8 --set asset\n\
         menuentry whit {{\n  \
         linux /{KERNEL} whit.net.dev=$net_default_mac whit.env=MAC=$net_default_mac \"whit.env=ASSET=$asset\"{quoted}\n  \
         initrd /{INITRAMFS}\n\
         }}\n"
    )
}

fn more(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(" {words}") }
}

/// Splits words as the kernel does (lib/cmdline.c, `next_arg()`), without their quotes.
fn split(words: &str) -> Vec<String> {
    let (mut found, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
    for char in words.chars().chain([' ']) {
        match char {
            '"' => is_quoted = !is_quoted,
            ' ' if !is_quoted => found.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            other => word.push(other),
        }
    }
    found.extend(Some(word).filter(|word| !word.is_empty()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_a_meaning_in_a_boot_loader_are_refused() {
        assert_eq!(check("console=ttyS0 entrypoint=\"a b\" -- --size=1,2"), Ok(()));
        assert_eq!(check("a=1  b=\"c d\"  \"e\""), Ok(()));
        for bad in
            ["a=$b", "a='b'", "a\\b", "a\nb", "a=\u{e4}", "a && b", "a ; b", "#a", "a=\"b  c\"", &"a".repeat(1537)]
        {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn words_are_split_as_the_kernel_splits_them() {
        assert_eq!(split("  a=1 b=\"c  d\" \"e f\" -- g"), ["a=1", "b=c  d", "e f", "--", "g"]);
        assert_eq!(split(""), [""; 0]);
    }

    /// PXELINUX's own words would be arguments of the workload.
    #[test]
    fn pxelinux_adds_no_words_after_the_end_of_the_options() {
        for (words, is_there) in [
            ("", true),
            ("a=1", true),
            ("a=\"b -- c\"", true),
            ("a -- b", false),
            ("a --", false),
            ("a \"--\" b", false),
        ] {
            let menu = pxelinux(words);
            assert_eq!(menu.contains("SYSAPPEND"), is_there, "{menu}");
            assert!(menu.contains(&format!("  APPEND initrd={INITRAMFS}{}\n", more(words))), "{menu}");
        }
    }

    #[test]
    fn each_menu_names_the_files_and_the_words() {
        for (menu, words) in
            [(ipxe("a=\"b c\""), "a=\"b c\""), (pxelinux("a=1"), "a=1"), (grub("a=\"b c\""), "'a=b c'")]
        {
            assert!(menu.contains(KERNEL) && menu.contains(INITRAMFS) && menu.contains(words), "{menu}");
        }
    }
}
