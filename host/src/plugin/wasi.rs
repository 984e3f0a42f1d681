//! What a guest may do with the machine: nothing, but for what the flow allows its plugin.
//!
//! Clocks and randomness are always there. What a guest prints becomes log lines of its step; the end of its stderr is
//! kept, since a Rust guest's panic leaves its text there and nowhere else.

use crate::data::ids::{StepId, WorkerIndex};
use crate::dataflow::env::{Clock, Env};
use bytes::Bytes;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tracing::Level;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{FsPerms, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder};

/// How much of a guest's stderr is kept for messages.
const KEPT: usize = 4096;
/// A line longer than this is logged in pieces.
pub(super) const LINE: usize = 8192;
/// What a guest may write between two looks at its permission.
const PERMIT: usize = 64 << 10;

/// What a flow allows a plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// Where it may connect to by TCP: `host:port`.
    pub tcp: Vec<String>,
    /// The environment variables that it sees.
    pub env: Vec<String>,
    /// The directories that it sees.
    pub dirs: Vec<AllowDir>,
}

/// A directory that a plugin may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowDir {
    /// Where it is.
    pub path: PathBuf,
    /// What the plugin calls it.
    pub name: String,
    pub can_write: bool,
}

/// Whose guest it is, for log lines.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) plugin: Arc<str>,
    pub(super) step: StepId,
    pub(super) worker: WorkerIndex,
}

impl Owner {
    /// Writes a line to the log.
    pub(super) fn log(&self, level: Level, line: &str) {
        let (plugin, step, worker) = (&*self.plugin, &*self.step.0, self.worker.0);
        // The macro wants its level to be constant.
        match level {
            Level::ERROR => tracing::error!(target: "plugin", plugin, step, worker, "{line}"),
            Level::WARN => tracing::warn!(target: "plugin", plugin, step, worker, "{line}"),
            Level::INFO => tracing::info!(target: "plugin", plugin, step, worker, "{line}"),
            Level::DEBUG => tracing::debug!(target: "plugin", plugin, step, worker, "{line}"),
            Level::TRACE => tracing::trace!(target: "plugin", plugin, step, worker, "{line}"),
        }
    }
}

/// Makes the WASI side of an instance, and the keeper of its stderr.
///
/// # Errors
/// A directory that is allowed is not there, or an address is none.
pub(super) fn context(allow: &Allow, owner: &Owner, env: &Env) -> Result<(WasiCtx, Printed), String> {
    let printed = Printed::new(owner.clone(), Level::WARN);
    let mut builder = WasiCtxBuilder::new();
    builder
        .allow_blocking_current_thread(true)
        .stdout(Printed::new(owner.clone(), Level::INFO))
        .stderr(printed.clone())
        .wall_clock(Time(Arc::clone(&env.clock)))
        .monotonic_clock(Time(Arc::clone(&env.clock)))
        .insecure_random_seed(u128::from(env.random.next()) << 64 | u128::from(env.random.next()));
    for name in &allow.env {
        if let Ok(value) = std::env::var(name) {
            builder.env(name, value);
        }
    }
    for dir in &allow.dirs {
        let perms = if dir.can_write { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        let opened = builder.preopened_dir(&dir.path, &dir.name, perms);
        opened.map_err(|error| {
            format!(
                "the directory {} that plugin \"{}\" is allowed cannot be opened: {error}",
                dir.path.display(),
                owner.plugin
            )
        })?;
    }
    if !allow.tcp.is_empty() {
        let allowed: Vec<Address> = allow.tcp.iter().map(|text| Address::parse(text)).collect::<Result<_, _>>()?;
        let allowed = Arc::new(allowed);
        builder.allow_tcp(true).allow_ip_name_lookup(allowed.iter().any(|address| matches!(address, Address::Name(_))));
        builder.socket_addr_check(move |address, usage| {
            let allowed = Arc::clone(&allowed);
            Box::pin(async move { may_use(&allowed, address, usage) })
                as Pin<Box<dyn Future<Output = bool> + Send + Sync>>
        });
    }
    Ok((builder.build(), printed))
}

/// A place that a plugin may connect to.
#[derive(Debug, PartialEq, Eq)]
enum Address {
    Fixed(SocketAddr),
    /// `host:port`; looked up when the guest connects, since it may move.
    Name(String),
}

impl Address {
    fn parse(text: &str) -> Result<Address, String> {
        if let Ok(address) = text.parse() {
            return Ok(Address::Fixed(address));
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && !host.contains(':') && port.parse::<u16>().is_ok() => {
                Ok(Address::Name(text.to_owned()))
            }
            _ => Err(format!("{text:?} is no address to connect to; write it as \"host:port\"")),
        }
    }
}

/// Decides about one use of an address. A connection first binds to any free port, which must be allowed too.
fn may_use(allowed: &[Address], address: SocketAddr, usage: SocketAddrUse) -> bool {
    match usage {
        SocketAddrUse::TcpBind => address.ip().is_unspecified() && address.port() == 0,
        SocketAddrUse::TcpConnect => allowed.iter().any(|place| match place {
            Address::Fixed(fixed) => same(*fixed, address),
            Address::Name(name) => {
                name.to_socket_addrs().is_ok_and(|mut found| found.any(|found| same(found, address)))
            }
        }),
        _ => false,
    }
}

/// Compares addresses whatever the family that they are written in.
fn same(a: SocketAddr, b: SocketAddr) -> bool {
    let plain = |ip: IpAddr| ip.to_canonical();
    plain(a.ip()) == plain(b.ip()) && a.port() == b.port()
}

/// The clocks of a guest are those of the engine.
struct Time(Arc<dyn Clock>);

impl HostWallClock for Time {
    fn resolution(&self) -> Duration {
        Duration::from_micros(1)
    }

    fn now(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.now().0).unwrap_or(0))
    }
}

impl HostMonotonicClock for Time {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What a guest prints, line by line into the log, with its end kept.
#[derive(Clone)]
pub(super) struct Printed {
    owner: Owner,
    level: Level,
    text: Arc<Mutex<Text>>,
}

#[derive(Default)]
struct Text {
    /// The line that is not finished.
    line: Vec<u8>,
    kept: VecDeque<u8>,
}

impl Printed {
    fn new(owner: Owner, level: Level) -> Printed {
        Printed { owner, level, text: Arc::default() }
    }

    /// Returns the end of what was printed.
    pub(super) fn tail(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: Vec<u8> = text.kept.iter().copied().collect();
        String::from_utf8_lossy(&kept).trim().to_owned()
    }

    fn print(&self, bytes: &[u8]) {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.kept.extend(&bytes[bytes.len().saturating_sub(KEPT)..]);
        let surplus = text.kept.len().saturating_sub(KEPT);
        text.kept.drain(..surplus);
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            text.line.extend(piece);
            if text.line.ends_with(b"\n") || text.line.len() >= LINE {
                let line = std::mem::take(&mut text.line);
                let line = String::from_utf8_lossy(line.trim_ascii_end());
                if !line.is_empty() {
                    self.owner.log(self.level, &line);
                }
            }
        }
    }
}

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printed {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl OutputStream for Printed {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.print(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Printed {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Printed {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.print(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner { plugin: "p".into(), step: "s".into(), worker: WorkerIndex(0) }
    }

    #[test]
    fn the_end_of_what_is_printed_is_kept() {
        let printed = Printed::new(owner(), Level::WARN);
        printed.print(b"first\nsecond");
        printed.print(b" half\n");
        assert_eq!(printed.tail(), "first\nsecond half");
        printed.print(&vec![b'x'; 3 * LINE]);
        assert_eq!(printed.tail(), "x".repeat(KEPT));
        assert!(printed.text.lock().unwrap().line.len() < LINE);
    }

    #[test]
    fn an_address_to_connect_to_has_a_host_and_a_port() {
        assert_eq!(Address::parse("127.0.0.1:80"), Ok(Address::Fixed(([127, 0, 0, 1], 80).into())));
        assert!(matches!(Address::parse("[::1]:80"), Ok(Address::Fixed(_))));
        assert_eq!(Address::parse("db.local:5432"), Ok(Address::Name("db.local:5432".to_owned())));
        for text in ["", "db", "db:", ":80", "db:http", "1:2:3"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_allowed_places_are_connected_to() {
        let allowed = [Address::parse("127.0.0.1:80").unwrap(), Address::parse("localhost:90").unwrap()];
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (address, usage, expected) in [
            ("0.0.0.0:0", SocketAddrUse::TcpBind, true),
            ("[::]:0", SocketAddrUse::TcpBind, true),
            ("0.0.0.0:80", SocketAddrUse::TcpBind, false),
            ("127.0.0.1:0", SocketAddrUse::TcpBind, false),
            ("127.0.0.1:80", SocketAddrUse::TcpConnect, true),
            ("[::ffff:127.0.0.1]:80", SocketAddrUse::TcpConnect, true),
            ("127.0.0.1:81", SocketAddrUse::TcpConnect, false),
            ("127.0.0.1:90", SocketAddrUse::TcpConnect, true),
            ("10.0.0.1:90", SocketAddrUse::TcpConnect, false),
            ("127.0.0.1:80", SocketAddrUse::UdpBind, false),
        ] {
            assert_eq!(may_use(&allowed, at(address), usage), expected, "{address} {usage:?}");
        }
    }
}
