//! Text of a CSV file as other programs write it: its encoding, its line ends, its delimiter, its records.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use std::borrow::Cow;
use std::fmt;

const DELIMITERS: [u8; 4] = *b",;\t|";
/// Longest record, in lines. A stray quote would otherwise join the rest of the file.
const MAX_RECORD_LINES: usize = 50;

/// Why a file is no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("the file contains zero bytes: it is not text, or UTF-16 without a byte order mark; save it as UTF-8")]
    ZeroBytes,
    #[error("the file is not valid {encoding}, which its byte order mark announces")]
    Malformed { encoding: &'static str },
}

/// Why a line is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("not valid UTF-8")]
    NotUtf8,
    #[error("not readable: {0}")]
    Csv(String),
}

/// What was found in a file, for its report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    pub encoding: &'static str,
    pub delimiter: char,
}

impl Default for Format {
    fn default() -> Self {
        Self { encoding: "UTF-8", delimiter: ',' }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, separated by ", self.encoding)?;
        match self.delimiter {
            '\t' => f.write_str("tabs"),
            other => write!(f, "`{other}`"),
        }
    }
}

/// Converts a file to UTF-8, and returns the name of its encoding. The lines of a UTF-8 file may still be invalid.
///
/// Without a byte order mark, a file whose only characters beyond ASCII are invalid in UTF-8 is Windows-1252.
pub fn decode(file: &[u8]) -> Result<(Cow<'_, [u8]>, &'static str), TextError> {
    match Encoding::for_bom(file) {
        Some((encoding, bom_len)) if encoding == UTF_8 => return Ok((Cow::Borrowed(file.get(bom_len..).unwrap_or_default()), "UTF-8")),
        Some((encoding, _)) => {
            let (text, has_errors) = encoding.decode_with_bom_removal(file);
            let valid = (!has_errors).then(|| into_bytes(text));
            return valid.map(|text| (text, encoding.name())).ok_or(TextError::Malformed { encoding: encoding.name() });
        }
        None => {}
    }
    if file.contains(&0) {
        return Err(TextError::ZeroBytes);
    }
    let is_utf8 =
        std::str::from_utf8(file).is_ok() || lines(file).iter().any(|(_, line)| !line.is_ascii() && std::str::from_utf8(line).is_ok());
    if is_utf8 {
        return Ok((Cow::Borrowed(file), "UTF-8"));
    }
    Ok((into_bytes(WINDOWS_1252.decode_without_bom_handling(file).0), "Windows-1252"))
}

fn into_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// Lines that are not blank, with their numbers from 1. They end with LF or CRLF; in a file without LF, with CR.
pub fn lines(text: &[u8]) -> Vec<(usize, &[u8])> {
    let end = if text.contains(&b'\n') { b'\n' } else { b'\r' };
    let lines = text.split(|byte| *byte == end).map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    (1..).zip(lines).filter(|(_, line)| !line.trim_ascii().is_empty()).collect()
}

/// The header's fields, with the delimiter that yields most of them.
pub fn header(line: &[u8]) -> Result<(csv::StringRecord, u8), RecordError> {
    let mut best = (split(line, b',')?, b',');
    for delimiter in DELIMITERS {
        let fields = split(line, delimiter)?;
        if fields.len() > best.0.len() {
            best = (fields, delimiter);
        }
    }
    Ok(best)
}

/// The records after the header: each with the number of its first line.
///
/// A field in quotes may contain line ends. A line with an open quote is joined with the following ones if that yields
/// a record of `fields` fields; otherwise only this line is invalid.
pub fn records(lines: &[(usize, &[u8])], delimiter: u8, fields: usize) -> Vec<(usize, Result<csv::StringRecord, RecordError>)> {
    let mut records = Vec::with_capacity(lines.len());
    let mut rest = lines;
    while let Some(((number, line), following)) = rest.split_first() {
        rest = following;
        let mut record = split(line, delimiter);
        if has_open_quote(line)
            && let Some((joined, used)) = join(line, following, delimiter, fields)
        {
            record = Ok(joined);
            rest = following.get(used..).unwrap_or_default();
        }
        records.push((*number, record));
    }
    records
}

fn has_open_quote(line: &[u8]) -> bool {
    line.iter().filter(|byte| **byte == b'"').count() % 2 == 1
}

/// Returns the record, and how many of the following lines it uses.
fn join(line: &[u8], following: &[(usize, &[u8])], delimiter: u8, fields: usize) -> Option<(csv::StringRecord, usize)> {
    let mut text = line.to_vec();
    for (used, (_, next)) in (1..).zip(following).take(MAX_RECORD_LINES - 1) {
        text.push(b'\n');
        text.extend_from_slice(next);
        if !has_open_quote(&text) {
            let record = split(&text, delimiter).ok()?;
            return (record.len() == fields).then_some((record, used));
        }
    }
    None
}

fn split(record: &[u8], delimiter: u8) -> Result<csv::StringRecord, RecordError> {
    let text = std::str::from_utf8(record).map_err(|_| RecordError::NotUtf8)?;
    // the line ends are found already; no byte of UTF-8 is 0xFF, so that nothing ends the record but its end
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .delimiter(delimiter)
        .terminator(csv::Terminator::Any(0xFF))
        .buffer_capacity(512)
        .from_reader(text.as_bytes());
    let mut fields = csv::StringRecord::new();
    reader.read_record(&mut fields).map_err(|cause| RecordError::Csv(cause.to_string()))?;
    fields.trim();
    Ok(fields)
}
