//! Without the feature: `root=http:` is not understood.

use whit::http::Url;

pub(super) fn url(_: &[u8]) -> Option<Url<'_>> {
    None
}

pub(super) fn attach(_: &Url<'_>, _: u64, _: u64) -> Result<(), &'static str> {
    Ok(())
}
