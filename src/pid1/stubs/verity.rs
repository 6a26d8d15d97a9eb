//! Without the feature: `roothash=` is an unknown option.

use whit::error::Errno;
use whit::options::Options;

use super::Device;

pub(crate) fn is_wanted(_: &Options<'_>) -> bool {
    false
}

/// The device stays as it is.
pub(crate) fn protect(_: &mut Device, _: &Options<'_>) -> Result<(), Errno> {
    Ok(())
}
