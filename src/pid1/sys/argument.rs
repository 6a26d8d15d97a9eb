//! The parts of a message, packed: a template is one register, an argument two. References to slices, and values of their own types,
//! would take several more instructions at each call site.

use core::ffi::CStr;
use core::marker::PhantomData;
use core::num::NonZeroI32;

use whit::dhcp::wire::HardwareAddress;
use whit::error::Errno;
use whit::features::Feature;
use whit::ipv4;
use whit::ipv6;
use whit::text::Text;

/// A literal that ends in NUL.
#[derive(Clone, Copy)]
pub(crate) struct Template(*const u8);

impl Template {
    /// Packs a literal.
    ///
    /// # Panics
    /// At compile time, in the constants that are made of it: when the text does not end in NUL.
    pub(crate) const fn new(text: &'static str) -> Self {
        assert!(matches!(text.as_bytes().last(), Some(0)));
        Self(text.as_ptr())
    }

    /// Packs a C string.
    pub(crate) const fn of(text: &'static CStr) -> Self {
        Self(text.as_ptr().cast())
    }

    /// Returns its bytes, up to the NUL.
    pub(crate) fn bytes(self) -> &'static [u8] {
        // SAFETY: the pointer is that of a text that is never freed and ends in NUL.
        unsafe { CStr::from_ptr(self.0.cast()) }.to_bytes()
    }
}

/// The value of one `{}`.
#[derive(Clone, Copy)]
pub(crate) struct Argument<'a> {
    /// A number, or the address of a borrowed value.
    value: usize,
    /// The length of a text, or one of the kinds below 0.
    kind: isize,
    borrowed: PhantomData<&'a [u8]>,
}

/// The value of an [`Argument`], unpacked.
pub(crate) enum Value<'a> {
    Text(Text<'a>),
    Number(u64),
    Errno(Errno),
    Ipv4(ipv4::Address),
    Ipv6(&'a ipv6::Address),
    Mac(HardwareAddress),
}

const NUMBER: isize = -1;
const ERRNO: isize = -2;
const IPV4: isize = -3;
const IPV6: isize = -4;
const MAC: isize = -5;

impl<'a> Argument<'a> {
    const fn of(value: usize, kind: isize) -> Self {
        Self { value, kind, borrowed: PhantomData }
    }

    /// Unpacks the value.
    pub(crate) fn value(self) -> Value<'a> {
        match self.kind {
            // SAFETY: a kind from 0 on is the length of a slice that was borrowed for 'a, and the value its pointer.
            length @ 0.. => Value::Text(Text(unsafe {
                core::slice::from_raw_parts(core::ptr::with_exposed_provenance(self.value), length as usize)
            })),
            ERRNO => NonZeroI32::new(self.value as i32).map_or(Value::Number(0), |errno| Value::Errno(Errno(errno))),
            IPV4 if Feature::Dhcp.is_enabled() || Feature::Etc.is_enabled() => {
                Value::Ipv4(ipv4::Address((self.value as u32).to_ne_bytes()))
            }
            IPV6 if Feature::Ipv6.is_enabled() => {
                // SAFETY: this kind has the address of a value that was borrowed for 'a.
                let address = unsafe { &*core::ptr::with_exposed_provenance(self.value) };
                Value::Ipv6(address)
            }
            MAC if Feature::Dhcp.is_enabled() => {
                let [m0, m1, m2, m3, m4, m5, ..] = (self.value as u64).to_ne_bytes();
                Value::Mac([m0, m1, m2, m3, m4, m5])
            }
            _ => Value::Number(self.value as u64),
        }
    }
}

/// A hardware address.
#[derive(Clone, Copy)]
pub(crate) struct Mac(pub(crate) HardwareAddress);

impl<'a> From<Text<'a>> for Argument<'a> {
    fn from(Text(text): Text<'a>) -> Self {
        Self::of(text.as_ptr().expose_provenance(), text.len() as isize)
    }
}

/// Printed as a [`Text`] is, and so without line breaks.
impl<'a> From<&'a str> for Argument<'a> {
    fn from(text: &'a str) -> Self {
        Text(text.as_bytes()).into()
    }
}

impl From<u64> for Argument<'_> {
    fn from(number: u64) -> Self {
        Self::of(number as usize, NUMBER)
    }
}

impl From<u32> for Argument<'_> {
    fn from(number: u32) -> Self {
        Self::of(number as usize, NUMBER)
    }
}

impl From<u8> for Argument<'_> {
    fn from(number: u8) -> Self {
        Self::of(number.into(), NUMBER)
    }
}

impl From<usize> for Argument<'_> {
    fn from(number: usize) -> Self {
        Self::of(number, NUMBER)
    }
}

impl From<Errno> for Argument<'_> {
    fn from(errno: Errno) -> Self {
        Self::of(errno.0.get() as usize, ERRNO)
    }
}

impl From<ipv4::Address> for Argument<'_> {
    fn from(address: ipv4::Address) -> Self {
        Self::of(u32::from_ne_bytes(address.0) as usize, IPV4)
    }
}

impl<'a> From<&'a ipv6::Address> for Argument<'a> {
    fn from(address: &'a ipv6::Address) -> Self {
        Self::of(core::ptr::from_ref(address).expose_provenance(), IPV6)
    }
}

impl From<Mac> for Argument<'_> {
    fn from(Mac([m0, m1, m2, m3, m4, m5]): Mac) -> Self {
        Self::of(u64::from_ne_bytes([m0, m1, m2, m3, m4, m5, 0, 0]) as usize, MAC)
    }
}
