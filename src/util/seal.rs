//! Checksums of JSON objects, as their last member `crc32`, so that what has changed on a disk is told from what was written.
//!
//! The checksum (CRC-32 of IEEE 802.3, in hexadecimal) is that of all bytes before the member. It finds every change of one
//! bit and of up to 32 bits together. What has none was written before there were any, and is taken as it is (readers of
//! lines take none behind one that has one): one flipped bit cannot both change an object and hide its checksum.

use serde::Serialize;

/// How the member is written: what stands before its digits, and after.
type Form = (&'static str, &'static str);

/// In a line.
const LINE: Form = (",\"crc32\":\"", "\"}");

/// In a file that is indented.
const FILE: Form = (",\n  \"crc32\": \"", "\"\n}\n");

const DIGITS: usize = 8;

/// Adds an object (with at least one member) as a line, line end included.
///
/// # Errors
/// When the value cannot be written as JSON.
pub fn line(out: &mut Vec<u8>, value: &impl Serialize) -> serde_json::Result<()> {
    let start = out.len();
    serde_json::to_writer(&mut *out, value)?;
    close(out, start, "}", LINE);
    out.push(b'\n');
    Ok(())
}

/// An object (with at least one member) as an indented file.
///
/// # Errors
/// When the value cannot be written as JSON.
pub fn file(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut out = serde_json::to_vec_pretty(value)?;
    close(&mut out, 0, "\n}", FILE);
    Ok(out)
}

fn close(out: &mut Vec<u8>, start: usize, end: &str, (before, after): Form) {
    debug_assert!(out.ends_with(end.as_bytes()), "only objects are sealed");
    out.truncate(out.len() - end.len());
    let sum = crc32fast::hash(&out[start..]);
    out.extend_from_slice(format!("{before}{sum:08x}{after}").as_bytes());
}

/// Whether a line is as it was written, as far as it can tell. Without its line end.
pub fn is_whole_line(line: &[u8]) -> bool {
    is_whole(line, LINE)
}

/// Whether a file is as it was written, as far as it can tell.
pub fn is_whole_file(bytes: &[u8]) -> bool {
    is_whole(bytes, FILE)
}

/// Whether a line has a checksum.
pub fn has_seal(line: &[u8]) -> bool {
    let digits = line.strip_suffix(LINE.1.as_bytes()).and_then(|rest| rest.split_last_chunk::<DIGITS>());
    digits.is_some_and(|(rest, _)| rest.ends_with(LINE.0.as_bytes()))
}

/// Whether a line has a checksum, and is as it was written.
pub fn is_sealed_line(line: &[u8]) -> bool {
    has_seal(line) && is_whole_line(line)
}

fn is_whole(bytes: &[u8], (before, after): Form) -> bool {
    let digits = bytes.strip_suffix(after.as_bytes()).and_then(|rest| rest.split_last_chunk::<DIGITS>());
    let Some((body, digits)) = digits.and_then(|(rest, digits)| Some((rest.strip_suffix(before.as_bytes())?, digits)))
    else {
        return true;
    };
    let sum = std::str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
    sum == Some(crc32fast::hash(body))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_flipped_bit_is_found_or_changes_nothing() {
        let value = json!({"a": "ü, \"b\"", "n": [1.5, null], "crc32": "of its own"});
        let mut line_of = Vec::new();
        line(&mut line_of, &value).unwrap();
        assert_eq!(line_of.pop(), Some(b'\n'));
        type Written = (Vec<u8>, fn(&[u8]) -> bool);
        let forms: [Written; 2] = [(line_of, is_whole_line), (file(&value).unwrap(), is_whole_file)];
        for (text, is_whole) in forms {
            let members = |text: &[u8]| {
                let mut members = serde_json::from_slice::<Value>(text).ok()?;
                members.as_object_mut()?.retain(|name, _| name == "a" || name == "n");
                Some(members)
            };
            assert!(is_whole(&text));
            for bit in 0..8 * text.len() {
                let mut flipped = text.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let read = Some(&flipped).filter(|text| is_whole(text)).and_then(|text| members(text));
                assert!(read.is_none() || read == members(&text), "{}", String::from_utf8_lossy(&flipped));
            }
        }
        assert!(is_whole_line(b"{\"a\":1}") && is_whole_file(b"{\n  \"a\": 1\n}\n"), "of a version before");
    }
}
