//! The image of the command line: a file, a folder, standard input, or a name.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use whit_tools::cli::temporary::{self, Temporary};
use whit_tools::vm::{Cache, pull};

use crate::arguments::{Arguments, Stream};
use crate::artefacts::{check_readable, log};

/// The word for standard input.
const STDIN: &str = "-";

/// An image that can be read.
pub(crate) struct Image {
    pub(crate) path: PathBuf,
    /// The copy of standard input.
    _copy: Option<Temporary>,
}

impl Image {
    /// Finds the image of IMAGE, and fetches it if necessary.
    ///
    /// # Errors
    /// A message of one line.
    pub(crate) fn find(arguments: &Arguments, cache: &Cache, image: &Path) -> Result<Self, String> {
        if image.as_os_str() == STDIN {
            return Self::from_stdin(arguments, cache);
        }
        let mut path = image.to_owned();
        if let Some(name) = image.to_str().filter(|name| !image.exists() && pull::is_name(name)) {
            path = pull::find(cache, name, arguments.architecture(), arguments.pull, log)?;
        }
        check_readable(&path)?;
        Ok(Self { path, _copy: None })
    }

    /// Copies standard input, which is read more than once.
    fn from_stdin(arguments: &Arguments, cache: &Cache) -> Result<Self, String> {
        if arguments.interactive || arguments.attach.contains(&Stream::Stdin) {
            return Err("-: standard input is the image, and cannot be the workload's; without -i".to_owned());
        }
        if io::stdin().is_terminal() {
            return Err("-: standard input is a terminal; give an image, as docker save NAME | runvm -".to_owned());
        }
        let folder = cache.folder("");
        temporary::sweep(&folder);
        let copy = |(mut file, copy): (File, Temporary)| io::copy(&mut io::stdin(), &mut file).map(|_| copy);
        let copy = Temporary::file(&folder, temporary::RUN, 0o600).and_then(copy);
        let copy = copy.map_err(|error| format!("-: {}: {error}", folder.display()))?;
        Ok(Self { path: copy.path().to_owned(), _copy: Some(copy) })
    }
}
