//! Files, their encodings and the JSON values in them.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use crate::sources::SourceError;

/// Most bytes of all files of a source.
const MAX_BYTES: u64 = 512 << 20;

/// Where the texts come from.
#[derive(Debug)]
pub(super) enum Input {
    /// A file or directory.
    Path(PathBuf),
    /// Texts at hand, with names.
    Texts(Vec<(String, String)>),
}

/// One JSON value and the file that it stands in.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) path: PathBuf,
    pub(super) value: Value,
}

impl Input {
    /// Names the listing.
    pub(super) fn scope(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Texts(_) => "embedded".to_owned(),
        }
    }

    /// All values, those of the oldest file first.
    pub(super) fn documents(&self) -> Result<Vec<Document>, SourceError> {
        let mut documents = Vec::new();
        match self {
            Self::Texts(texts) => {
                for (name, text) in texts {
                    parse(Path::new(name), text, &mut documents)?;
                }
            }
            Self::Path(path) => {
                let mut left = MAX_BYTES;
                for file in files(path)? {
                    let bytes = load(&file, path, &mut left)?;
                    let text = decode(&bytes).ok_or_else(|| SourceError::Encoding { path: file.clone() })?;
                    parse(&file, &text, &mut documents)?;
                }
            }
        }
        Ok(documents)
    }
}

/// The file itself, or the `*.json` of the directory: oldest first, by name
/// where times are equal. Hidden files are an editor's.
fn files(path: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let failed = |error| SourceError::read(path, error);
    if !path.metadata().map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in path.read_dir().map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let json = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        if hidden || !json {
            continue;
        }
        let metadata = file.metadata().map_err(|error| SourceError::read(&file, error))?;
        if metadata.is_file() {
            found.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), file));
        }
    }
    if found.is_empty() {
        return Err(SourceError::NoFiles { path: path.to_owned() });
    }
    found.sort();
    Ok(found.into_iter().map(|(_, file)| file).collect())
}

fn load(file: &Path, whole: &Path, left: &mut u64) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    let opened = File::open(file).map_err(|error| SourceError::read(file, error))?;
    let read =
        opened.take(*left + 1).read_to_end(&mut bytes).map_err(|error| SourceError::read(file, error))?;
    *left = left
        .checked_sub(read as u64)
        .ok_or_else(|| SourceError::TooLarge { path: whole.to_owned(), limit: MAX_BYTES })?;
    Ok(bytes)
}

/// UTF-8 or UTF-16 by byte order mark; UTF-16 without one by the zero byte
/// beside the first character, which is ASCII in JSON (RFC 4627 section 3).
/// `>` in Windows PowerShell writes UTF-16.
fn decode(bytes: &[u8]) -> Option<String> {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => Some(std::str::from_utf8(rest).ok()?.to_owned()),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [first, 0, ..] if *first != 0 => utf16(bytes, u16::from_le_bytes),
        [0, first, ..] if *first != 0 => utf16(bytes, u16::from_be_bytes),
        _ => Some(std::str::from_utf8(bytes).ok()?.to_owned()),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    let units = bytes.chunks_exact(2).filter_map(|pair| pair.try_into().ok().map(unit));
    char::decode_utf16(units).collect::<Result<_, _>>().ok()
}

/// All values of a text: `>>` in a loop over zones puts several into one file.
fn parse(path: &Path, text: &str, documents: &mut Vec<Document>) -> Result<(), SourceError> {
    let before = documents.len();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let value = value.map_err(|source| SourceError::Json { path: path.to_owned(), source })?;
        documents.push(Document { path: path.to_owned(), value });
    }
    if documents.len() == before {
        return Err(SourceError::EmptyFile { path: path.to_owned() });
    }
    Ok(())
}
