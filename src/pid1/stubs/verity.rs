//! Without the feature no root is mounted with `roothash=`.

use whit::error::Errno;
use whit::options::Options;

use super::Device;

/// The device stays as it is.
pub(crate) fn protect(_: &mut Device, _: &Options<'_>) -> Result<(), Errno> {
    Ok(())
}
