//! A JSON file in pieces: the entries of the lists of its top level, one at a time.
//!
//! A parser that reads a stream byte by byte takes several times as long as one that has the text in memory. So pieces are cut out of the
//! stream by their brackets, and each is handed to the parser as a whole, which also checks it: a bracket that closes another kind, or
//! what stands between brackets, is none of this file's business.

use std::io::{self, Read};

/// Bytes read at a time.
const BLOCK: usize = 1 << 20;

/// What stops the cutting.
#[derive(Debug)]
pub(super) enum Stop {
    /// The file cannot be read.
    Io(io::Error),
    /// It is not JSON, or not of the form that is asked for: a parser of the whole file says why.
    Broken,
}

/// A JSON file that is read from its start to its end.
pub(super) struct Pieces<R> {
    reader: R,
    buffer: Vec<u8>,
    /// The next byte in the buffer.
    at: usize,
    /// Bytes of the file before the buffer.
    before: u64,
}

impl<R: Read> Pieces<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), at: 0, before: 0 }
    }

    /// Bytes of the file up to here.
    pub fn offset(&self) -> u64 {
        self.before + self.at as u64
    }

    /// The next byte that is no white space, which is not taken; `None` at the end of the file.
    pub fn peek(&mut self) -> Result<Option<u8>, Stop> {
        loop {
            let rest = &self.buffer[self.at..];
            match rest.iter().position(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t')) {
                Some(blank) => {
                    self.at += blank;
                    return Ok(Some(self.buffer[self.at]));
                }
                None => {
                    self.at = self.buffer.len();
                    if self.read_on()? == 0 {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Takes the next byte that is no white space, which must be this one.
    pub fn expect(&mut self, byte: u8) -> Result<(), Stop> {
        match self.peek()? {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            _ => Err(Stop::Broken),
        }
    }

    /// Whether a list or an object, whose opening bracket and `first` entry state are known, has another entry; takes the comma before it or
    /// the bracket `close` after the last.
    pub fn has_next(&mut self, first: bool, close: u8) -> Result<bool, Stop> {
        match self.peek()? {
            Some(found) if found == close => {
                self.at += 1;
                Ok(false)
            }
            Some(_) if first => Ok(true),
            Some(b',') => {
                self.at += 1;
                // A comma after the last entry is for none to take.
                if self.peek()? == Some(close) { Err(Stop::Broken) } else { Ok(true) }
            }
            _ => Err(Stop::Broken),
        }
    }

    /// Takes the next value, whatever it is.
    pub fn value(&mut self) -> Result<&[u8], Stop> {
        self.peek()?;
        let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
        let mut length = 0;
        loop {
            let Some(&byte) = self.buffer.get(self.at + length) else {
                if self.read_on()? == 0 {
                    // A number may end with the file; all else has a last byte of its own.
                    return if depth == 0 && !in_text && length > 0 {
                        Ok(self.take(length))
                    } else {
                        Err(Stop::Broken)
                    };
                }
                continue;
            };
            if in_text {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => in_text = false,
                    _ => {}
                }
                length += 1;
                if !in_text && depth == 0 {
                    return Ok(self.take(length));
                }
                continue;
            }
            match byte {
                b'"' if depth == 0 && length > 0 => return Ok(self.take(length)),
                b'"' => in_text = true,
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth > 1 => depth -= 1,
                b'}' | b']' if depth == 1 => return Ok(self.take(length + 1)),
                // The end of a number or a word.
                b'}' | b']' | b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' if depth == 0 => {
                    return if length > 0 { Ok(self.take(length)) } else { Err(Stop::Broken) };
                }
                _ => {}
            }
            length += 1;
        }
    }

    fn take(&mut self, length: usize) -> &[u8] {
        self.at += length;
        &self.buffer[self.at - length..self.at]
    }

    /// Reads another block behind what is not taken yet; gives its bytes, 0 at the end of the file.
    fn read_on(&mut self) -> Result<usize, Stop> {
        self.before += self.at as u64;
        self.buffer.drain(..self.at);
        self.at = 0;
        // A piece longer than a block doubles it, so that what is moved stays in proportion.
        let more = BLOCK.max(self.buffer.len());
        self.reader.by_ref().take(more as u64).read_to_end(&mut self.buffer).map_err(Stop::Io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(into.len()).min(self.0.len());
            into[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    /// The entries of a list, or `None` where it is broken.
    fn entries(text: &str, step: usize) -> Option<Vec<String>> {
        let mut pieces = Pieces::new(Slow(text.as_bytes(), step));
        let mut found = Vec::new();
        pieces.expect(b'[').ok()?;
        while pieces.has_next(found.is_empty(), b']').ok()? {
            found.push(String::from_utf8(pieces.value().ok()?.to_vec()).unwrap());
        }
        assert!(pieces.offset() <= text.len() as u64);
        if pieces.peek().ok()?.is_none() { Some(found) } else { None }
    }

    #[test]
    fn entries_are_cut_at_their_own_brackets_however_they_are_read() {
        for step in [1, 2, 7, 1000] {
            let text = r#" [ {"a": "]}\"{", "b": [1, {"c": [] }]} ,[2,[3]], "x\\" , -1.5e3,true
                , null , {} ,"" ] "#;
            let expected = [
                r#"{"a": "]}\"{", "b": [1, {"c": [] }]}"#,
                "[2,[3]]",
                r#""x\\""#,
                "-1.5e3",
                "true",
                "null",
                "{}",
                r#""""#,
            ];
            assert_eq!(entries(text, step).unwrap(), expected, "{step} bytes at a time");
            assert_eq!(entries("[]", step).unwrap(), [""; 0]);
        }
    }

    #[test]
    fn what_does_not_close_or_has_too_many_commas_is_broken() {
        for text in
            ["", "[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[{]", "[\"a]", "[\"a\\\"]", "[1]]", "[1],", "x"]
        {
            assert_eq!(entries(text, 3), None, "{text}");
        }
    }

    #[test]
    fn a_piece_may_be_longer_than_a_block() {
        let long = format!("\"{}\"", "x".repeat(3 * BLOCK));
        let text = format!("[{long}, {long}]");
        assert_eq!(entries(&text, BLOCK / 3).unwrap(), [long.clone(), long]);
    }
}
