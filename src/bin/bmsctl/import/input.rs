//! From what was typed to content: a file, standard input or a URL; read as it comes where the format allows, and through
//! a temporary file where it does not.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bms_agent::image::group::is_zero;
use bms_agent::image::source::{Format, Input, OpenOptions, Peeked, SourceError, open_as_told};
use bms_agent::net::download::{Download, DownloadError, Retry};
use bms_agent::net::http::{HttpSettings, Redacted};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::convert::{ConvertError, Driver, to_raw};
use crate::cli::InputArgs;
use crate::output::Output;

/// Bytes that are spooled as one; a hole is made of whole ones.
const SPOOL_BYTES: usize = 256 << 10;

/// An image as it is named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImageName {
    /// `-`
    Stdin,
    /// `http://…` or `https://…`
    Url(Url),
    /// All else. A file that is called like one of the others has `./` before its name.
    File(PathBuf),
}

impl ImageName {
    /// Reads what was typed.
    pub(crate) fn parse(text: OsString) -> Result<Self, url::ParseError> {
        match text.to_str() {
            Some("-") => Ok(Self::Stdin),
            Some(url) if url.starts_with("http://") || url.starts_with("https://") => Url::parse(url).map(Self::Url),
            _ => Ok(Self::File(text.into())),
        }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::Url(url) => write!(f, "{}", Redacted(url)),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Why there is no content.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error("the image cannot be opened")]
    Open { source: SourceError },
    #[error("cannot download {name}")]
    Download { name: String, source: DownloadError },
    #[error("cannot convert {name} from {format} to raw")]
    Convert { name: String, format: &'static str, source: ConvertError },
    #[error("cannot keep {name} in {} for a while", directory.display())]
    Spool { name: String, directory: PathBuf, source: io::Error },
    #[error("standard input is a terminal: pipe an image into it")]
    Terminal,
}

/// An image that is ready to be read.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Its content.
    pub(crate) input: Input,
    /// What it is called in messages.
    pub(crate) name: String,
    /// The format that it came in.
    pub(crate) format: &'static str,
}

/// Opens an image. Says so when that takes its time.
///
/// # Panics
/// Within an asynchronous task: a download blocks, now and when the content is read.
pub(crate) fn open(args: &InputArgs, output: &Output) -> Result<Opened, InputError> {
    let opener = Opener { name: args.image.to_string(), args, output };
    match &args.image {
        ImageName::File(path) => opener.file(path),
        ImageName::Stdin if io::stdin().is_terminal() => Err(InputError::Terminal),
        ImageName::Stdin => opener.stream(Box::new(io::stdin()), None),
        ImageName::Url(url) => {
            let settings = HttpSettings { ca: args.image_ca.clone(), ..HttpSettings::default() };
            let download = Download::start(url, &settings, Retry::default(), CancellationToken::new());
            let download = download.map_err(|source| InputError::Download { name: opener.name.clone(), source })?;
            let len_bytes = download.len_bytes();
            opener.stream(Box::new(download), len_bytes)
        }
    }
}

/// One image on its way.
struct Opener<'a> {
    name: String,
    args: &'a InputArgs,
    output: &'a Output,
}

impl Opener<'_> {
    fn file(self, path: &Path) -> Result<Opened, InputError> {
        match Input::open(path, &self.options()) {
            Ok(input) => Ok(self.opened(input)),
            Err(refusal) => self.converted(refusal, || File::open(path)),
        }
    }

    /// `file_bytes` is how long the stream is, where that is known: the length of raw content.
    fn stream(self, stream: Box<dyn Read + Send>, file_bytes: Option<u64>) -> Result<Opened, InputError> {
        let peeked = Peeked::new(Path::new(&self.name), stream).map_err(open_error)?;
        let mut options = self.options();
        match peeked.format(options.format) {
            Ok(Format::Raw) => options.len_bytes = options.len_bytes.or(file_bytes),
            Ok(Format::Gzip | Format::Xz | Format::Zstd) => {}
            Ok(Format::Qcow2) => return self.spooled(peeked),
            Err(refusal) if Driver::instead_of(&refusal).is_some() => return self.spooled(peeked),
            Err(refusal) => return Err(open_error(refusal)),
        }
        peeked.into_input(&options).map(|input| self.opened(input)).map_err(open_error)
    }

    /// What has to be read here and there is put into a file first.
    fn spooled(self, stream: Peeked) -> Result<Opened, InputError> {
        self.output.note(&format!("keeping {} in {} first", self.name, self.args.temp_dir.display()));
        let file = spool(stream, &self.args.temp_dir).map_err(|source| self.spool_error(source))?;
        let same_file = file.try_clone().map_err(|source| self.spool_error(source))?;
        match open_as_told(file, Path::new(&self.name), &self.options()) {
            Ok(source) => Ok(self.opened(Input::Source(source))),
            Err(refusal) => self.converted(refusal, || Ok(same_file)),
        }
    }

    /// Converts an image that was refused for its format alone.
    fn converted(self, refusal: SourceError, image: impl FnOnce() -> io::Result<File>) -> Result<Opened, InputError> {
        let Some(driver) = Driver::instead_of(&refusal) else {
            return Err(open_error(refusal));
        };
        let format = driver.title();
        let path = Path::new(&self.name);
        let image = image().map_err(|source| open_error(SourceError::Open { path: path.to_owned(), source }))?;
        self.output.note(&format!("converting {} from {format} to raw", self.name));
        let raw = to_raw(&image, driver, &self.args.temp_dir).map_err(|source| InputError::Convert {
            name: self.name.clone(),
            format,
            source,
        })?;
        let options = OpenOptions { format: Some(Format::Raw), ..self.options() };
        let source = open_as_told(raw, path, &options).map_err(open_error)?;
        Ok(Opened { input: Input::Source(source), format, name: self.name })
    }

    fn opened(self, input: Input) -> Opened {
        Opened { format: input.format().name(), input, name: self.name }
    }

    fn options(&self) -> OpenOptions {
        OpenOptions { format: self.args.source.format, len_bytes: self.args.source.size }
    }

    fn spool_error(&self, source: io::Error) -> InputError {
        InputError::Spool { name: self.name.clone(), directory: self.args.temp_dir.clone(), source }
    }
}

fn open_error(source: SourceError) -> InputError {
    InputError::Open { source }
}

/// Reads a stream to its end, into a file without a name that goes when it is closed. Zeroes become holes.
fn spool(mut stream: impl Read, directory: &Path) -> io::Result<File> {
    let file = tempfile::tempfile_in(directory)?;
    let mut block = Vec::with_capacity(SPOOL_BYTES);
    let mut len_bytes = 0;
    while stream.by_ref().take(SPOOL_BYTES as u64).read_to_end(&mut block)? > 0 {
        if !is_zero(&block) {
            file.write_all_at(&block, len_bytes)?;
        }
        len_bytes += block.len() as u64;
        block.clear();
    }
    file.set_len(len_bytes)?;
    Ok(file)
}
