//! Parses as much of Rust's v0 names (RFC 2603) as is needed for the crate and module of a symbol.

use crate::origin::Origin;

/// Limit for nesting. Chains of back references end, as each points backwards; this bounds the stack for a forged name.
const MAX_DEPTH: usize = 64;

/// Parses a v0 name without its `_R` up to the end of the modules.
pub(crate) fn origin(name: &[u8]) -> Option<Origin> {
    let mut parser = V0 { name, position: 0 };
    let (krate, modules, _) = parser.path(0)?;
    Some(Origin { krate, module: modules.join("::") })
}

struct V0<'a> {
    name: &'a [u8],
    position: usize,
}

impl V0<'_> {
    /// Parses the crate and modules; returns them with true for a plain path. Text after an impl or generic arguments is not read.
    fn path(&mut self, depth: usize) -> Option<(String, Vec<String>, bool)> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.next()? {
            b'C' => Some((self.identifier()?, Vec::new(), true)),
            b'N' => {
                let namespace = self.next()?;
                let (krate, mut modules, plain) = self.path(depth + 1)?;
                if !plain {
                    return Some((krate, modules, false));
                }
                let identifier = self.identifier()?;
                // `t` is a module or a type: types begin with a capital. `v`, `C`, `S`: a function, closure, shim.
                let module = namespace == b't' && !identifier.starts_with(|first: char| first.is_ascii_uppercase());
                if module {
                    modules.push(identifier);
                }
                Some((krate, modules, true))
            }
            b'M' | b'X' => {
                self.disambiguator()?;
                let (krate, modules, _) = self.path(depth + 1)?;
                Some((krate, modules, false))
            }
            b'I' => {
                let (krate, modules, _) = self.path(depth + 1)?;
                Some((krate, modules, false))
            }
            b'B' => {
                let start = self.position - 1;
                let target = usize::try_from(self.base62()?).ok()?;
                if target >= start {
                    return None;
                }
                V0 { name: self.name, position: target }.path(depth + 1)
            }
            _ => None,
        }
    }

    fn identifier(&mut self) -> Option<String> {
        self.disambiguator()?;
        if self.name.get(self.position) == Some(&b'u') {
            return None; // punycode: not in this project
        }
        let mut length = 0usize;
        while let Some(digit) = self.name.get(self.position).filter(|byte| byte.is_ascii_digit()) {
            length = length.checked_mul(10)?.checked_add(usize::from(digit - b'0'))?;
            self.position += 1;
        }
        if self.name.get(self.position) == Some(&b'_') {
            self.position += 1;
        }
        let bytes = self.name.get(self.position..self.position.checked_add(length)?)?;
        self.position += length;
        String::from_utf8(bytes.to_vec()).ok()
    }

    fn disambiguator(&mut self) -> Option<()> {
        if self.name.get(self.position) == Some(&b's') {
            self.position += 1;
            self.base62()?;
        }
        Some(())
    }

    /// Parses a number: `_` is 0, `0_` is 1, `Z_` is 62, …
    fn base62(&mut self) -> Option<u64> {
        let mut value = 0u64;
        let mut digits = false;
        loop {
            let digit = match self.next()? {
                b'_' => return if digits { value.checked_add(1) } else { Some(0) },
                byte @ b'0'..=b'9' => byte - b'0',
                byte @ b'a'..=b'z' => byte - b'a' + 10,
                byte @ b'A'..=b'Z' => byte - b'A' + 36,
                _ => return None,
            };
            value = value.checked_mul(62)?.checked_add(u64::from(digit))?;
            digits = true;
        }
    }

    fn next(&mut self) -> Option<u8> {
        let byte = *self.name.get(self.position)?;
        self.position += 1;
        Some(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> Option<String> {
        origin(name.as_bytes()).map(|origin| format!("{}|{}", origin.krate, origin.module))
    }

    #[test]
    fn back_references_are_followed_only_backwards() {
        assert_eq!(place("NvNtC3one3two3foo").as_deref(), Some("one|two"));
        assert_eq!(place("INvC3one3fooNvNtB2_3two3barE").as_deref(), Some("one|"));
        assert_eq!(place("NvB_3foo"), None, "to itself");
        assert_eq!(place("NvB5_3foo"), None, "forwards");
    }

    #[test]
    fn nesting_has_a_limit() {
        let nested = |depth: usize| format!("{}C1a{}", "Nt".repeat(depth), "1b".repeat(depth));
        assert_eq!(place(&nested(2)).as_deref(), Some("a|b::b"));
        assert_eq!(place(&nested(MAX_DEPTH + 1)), None);
    }
}
