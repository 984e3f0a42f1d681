//! Reads bytes in blocks and cuts them at the ends of records.

use super::identity::Place;
use super::paths::not_text;
use crate::dataflow::error::LogicError;
use crate::dataflow::source::{Piece, Read, Reader};
use crate::formats::Framer;
use std::io::{ErrorKind, Read as _};

/// Bytes that are read at a time.
pub(super) const BLOCK: usize = 512 << 10;

/// How much is taken from the input before records are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// A whole block: files.
    Block,
    /// What is there: pipes and terminals, whose rows should not wait for others.
    Present,
}

/// Reads whole records of a partition of text.
pub(super) struct BlockReader<R> {
    input: R,
    /// The input, for messages.
    name: String,
    framer: Box<dyn Framer>,
    fill: Fill,
    block: usize,
    /// What was read and not handed out.
    buffer: Vec<u8>,
    /// Where the buffer starts.
    place: Place,
    at_end: bool,
}

impl<R: std::io::Read> BlockReader<R> {
    /// Reads from an input that stands at `place`.
    pub fn new(input: R, name: String, framer: Box<dyn Framer>, fill: Fill, block: usize, place: Place) -> Self {
        BlockReader { input, name, framer, fill, block, buffer: Vec::new(), place, at_end: false }
    }

    /// Reads some more, and notes the end.
    fn read_more(&mut self) -> Result<(), LogicError> {
        let is_start = self.place.offset == 0 && self.buffer.is_empty();
        let before = self.buffer.len();
        let result = match self.fill {
            Fill::Block => self.input.by_ref().take(self.block as u64).read_to_end(&mut self.buffer).map(|read| {
                self.at_end = read < self.block;
            }),
            Fill::Present => {
                self.buffer.resize(before + self.block, 0);
                let read = loop {
                    match self.input.read(&mut self.buffer[before..]) {
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        read => break read,
                    }
                };
                self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
                read.map(|read| self.at_end = read == 0)
            }
        };
        result.map_err(|error| LogicError::io(format!("cannot read {}", self.name), &error))?;
        match not_text(&self.buffer).filter(|_| is_start) {
            Some((what, help)) => Err(LogicError::user(format!("{} is {what}", self.name)).help(help)),
            None => Ok(()),
        }
    }
}

impl<R: std::io::Read + Send> Reader for BlockReader<R> {
    /// A pipe or a terminal waits for whoever writes.
    fn is_live(&self) -> bool {
        self.fill == Fill::Present
    }

    fn read(&mut self) -> Result<Read, LogicError> {
        loop {
            if !self.at_end {
                self.read_more()?;
            } else if self.buffer.is_empty() {
                return Ok(Read::End);
            }
            let whole = self.framer.complete(&self.buffer, self.at_end);
            let whole = whole.map_err(|error| LogicError::user(format!("{}: {error}", self.name)))?;
            if whole > 0 {
                let mut rest = Vec::with_capacity(self.buffer.len() - whole + self.block);
                rest.extend_from_slice(&self.buffer[whole..]);
                let mut records = std::mem::replace(&mut self.buffer, rest);
                records.truncate(whole);
                self.place.pass(&records);
                if self.at_end && self.buffer.is_empty() {
                    self.place.end();
                }
                return Ok(Read::Piece { data: Piece::Bytes(records), position: self.place.to_bytes() });
            }
            if self.at_end && !self.buffer.is_empty() {
                return Err(LogicError::internal(format!("{} ends within a record", self.name)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::LineFramer;

    fn pieces(input: &[u8], fill: Fill, block: usize) -> Vec<(String, u64)> {
        let mut reader = BlockReader::new(input, "x".into(), Box::new(LineFramer), fill, block, Place::default());
        let mut pieces = Vec::new();
        while let Read::Piece { data: Piece::Bytes(bytes), position: at } = reader.read().unwrap() {
            let offset = u64::from_le_bytes(at[..8].try_into().unwrap());
            pieces.push((String::from_utf8(bytes).unwrap(), offset));
        }
        pieces
    }

    #[test]
    fn pieces_are_whole_lines_whatever_the_block() {
        for fill in [Fill::Block, Fill::Present] {
            for block in 1..12 {
                for text in ["", "a", "a\n", "one\ntwo\nthree", "\n\n\nlong line here\nb\n"] {
                    let pieces = pieces(text.as_bytes(), fill, block);
                    let whole: String = pieces.iter().map(|(piece, _)| piece.as_str()).collect();
                    assert_eq!(whole, text, "{fill:?} {block}");
                    for (index, (piece, position)) in pieces.iter().enumerate() {
                        assert!(piece.ends_with('\n') || index + 1 == pieces.len(), "{pieces:?}");
                        let before: usize = pieces[..=index].iter().map(|(piece, _)| piece.len()).sum();
                        assert_eq!(*position, before as u64);
                    }
                }
            }
        }
    }

    #[test]
    fn a_binary_input_is_refused() {
        let mut reader =
            BlockReader::new(&b"\x7fELF\0\0"[..], "x".into(), Box::new(LineFramer), Fill::Block, 99, Place::default());
        let Err(error) = reader.read() else { panic!("refused") };
        assert_eq!(error.message, "x is a binary file, not text");
    }
}
