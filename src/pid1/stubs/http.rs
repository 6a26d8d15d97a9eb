//! Without the feature: `root=http:` is not understood.

use whit::http::Url;
use whit::options::Options;

pub(super) fn url(_: &[u8]) -> Option<Url<'_>> {
    None
}

pub(super) fn is_verified(_: &Options<'_>) -> bool {
    false
}

pub(super) fn attach(_: &Url<'_>, _: u64) -> Result<(), &'static str> {
    Ok(())
}
