//! Paths of a flow, looked at before it runs: what cannot be read or written is refused with what to do instead.

use crate::catalog::cx::ConnectorCx;
use crate::diag::{Diagnostic, Diagnostics, nearest};
use crate::spec::Spanned;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// How much of a file is looked at for signs that it is no text.
const LOOK: usize = 8 << 10;

/// Looks at a file that is to be read as text.
///
/// # Errors
/// It is not there, is a folder, cannot be read, or is no text.
pub(super) fn text_file(cx: &ConnectorCx<'_>, path: &Spanned<String>) -> Result<PathBuf, Diagnostics> {
    let found = file(cx, path)?;
    // Pipes and devices are read once, by the run.
    if !found.is_file() {
        return Ok(found);
    }
    let mut head = Vec::new();
    let read = File::open(&found).and_then(|file| file.take(LOOK as u64).read_to_end(&mut head));
    if let Err(error) = read {
        return Err(refused(cx, path, &error).into());
    }
    match not_text(&head) {
        Some((what, help)) => {
            let message = format!("{}: {:?} is {what}", cx.what(), path.value);
            Err(Diagnostic::new("io-not-text", message).at(path.span.clone()).help(help).into())
        }
        None => Ok(found),
    }
}

/// Looks at a file that is to be read.
///
/// # Errors
/// It is not there, is a folder, or cannot be read.
pub(super) fn file(cx: &ConnectorCx<'_>, path: &Spanned<String>) -> Result<PathBuf, Diagnostics> {
    let found = cx.path(&path.value);
    match fs::metadata(&found) {
        Ok(metadata) if metadata.is_dir() => {
            let message = format!("{}: {:?} is a folder, wanted a file", cx.what(), path.value);
            let help = format!("to read all files in it: source = {{ dir = {:?}, glob = \"*\" }}", path.value);
            Err(Diagnostic::new("io-is-directory", message).at(path.span.clone()).help(help).into())
        }
        Ok(_) => Ok(found),
        Err(error) => Err(refused(cx, path, &error).into()),
    }
}

/// Looks at a folder that is to be read.
///
/// # Errors
/// It is not there, is no folder, or cannot be read.
pub(super) fn folder(cx: &ConnectorCx<'_>, path: &Spanned<String>) -> Result<PathBuf, Diagnostics> {
    let found = cx.path(&path.value);
    let listed = fs::metadata(&found).and_then(|metadata| match metadata.is_dir() {
        true => fs::read_dir(&found).map(drop),
        false => Err(ErrorKind::NotADirectory.into()),
    });
    match listed {
        Ok(()) => Ok(found),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            let message = format!("{}: {:?} is a file, wanted a folder", cx.what(), path.value);
            let help = format!("to read a single file: source = {{ file = {:?} }}", path.value);
            Err(Diagnostic::new("io-not-directory", message).at(path.span.clone()).help(help).into())
        }
        Err(error) => Err(refused(cx, path, &error).into()),
    }
}

/// Looks at a path that a sink is to write a file to. Whether it can be written shows when the flow starts.
///
/// # Errors
/// There is a folder.
pub(super) fn file_to_write(cx: &ConnectorCx<'_>, path: &Spanned<String>) -> Result<PathBuf, Diagnostics> {
    let target = cx.path(&path.value);
    if path.value.is_empty() || path.value.ends_with('/') || target.is_dir() {
        let message = format!("{}: {:?} is a folder, wanted the path of a file", cx.what(), path.value);
        let help = "name a file in it, or write several files with sink = { dir = \"…\" }";
        return Err(Diagnostic::new("io-is-directory", message).at(path.span.clone()).help(help).into());
    }
    Ok(target)
}

/// Looks at a path that a sink is to make files in.
///
/// # Errors
/// There is a file of that name.
pub(super) fn folder_to_write(cx: &ConnectorCx<'_>, path: &Spanned<String>) -> Result<PathBuf, Diagnostics> {
    let target = cx.path(&path.value);
    if target.exists() && !target.is_dir() {
        let message = format!("{}: {:?} is a file, wanted a folder", cx.what(), path.value);
        let help = "name another folder; it is made if it is not there";
        return Err(Diagnostic::new("io-not-directory", message).at(path.span.clone()).help(help).into());
    }
    Ok(target)
}

/// Says that a path cannot be read.
pub(super) fn refused(cx: &ConnectorCx<'_>, path: &Spanned<String>, error: &std::io::Error) -> Diagnostic {
    let what = cx.what();
    let diagnostic = match error.kind() {
        ErrorKind::NotFound => {
            let message = format!("{what}: {:?} does not exist", path.value);
            Diagnostic::new("io-not-found", message).help(not_found(cx, &path.value))
        }
        ErrorKind::PermissionDenied => {
            let message = format!("{what}: {:?} cannot be read: permission denied", path.value);
            Diagnostic::new("io-permission", message).help("let the user that runs wxhost read it")
        }
        _ => Diagnostic::new("io-unreadable", format!("{what}: {:?} cannot be read: {error}", path.value)),
    };
    diagnostic.at(path.span.clone())
}

fn not_found(cx: &ConnectorCx<'_>, path: &str) -> String {
    let found = cx.path(path);
    let name = found.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let near = found.parent().and_then(|parent| near(parent, &name));
    match near {
        Some(near) => format!("there is {near:?} beside it; did you mean that?"),
        None if Path::new(path).is_absolute() => "check the path".to_owned(),
        None => format!("paths start from the flow's folder, so this is {}", found.display()),
    }
}

fn near(folder: &Path, name: &str) -> Option<String> {
    let entries = fs::read_dir(folder).ok()?;
    let mut names: Vec<String> =
        entries.take(1000).flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
}

/// Tells by the start of a file that it is no text, and what it is and what to do.
pub(super) fn not_text(head: &[u8]) -> Option<(&'static str, &'static str)> {
    const UNPACK: &str = "unpack it first, or pipe it: zcat … | wxhost run, with source = \"stdin\"";
    let by_magic = [
        (&b"\x1f\x8b"[..], "gzip-compressed", UNPACK),
        (&b"\x28\xb5\x2f\xfd"[..], "zstd-compressed", UNPACK),
        (&b"PK\x03\x04"[..], "a zip archive", "unpack it first"),
        (&b"PAR1"[..], "a Parquet file", "read it with source = { parquet = \"…\" }"),
        (&b"\xff\xfe"[..], "UTF-16 text", "convert it first: iconv -f utf-16 -t utf-8"),
        (&b"\xfe\xff"[..], "UTF-16 text", "convert it first: iconv -f utf-16 -t utf-8"),
    ];
    let known = by_magic.into_iter().find(|(magic, _, _)| head.starts_with(magic));
    match known {
        Some((_, what, help)) => Some((what, help)),
        None if memchr::memchr(0, &head[..head.len().min(LOOK)]).is_some() => {
            Some(("a binary file, not text", "name a text file, or read it with a connector for its kind"))
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_text_are_told_by_their_start() {
        for (head, what) in [
            (&b"{\"a\": 1}\n"[..], None),
            (b"", None),
            (b"\x1f\x8b\x08\x00", Some("gzip-compressed")),
            (b"PAR1....", Some("a Parquet file")),
            (b"\xff\xfea\0", Some("UTF-16 text")),
            (b"\x7fELF\x02\x01\x01\0", Some("a binary file, not text")),
        ] {
            assert_eq!(not_text(head).map(|(what, _)| what), what, "{head:?}");
        }
    }
}
