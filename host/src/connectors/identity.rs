//! Positions in files of text, and whether a file is still the one that was read.

use crate::data::ids::PartitionId;
use crate::dataflow::error::LogicError;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes at the beginning of a file, and before a position, by which it is told from others.
const LOOK: usize = 4 << 10;

/// How far a file was read: the offset, whether the last record lacked its end, and checksums of the bytes at the beginning
/// and before the offset.
const LENGTH: usize = 8 + 1 + 8 + 8;

/// Follows what is read of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub offset: u64,
    /// Whether what was read last ended with the file and not with a line.
    is_open: bool,
    /// The first bytes of the file.
    head: Vec<u8>,
    /// The last ones before the offset.
    tail: Vec<u8>,
}

impl Place {
    /// Goes on behind bytes that were read.
    pub fn pass(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
        let room = LOOK.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        let last = &bytes[bytes.len().saturating_sub(LOOK)..];
        let keep = self.tail.len().min(LOOK - last.len());
        self.tail.drain(..self.tail.len() - keep);
        self.tail.extend_from_slice(last);
        self.is_open = false;
    }

    /// Notes that the file ends here.
    pub fn end(&mut self) {
        self.is_open = self.tail.last().is_some_and(|&last| last != b'\n');
    }

    /// As it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend_from_slice(&self.offset.to_le_bytes());
        bytes.push(u8::from(self.is_open));
        bytes.extend_from_slice(&xxh3_64(&self.head).to_le_bytes());
        bytes.extend_from_slice(&xxh3_64(&self.tail).to_le_bytes());
        bytes
    }

    /// Goes on in a file from a stored place, and leaves the file there.
    ///
    /// # Errors
    /// It is not the file that was read, or a record that was read as the last one has grown.
    pub fn resume(file: &mut File, part: &PartitionId, stored: &[u8]) -> Result<Place, LogicError> {
        let (offset, is_open, sums) = parse(stored)?;
        let failed = |error| LogicError::io(format!("cannot read {part}"), &error);
        let length = file.metadata().map_err(failed)?.len();
        if length < offset {
            let message = format!("{part} has {length} bytes, and {offset} were read before: it was cut or replaced");
            return Err(LogicError::user(message).help(HELP));
        }
        let mut look = |at: u64, size: usize| {
            let mut bytes = vec![0; size];
            file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut bytes)).map(|()| bytes).map_err(failed)
        };
        let size = usize::try_from(offset).unwrap_or(usize::MAX).min(LOOK);
        let mut place = Place { offset, is_open, head: look(0, size)?, tail: look(offset - size as u64, size)? };
        if xxh3_64(&place.head) != sums.0 {
            let message = format!("{part} was replaced: its beginning is not what was read before");
            return Err(LogicError::user(message).help(HELP));
        }
        if xxh3_64(&place.tail) != sums.1 {
            let message = format!("{part} was changed before byte {offset}, up to which it was read");
            return Err(LogicError::user(message).help(HELP));
        }
        if is_open && length > offset {
            let next = look(offset, 2.min(usize::try_from(length - offset).unwrap_or(2)))?;
            let end = match next.as_slice() {
                [b'\n', ..] => 1,
                b"\r\n" => 2,
                _ => {
                    let message = format!(
                        "{part} ended without an end of line when it was read, and this last line has grown since"
                    );
                    let help = "have whoever writes it write whole lines; to read it again, begin with a new store";
                    return Err(LogicError::user(message).help(help));
                }
            };
            // The end of the line that was read.
            place.pass(&next[..end]);
        }
        file.seek(SeekFrom::Start(place.offset)).map_err(failed)?;
        Ok(place)
    }
}

const HELP: &str = "put the file back; or, to read what is there now from its beginning, give it another name or begin with a new store";

fn parse(stored: &[u8]) -> Result<(u64, bool, (u64, u64)), LogicError> {
    let wrong = || LogicError::internal("the stored position is not that of a file");
    let stored: &[u8; LENGTH] = stored.try_into().map_err(|_| wrong())?;
    let word = |at: usize| u64::from_le_bytes(stored[at..at + 8].try_into().expect("eight bytes"));
    Ok((word(0), stored[8] != 0, (word(9), word(17))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// The place behind some bytes that were read in pieces.
    fn place(bytes: &[u8], piece: usize) -> Place {
        let mut place = Place::default();
        bytes.chunks(piece).for_each(|piece| place.pass(piece));
        if bytes.last() != Some(&b'\n') {
            place.end();
        }
        place
    }

    fn resume(text: &[u8], stored: &[u8]) -> Result<Place, LogicError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        let place = Place::resume(&mut file, &"x".into(), stored)?;
        assert_eq!(file.stream_position().unwrap(), place.offset);
        Ok(place)
    }

    #[test]
    fn a_file_is_known_by_its_bytes_whatever_the_pieces() {
        let text: Vec<u8> = (0..40_000_u32).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        for offset in [0_usize, 1, 2, 4095, 4096, 4097, 8191, 8193, 100_000] {
            let mut text = text.clone();
            text[offset.saturating_sub(1)] = b'\n';
            text[119_999] = b'\n';
            let stored = place(&text[..offset], 7).to_bytes();
            for piece in [1, 100, 4096, 5000, 100_000] {
                assert_eq!(place(&text[..offset], piece).to_bytes(), stored);
            }
            let mut resumed = resume(&text, &stored).unwrap();
            assert_eq!(resumed.offset as usize, offset);
            // What is noted from there on is the same, too.
            resumed.pass(&text[resumed.offset as usize..120_000]);
            assert_eq!(resumed.to_bytes(), place(&text[..120_000], 999).to_bytes());
        }
    }

    #[test]
    fn another_file_in_its_place_is_refused() {
        let mut text: Vec<u8> = (0..5000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        text[19_999] = b'\n';
        let stored = place(&text[..20_000], 512).to_bytes();
        let said = |text: &[u8]| resume(text, &stored).unwrap_err().message;
        let changed = |at: usize| {
            let mut text = text.clone();
            text[at] ^= 1;
            text
        };
        assert_eq!(said(&text[..19_999]), "x has 19999 bytes, and 20000 were read before: it was cut or replaced");
        assert_eq!(said(&changed(0)), "x was replaced: its beginning is not what was read before");
        assert_eq!(said(&changed(19_999)), "x was changed before byte 20000, up to which it was read");
        assert!(resume(&changed(20_000), &stored).is_ok());
        assert!(Place::resume(&mut tempfile::tempfile().unwrap(), &"x".into(), b"12345678").is_err());
    }

    #[test]
    fn a_last_line_without_an_end_may_get_one_and_nothing_else() {
        let stored = place(b"a\nb", 2).to_bytes();
        for (text, wanted) in [
            ("a\nb", Some(3)),
            ("a\nb\n", Some(4)),
            ("a\nb\r\nc\n", Some(5)),
            ("a\nb\nc\n", Some(4)),
            ("a\nbc\n", None),
            ("a\nb\rc", None),
        ] {
            let place = resume(text.as_bytes(), &stored);
            assert_eq!(place.as_ref().ok().map(|place| place.offset), wanted, "{text:?}");
            if let Err(error) = place {
                assert!(error.message.ends_with("this last line has grown since"), "{error}");
            }
        }
    }
}
