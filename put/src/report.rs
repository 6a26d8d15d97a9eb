//! Reports of a run to a server: JSON documents by POST.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::lines;
use crate::net::url::Url;
use crate::net::{Net, download};
use crate::target::Target;

/// The receiver of the reports.
pub struct Reporter {
    url: Option<Url>,
    net: Arc<Net>,
    fields: Map<String, Value>,
}

impl Reporter {
    /// Starts with the fields that all reports have.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(url: Option<&str>, net: &Arc<Net>, image: &str) -> Result<Self, String> {
        let mut fields = Map::new();
        fields.insert("image".into(), image.into());
        Ok(Self { url: url.map(Url::parse).transpose()?, net: Arc::clone(net), fields })
    }

    /// Adds the disk to the reports.
    pub fn set_target(&mut self, target: &Target) {
        self.fields.insert("disk".into(), target.path.to_string_lossy().into());
        if let Some(serial) = &target.serial {
            self.fields.insert("serial".into(), serial.as_str().into());
        }
    }

    /// Sends a report: `started`, `written` or `failed`. A report that does not arrive is a warning: the disk is as it is.
    pub fn send(&self, state: &str, more: impl IntoIterator<Item = (&'static str, Value)>) {
        let Some(url) = &self.url else { return };
        let mut document = self.fields.clone();
        document.insert("state".into(), state.into());
        document.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        if let Err(error) = download::post(&self.net, url, Value::Object(document).to_string().as_bytes()) {
            lines::warn(format_args!("warning: the report {state:?} did not arrive: {error}"));
        }
    }
}
