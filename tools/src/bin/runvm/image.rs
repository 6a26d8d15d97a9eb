//! The image of the command line: a file, a folder, standard input, or a name.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::unix::fs::FileTypeExt;
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
    /// The copy of a stream.
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
        if std::fs::metadata(&path).is_ok_and(|metadata| metadata.file_type().is_fifo()) {
            let copied = File::open(&path).map_err(|error| error.to_string()).and_then(|pipe| Self::copy(cache, pipe));
            return copied.map_err(|error| format!("{}: {error}", path.display()));
        }
        check_readable(&path)?;
        Ok(Self { path, _copy: None })
    }

    /// Checks that standard input may be the image, and copies it.
    fn from_stdin(arguments: &Arguments, cache: &Cache) -> Result<Self, String> {
        if arguments.interactive || arguments.attach.contains(&Stream::Stdin) {
            return Err("-: standard input is the image, and cannot be the workload's; without -i".to_owned());
        }
        if io::stdin().is_terminal() {
            return Err("-: standard input is a terminal; give an image, as docker save NAME | runvm -".to_owned());
        }
        Self::copy(cache, io::stdin()).map_err(|error| format!("-: {error}"))
    }

    /// Copies a stream: an image is read more than once.
    fn copy(cache: &Cache, mut stream: impl Read) -> Result<Self, String> {
        let folder = cache.folder("");
        temporary::sweep(&folder);
        let copy = |(mut file, copy): (File, Temporary)| io::copy(&mut stream, &mut file).map(|_| copy);
        let copy = Temporary::file(&folder, temporary::RUN, 0o600).and_then(copy);
        let copy = copy.map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self { path: copy.path().to_owned(), _copy: Some(copy) })
    }
}
