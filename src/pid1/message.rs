//! Messages: a template whose `{}` are replaced by arguments, passed to one function.
//!
//! The first byte of a template is the kind of the message: a part of a line, an error, or information. `core::fmt` would link
//! kilobytes; ufmt's `uwrite!` expands to one call for each part at each call site.

use ufmt::uwrite;
use whit::dhcp::wire::HardwareAddress;

use crate::console::{self, Line};
use crate::sys::argument::{Argument, Template, Value};

/// The text is appended to the text buffer.
const PART: u8 = b'+';
/// The line is logged as information. Any other byte means an error.
const INFORMATION: u8 = b'6';

/// Appends a part to the text buffer.
macro_rules! part {
    ($($message:tt)*) => { $crate::message::message!("+", $($message)*) };
}

/// Logs a line that is always shown: an error, or a result such as the exit code.
macro_rules! error {
    ($($message:tt)*) => { $crate::message::message!("3", $($message)*) };
}

/// Logs a line about the progress of the boot, unless `quiet` is given.
macro_rules! info {
    ($($message:tt)*) => { $crate::message::message!("6", $($message)*) };
}

macro_rules! message {
    ($kind:literal, $template:literal $(, $argument:expr)*) => {{
        const TEMPLATE: $crate::sys::argument::Template =
            $crate::sys::argument::Template::new(concat!($kind, $template, "\0"));
        $crate::message::message!(@call TEMPLATE $(, $argument)*)
    }};
    (@call $template:ident) => { $crate::message::put0($template) };
    (@call $template:ident, $a:expr) => { $crate::message::put1($template, $a.into()) };
    (@call $template:ident, $a:expr, $b:expr) => { $crate::message::put2($template, $a.into(), $b.into()) };
    (@call $template:ident, $a:expr, $b:expr, $c:expr) => {
        $crate::message::put3($template, $a.into(), $b.into(), $c.into())
    };
    (@call $template:ident, $a:expr, $b:expr, $c:expr, $d:expr) => {
        $crate::message::put(&[$a.into(), $b.into(), $c.into(), $d.into()], $template)
    };
}

pub(crate) use {error, info, message, part};

#[inline(never)]
pub(crate) fn put0(template: Template) {
    put(&[], template);
}

#[inline(never)]
pub(crate) fn put1(template: Template, a: Argument<'_>) {
    put(&[a], template);
}

#[inline(never)]
pub(crate) fn put2(template: Template, a: Argument<'_>, b: Argument<'_>) {
    put(&[a, b], template);
}

#[inline(never)]
pub(crate) fn put3(template: Template, a: Argument<'_>, b: Argument<'_>, c: Argument<'_>) {
    put(&[a, b, c], template);
}

/// Appends a message to the text buffer; logs the line, unless the message is a part.
#[inline(never)]
pub(crate) fn put(mut arguments: &[Argument<'_>], template: Template) {
    let Some((kind, text)) = template.bytes().split_first() else { return };
    for byte in text {
        match byte {
            b'{' => {
                if let Some((first, rest)) = arguments.split_first() {
                    arguments = rest;
                    put_value(first.value());
                }
            }
            b'}' => {}
            byte => console::push(*byte),
        }
    }
    match *kind {
        PART => {}
        INFORMATION => console::print_info(),
        _ => console::print(),
    }
}

fn put_value(value: Value<'_>) {
    let _ = match value {
        Value::Mac(address) => return put_mac(&address),
        Value::Text(text) => uwrite!(Line, "{}", text),
        Value::Number(number) => uwrite!(Line, "{}", number),
        Value::Errno(errno) => uwrite!(Line, "{}", errno),
        Value::Ipv4(address) => uwrite!(Line, "{}", address),
        Value::Ipv6(address) => uwrite!(Line, "{}", *address),
    };
}

fn put_mac(address: &HardwareAddress) {
    for (place, byte) in address.iter().enumerate() {
        if place > 0 {
            console::push(b':');
        }
        push_hexadecimal(*byte);
    }
}

/// Appends the two hexadecimal digits of a byte to the text buffer.
#[inline(never)]
pub(crate) fn push_hexadecimal(byte: u8) {
    for nibble in [byte >> 4, byte & 0xf] {
        console::push(b"0123456789abcdef".get(usize::from(nibble)).copied().unwrap_or(b'?'));
    }
}
