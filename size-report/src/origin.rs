//! Finds the crate and module of a symbol's source from its mangled name.
//!
//! Rust's v0 scheme (RFC 2603) is exact: an `impl` has the path of the module around it. The legacy scheme has only a readable
//! path; for `<A as B>::f` the crate is that of `A`, unless `A` is one of core's types. Generic functions belong to the crate of
//! their source, not to the one that instantiates them.

use std::fmt;

use crate::v0;

/// The place of a symbol's source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    /// The crate, `UNMANGLED` for names without one.
    pub(crate) krate: String,
    /// The modules inside it, joined by `::`; empty for the crate's root.
    pub(crate) module: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { krate, module } = self;
        if module.is_empty() { write!(f, "{krate}") } else { write!(f, "{krate}::{module}") }
    }
}

/// The crate of `memcpy` and `_start`: names that are not mangled (`no_mangle`).
pub(crate) const UNMANGLED: &str = "no_mangle";

/// Crates whose types other crates implement their traits for.
const STANDARD_CRATES: [&str; 3] = ["core", "alloc", "std"];

/// Returns the readable name of a symbol without its hash, and the place of its source.
pub(crate) fn of(mangled: &str) -> (String, Origin) {
    let Ok(demangled) = rustc_demangle::try_demangle(mangled) else {
        return (mangled.to_owned(), Origin { krate: UNMANGLED.into(), module: String::new() });
    };
    let name = format!("{demangled:#}");
    let exact = mangled.strip_prefix("_R").and_then(|rest| v0::origin(rest.as_bytes()));
    // `Y` is a trait's default method for some type: its source is the trait's.
    let origin = exact.unwrap_or_else(|| readable(&name, mangled.starts_with("_RNvY")));
    (name, origin)
}

/// Guesses the origin from a demangled name, as the legacy scheme requires.
fn readable(name: &str, of_its_trait: bool) -> Origin {
    if let Some(inside) = name.strip_prefix('<') {
        let inside = split_top(inside, ">").0;
        let (own_type, of_trait) = split_top(inside, " as ");
        let own = path(bare(own_type));
        let ours = !of_its_trait && !own.krate.is_empty() && !STANDARD_CRATES.contains(&own.krate.as_str());
        return match of_trait {
            Some(of_trait) if !ours => path(bare(of_trait)),
            _ if own.krate.is_empty() => Origin { krate: "core".into(), module: String::new() },
            _ => own,
        };
    }
    path(name)
}

/// Strips references, pointers and brackets around the path of a type.
fn bare(text: &str) -> &str {
    let mut text = text;
    loop {
        let before = text;
        for prefix in ["&", "*const ", "*mut ", "mut ", "dyn ", "["] {
            text = text.strip_prefix(prefix).unwrap_or(text);
        }
        if text == before {
            return text;
        }
    }
}

/// Parses the crate and modules of `krate::module::Type::function`. A primitive type has no crate.
fn path(text: &str) -> Origin {
    let mut parts = Vec::new();
    let mut rest = Some(text);
    while let Some(text) = rest {
        let (part, after) = split_top(text, "::");
        parts.push(part);
        rest = after;
    }
    while parts.last() == Some(&"{{closure}}") {
        parts.pop();
    }
    parts.pop(); // the function, or the type
    let is_module = |part: &&str| {
        part.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let mut modules = parts.into_iter().take_while(is_module);
    let krate = modules.next().unwrap_or_default().to_owned();
    Origin { krate, module: modules.collect::<Vec<_>>().join("::") }
}

/// Splits at the first `separator` that no bracket encloses.
fn split_top<'a>(text: &'a str, separator: &str) -> (&'a str, Option<&'a str>) {
    let mut depth = 0i32;
    for (index, byte) in text.bytes().enumerate() {
        if depth == 0 && text.as_bytes()[index..].starts_with(separator.as_bytes()) {
            return (&text[..index], Some(&text[index + separator.len()..]));
        }
        match byte {
            b'<' | b'(' | b'[' => depth += 1,
            b'>' if index > 0 && text.as_bytes()[index - 1] == b'-' => {} // the arrow of `fn() -> T`
            b'>' | b')' | b']' => depth -= 1,
            _ => {}
        }
    }
    (text, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(mangled: &str) -> (String, String) {
        let (name, origin) = of(mangled);
        (name, format!("{}|{}", origin.krate, origin.module))
    }

    fn expect(mangled: &str, name: &str, place: &str) {
        assert_eq!(origin(mangled), (name.to_owned(), place.to_owned()));
    }

    #[test]
    fn unmangled_names_have_no_crate() {
        expect("memcpy", "memcpy", "no_mangle|");
        expect("_start", "_start", "no_mangle|");
    }

    // The names below are of rustc 1.95: from nm of the init and of a std program.
    #[test]
    fn legacy_paths_end_before_types() {
        expect("_ZN4whit3sys5entry17hdbc2d704cd7fe591E", "whit::sys::entry", "whit|sys");
        expect("_ZN4whit4main17hf3828d5be280a9e5E", "whit::main", "whit|");
        expect(
            "_ZN4whit4dhcp6client6Client4step17hf3828d5be280a9e5E",
            "whit::dhcp::client::Client::step",
            "whit|dhcp::client",
        );
        expect(
            "_ZN4whit7network3run28_$u7b$$u7b$closure$u7d$$u7d$17hf3828d5be280a9e5E",
            "whit::network::run::{{closure}}",
            "whit|network",
        );
    }

    #[test]
    fn legacy_impls_belong_to_the_type_unless_it_is_of_core() {
        expect(
            "_ZN65_$LT$alloc..vec..Vec$LT$T$C$A$GT$$u20$as$u20$core..fmt..Debug$GT$3fmt17hb5983d1b850f2c82E",
            "<alloc::vec::Vec<T,A> as core::fmt::Debug>::fmt",
            "core|fmt",
        );
        expect(
            "_ZN42_$LT$$RF$T$u20$as$u20$core..fmt..Debug$GT$3fmt17h614fb2edb508d4ffE",
            "<&T as core::fmt::Debug>::fmt",
            "core|fmt",
        );
        expect(
            "_ZN54_$LT$whit..ipv4..Address$u20$as$u20$ufmt..uDisplay$GT$3fmt17h614fb2edb508d4ffE",
            "<whit::ipv4::Address as ufmt::uDisplay>::fmt",
            "whit|ipv4",
        );
        expect(
            "_ZN4ufmt5impls3uxx48_$LT$impl$u20$ufmt..uDisplay$u20$for$u20$u32$GT$3fmt17h614fb2edb508d4ffE",
            "ufmt::impls::uxx::<impl ufmt::uDisplay for u32>::fmt",
            "ufmt|impls::uxx",
        );
    }

    #[test]
    fn v0_impls_belong_to_the_module_around_them() {
        expect("_RNvXsh_NtCsgEmfK2I1SDS_4core3fmteNtB5_5Debug3fmt", "<str as core::fmt::Debug>::fmt", "core|fmt");
        expect(
            "_RNvXNtCsgY6Mt91CT9J_14rustc_demangle6legacyNtB2_8DemangleNtNtCsgEmfK2I1SDS_4core3fmt7Display3fmt",
            "<rustc_demangle::legacy::Demangle as core::fmt::Display>::fmt",
            "rustc_demangle|legacy",
        );
        expect(
            "_RNvMs2_NtCslNYArtu3iFV_5alloc7raw_vecNtB5_11RawVecInner10deallocateCsduwmD7cSIQq_5gimli",
            "<alloc::raw_vec::RawVecInner>::deallocate",
            "alloc|raw_vec",
        );
    }

    #[test]
    fn v0_functions_generics_closures_and_default_methods() {
        expect(
            "_RNvNvNtNtNtCscTPYGNvQQN5_6memchr4arch6x86_646memchr10memchr_raw6detect",
            "memchr::arch::x86_64::memchr::memchr_raw::detect",
            "memchr|arch::x86_64::memchr",
        );
        expect(
            "_RINvMs4_NtCsgY6Mt91CT9J_14rustc_demangle2v0NtB6_7Printer14print_sep_listNCNvB2_11print_consts1_0EB8_",
            "<rustc_demangle::v0::Printer>::print_sep_list::<<rustc_demangle::v0::Printer>::print_const::{closure#3}>",
            "rustc_demangle|v0",
        );
        let (name, place) = origin(DEFAULT_METHOD);
        assert!(name.ends_with(" as gimli::read::reader::Reader>::read_offset"), "{name}");
        assert_eq!(place, "gimli|read::reader");
    }

    const DEFAULT_METHOD: &str = concat!(
        "_RNvYINtNtNtCsduwmD7cSIQq_5gimli4read12endian_slice11EndianSliceNtNtB9_9endianity12LittleEndian",
        "ENtNtB7_6reader6Reader11read_offsetCsjrHSEGnQ3l9_3std",
    );

    #[test]
    fn every_truncation_of_a_name_is_handled() {
        let names = [
            "_RINvMs4_NtCsgY6Mt91CT9J_14rustc_demangle2v0NtB6_7Printer14print_sep_listNCNvB2_11print_consts1_0EB8_",
            DEFAULT_METHOD,
            "_ZN65_$LT$alloc..vec..Vec$LT$T$C$A$GT$$u20$as$u20$core..fmt..Debug$GT$3fmt17hb5983d1b850f2c82E",
        ];
        for name in names {
            for length in 0..=name.len() {
                of(&name[..length]);
                v0::origin(&name.as_bytes()[..length]);
                readable(&name[..length], length % 2 == 0);
            }
        }
    }
}
