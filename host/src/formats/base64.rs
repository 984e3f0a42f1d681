//! Bytes in JSON and CSV: base64 with the standard alphabet.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Writes bytes as base64, with padding.
pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let is_padding = place > group.len();
            out.push(if is_padding { b'=' } else { ALPHABET[(bits >> (18 - 6 * place) & 63) as usize] });
        }
    }
}

/// Reads base64, padded or not. Returns false, with some bytes written, if the text is something else.
pub(crate) fn decode(text: &[u8], out: &mut Vec<u8>) -> bool {
    let text = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    for group in text.chunks(4) {
        let mut bits = 0;
        for place in 0..4 {
            let digit = match group.get(place).copied() {
                None => 0,
                Some(c @ b'A'..=b'Z') => c - b'A',
                Some(c @ b'a'..=b'z') => c - b'a' + 26,
                Some(c @ b'0'..=b'9') => c - b'0' + 52,
                Some(b'+') => 62,
                Some(b'/') => 63,
                Some(_) => return false,
            };
            bits = bits << 6 | u32::from(digit);
        }
        if group.len() == 1 {
            return false;
        }
        out.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_back() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("ÿþ?", "w7/Dvj8=")]
        {
            let mut out = Vec::new();
            encode(bytes.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
            let mut out = Vec::new();
            assert!(decode(text.as_bytes(), &mut out));
            assert_eq!(out, bytes.as_bytes());
            assert!(decode(text.trim_end_matches('=').as_bytes(), &mut Vec::new()));
        }
        for bad in ["A", "a b=", "=Zg=", "Zg-_"] {
            assert!(!decode(bad.as_bytes(), &mut Vec::new()), "{bad}");
        }
    }
}
