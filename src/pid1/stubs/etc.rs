//! Without the feature: the files in the root's /etc stay as they are in the image.

use whit::options::{Options, Sources, Value};

use crate::hostname;
use crate::network::Network;

/// Sets the host name.
pub(crate) fn write(_: &Sources<'_>, options: &Options<'_>, _: Option<&Network<'_>>) {
    hostname::set(options.value(Value::Hostname), b"");
}
