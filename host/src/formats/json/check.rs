//! What the parser lets pass in values it only skips, and what would break those who read them later.

/// The deepest nesting. Parsers recurse, here and in plugins, and stacks end.
///
/// An unoptimised build takes some 28 KiB of stack a level, which would end the 2 MiB of a thread before level 128.
pub(crate) const MAX_DEPTH: usize = if cfg!(debug_assertions) { 48 } else { 128 };

/// Refuses text that nests deeper than [`MAX_DEPTH`] or has an escape that means nothing.
///
/// Run before parsing: the parser's skipping of values recurses without a limit and takes any four characters after
/// `\u`. Costs one pass over short lines, as deep nesting takes many brackets and most lines have no backslash.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    if bytes.len() > MAX_DEPTH {
        // `[` and `{` differ in this bit only; a sum over all bytes is vectorised.
        let openers: usize = bytes
            .chunks(128)
            .map(|part| part.iter().map(|c| u8::from(c | 0x20 == b'{')).sum::<u8>())
            .map(usize::from)
            .sum();
        if openers > MAX_DEPTH {
            check_depth(bytes)?;
        }
    }
    match memchr::memchr(b'\\', bytes) {
        Some(first) => check_escapes(bytes, first),
        None => Ok(()),
    }
}

fn check_depth(text: &[u8]) -> Result<(), String> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(c) = text.get(at) {
        match c {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => at += string_length(&text[at + 1..]) + 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH} levels at column {}", at + 1));
        }
        at += 1;
    }
    Ok(())
}

/// Returns the number of bytes before the quote that ends a string.
fn string_length(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\\', text.get(at..).unwrap_or_default()) {
        at += found;
        if text[at] == b'"' {
            return at;
        }
        at += 2;
    }
    text.len()
}

/// Checks the escapes from the first backslash on. Outside strings a backslash is an error that the parser finds.
fn check_escapes(text: &[u8], first: usize) -> Result<(), String> {
    let refused = |at: usize| Err(format!("invalid JSON at column {}: invalid escape", at + 1));
    let mut at = first;
    loop {
        match text.get(at + 1) {
            Some(b'u') => match hex(text.get(at + 2..at + 6)) {
                Some(0xd800..=0xdbff) => {
                    let low = text.get(at + 6..at + 8).filter(|escape| escape == b"\\u").and(text.get(at + 8..at + 12));
                    if !matches!(hex(low), Some(0xdc00..=0xdfff)) {
                        return refused(at);
                    }
                    at += 12;
                }
                Some(0xdc00..=0xdfff) | None => return refused(at),
                Some(_) => at += 6,
            },
            _ => at += 2,
        }
        match memchr::memchr(b'\\', text.get(at..).unwrap_or_default()) {
            Some(next) => at += next,
            None => return Ok(()),
        }
    }
}

fn hex(digits: Option<&[u8]>) -> Option<u32> {
    let digits = digits?;
    digits.iter().try_fold(0, |sum, c| Some(sum * 16 + char::from(*c).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_limited_and_brackets_in_strings_do_not_count() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check(&nested(MAX_DEPTH)), Ok(()));
        let message = format!("nested deeper than {MAX_DEPTH} levels at column {}", MAX_DEPTH + 1);
        assert_eq!(check(&nested(MAX_DEPTH + 1)), Err(message));
        assert!(check(&"{\"a\":".repeat(1_000_000)).is_err());
        assert_eq!(check(&format!("[\"{}\\\"{}\"]", "[".repeat(1000), "{".repeat(1000))), Ok(()));
        assert_eq!(check(&"[],".repeat(10_000)), Ok(()));
        assert_eq!(check(&format!("{}\"open\\", "[".repeat(MAX_DEPTH))), Ok(()));
    }

    #[test]
    fn escapes_of_characters_must_be_characters() {
        for (text, is_right) in [
            (r#""\u00e9 \n \\u \\""#, true),
            (r#""\ud83d\ude00""#, true),
            (r#""\ud83d""#, false),
            (r#""\ud83d\n""#, false),
            (r#""\ude00""#, false),
            (r#""\u12""#, false),
            (r#""\u"abc""#, false),
            (r#""\u+123""#, false),
            (r#""\"#, true),
        ] {
            assert_eq!(check(text).is_ok(), is_right, "{text}");
        }
    }
}
