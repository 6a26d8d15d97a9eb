//! `caps=`: the capabilities that a workload may have (capabilities(7)), by the names of docker's `--cap-add` and `--cap-drop`.

use crate::text::split;

/// The names in the order of their numbers, from 0, without `CAP_` (include/uapi/linux/capability.h).
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// docker's default set (moby, daemon/pkg/oci/caps/defaults.go): bit N is the capability of number N.
const DEFAULT: u64 = set_of(&[
    "chown",
    "dac_override",
    "fsetid",
    "fowner",
    "mknod",
    "net_raw",
    "setgid",
    "setuid",
    "setfcap",
    "setpcap",
    "net_bind_service",
    "sys_chroot",
    "kill",
    "audit_write",
]);

/// The names of sets, in the order of [`set_named`].
const SETS: [&str; 3] = ["default", "all", "none"];

/// The hashes of all names: a third of the bytes of the names. An unknown name has one of them with a probability of 1 in 10^8.
const HASHES: [u32; NAMES.len() + SETS.len()] = {
    let mut hashes = [0; _];
    let mut place = 0;
    while place < hashes.len() {
        let name = if place < NAMES.len() { NAMES[place] } else { SETS[place - NAMES.len()] };
        hashes[place] = hash(name.as_bytes());
        place += 1;
    }
    hashes
};

/// Parses a list of names, separated by commas, in either case, with or without `CAP_`. Each name is added to the set, or removed
/// from it after a `-`. The set is empty at first; bit N is the capability of number N. `all` has all 64 bits. Returns `None` if
/// a name is unknown or empty.
pub fn parse(text: &[u8]) -> Option<u64> {
    let mut set = 0;
    for part in split(text, b',') {
        let (mut name, mut sign) = (0, 0);
        for byte in part {
            match byte {
                b'+' | b'-' if name == 0 && sign == 0 => sign = *byte,
                byte => name = hash_further(name, *byte),
            }
        }
        let bits = set_named(name)?;
        set |= bits;
        if sign == b'-' {
            set ^= bits;
        }
    }
    Some(set)
}

/// Returns the set whose name has this hash.
fn set_named(name: u32) -> Option<u64> {
    let place = HASHES.iter().position(|hash| *hash == name)?;
    Some(match place.checked_sub(NAMES.len()) {
        None => 1u64.wrapping_shl(place as u32),
        Some(0) => DEFAULT,
        Some(1) => u64::MAX,
        Some(_) => 0,
    })
}

/// Returns the hash of a name.
const fn hash(name: &[u8]) -> u32 {
    let (mut hash, mut place) = (0, 0);
    while place < name.len() {
        hash = hash_further(hash, name[place]);
        place += 1;
    }
    hash
}

/// Returns the hash of a name extended by a byte, in lower case. A leading `cap_` is dropped.
const fn hash_further(hash: u32, byte: u8) -> u32 {
    const BASE: u32 = 101;
    const PREFIX: u32 = ((b'c' as u32 * BASE + b'a' as u32) * BASE + b'p' as u32) * BASE + (b'_' | 0x20) as u32;
    match hash.wrapping_mul(BASE).wrapping_add((byte | 0x20) as u32) {
        PREFIX => 0,
        hash => hash,
    }
}

/// Returns the set of these capabilities.
const fn set_of(names: &[&str]) -> u64 {
    let (mut set, mut place) = (0, 0);
    while place < NAMES.len() {
        let mut wanted = 0;
        while wanted < names.len() {
            if hash(names[wanted].as_bytes()) == hash(NAMES[place].as_bytes()) {
                set |= 1 << place;
            }
            wanted += 1;
        }
        place += 1;
    }
    set
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use linux_raw_sys::general::*;
    use std::format;
    use std::string::{String, ToString};
    use std::vec::Vec;

    /// The constants of linux/capability.h with their names.
    macro_rules! of_the_kernel {
        ($($name:ident)*) => { [$((stringify!($name), $name)),*] };
    }

    const KERNELS: [(&str, u32); 41] = of_the_kernel! {
        CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP
        CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER
        CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE
        CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP
        CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF
        CAP_CHECKPOINT_RESTORE
    };

    fn set(text: &str) -> Option<u64> {
        parse(text.as_bytes())
    }

    #[test]
    fn each_name_of_the_kernel_gives_its_bit() {
        assert_eq!(NAMES.len(), CAP_LAST_CAP as usize + 1);
        for (name, number) in KERNELS {
            let short = name.strip_prefix("CAP_").unwrap();
            let mixed = short.to_lowercase().replacen('e', "E", 1);
            for text in [
                name,
                short,
                &name.to_lowercase(),
                &short.to_lowercase(),
                &format!("Cap_{mixed}"),
                &format!("+{short}"),
            ] {
                assert_eq!(set(text), Some(1 << number), "{text}");
            }
        }
    }

    #[test]
    fn named_sets_are_parsed() {
        // CapBnd of a docker container without options.
        assert_eq!(set("default"), Some(0xa804_25fb));
        assert_eq!((set("none"), set("all"), set("ALL")), (Some(0), Some(u64::MAX), Some(u64::MAX)));
    }

    #[test]
    fn names_are_added_and_removed_in_order() {
        let (admin, mknod) = (1 << CAP_NET_ADMIN, 1 << CAP_MKNOD);
        for (text, expected) in [
            ("NET_ADMIN,MKNOD", admin | mknod),
            ("default,+NET_ADMIN,-MKNOD", (DEFAULT | admin) & !mknod),
            ("DEFAULT,net_admin,-cap_mknod", (DEFAULT | admin) & !mknod),
            ("all,-all,mknod", mknod),
            ("mknod,mknod,-net_admin", mknod),
            ("mknod,-mknod,mknod", mknod),
            ("-mknod", 0),
            ("all,-none", u64::MAX),
            ("mknod,none", mknod),
        ] {
            assert_eq!(set(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn unknown_names_are_refused() {
        for text in [
            "",
            ",",
            "mknod,",
            ",mknod",
            "mknod,,chown",
            "+",
            "-",
            "cap_",
            "CAP",
            "net-admin",
            "net_admin ",
            " net_admin",
            "net_admin mknod",
            "net_admin;mknod",
            "netadmin",
            "21",
            "0x1",
            "cap_sys",
            "mknod-",
            "mknod+chown",
            "ch-own",
            "nobody",
            "-+mknod",
            "+-mknod",
            "-cap_+mknod",
            "SYS_ADMIN\0",
            "\u{fe}",
        ] {
            assert_eq!(set(text), None, "{text:?}");
        }
    }

    /// No text within one edit of a name, and none of up to three bytes, has the hash of a name.
    #[test]
    fn no_other_text_has_the_hash_of_a_name() {
        const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz_0123456789 ./";
        let names: Vec<String> = NAMES.iter().chain(&SETS).map(ToString::to_string).collect();
        let check = |text: &[u8]| {
            if let Some(set) = parse(text) {
                let text = core::str::from_utf8(text).unwrap();
                let short = text.strip_prefix("cap_").unwrap_or(text);
                assert!(names.iter().any(|name| name == short), "{text:?} is {set:#x}");
            }
        };
        for name in names.iter().map(|name| name.as_bytes()) {
            for place in 0..name.len() {
                check(&name[..place]);
                check(&[&name[..place], &name[place + 1..]].concat());
                for letter in LETTERS {
                    check(&[&name[..place], &[*letter], &name[place + 1..]].concat());
                    check(&[&name[..place], &[*letter], &name[place..]].concat());
                }
            }
        }
        let mut short = Vec::from([Vec::new()]);
        for _ in 0..3 {
            short = short
                .iter()
                .flat_map(|text| LETTERS.iter().map(move |letter| [&text[..], &[*letter]].concat()))
                .collect();
            short.iter().for_each(|text| check(text));
        }
    }
}
