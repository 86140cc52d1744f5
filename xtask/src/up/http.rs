//! Asks a program on this host one question over HTTP, for which a client library would be too much.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

/// How long one question may take: the programs answer from memory or one local query.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest answer that is read: a catalogue of some thousand services.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Reads the body of `path` from the program that listens on `address`.
///
/// # Errors
///
/// When nobody answers, the answer is longer than 4 MiB, or its status is not 200.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<String> {
    get_within(address, path, (TIMEOUT, ANSWER_BYTES_MAX))
}

/// The same with limits of one's own: time between two parts of the answer, and its bytes.
///
/// # Errors
///
/// As [`get`].
pub(crate) fn get_within(
    address: SocketAddr,
    path: &str,
    (timeout, bytes_max): (Duration, u64),
) -> Result<String> {
    let address = reachable(address);
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)
        .with_context(|| format!("failed to connect to `{address}`"))?;
    stream.set_read_timeout(Some(timeout)).context("failed to limit the time of an answer")?;
    // In HTTP/1.0 the answer ends where the connection does: no chunks to put together.
    let question =
        format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: application/json\r\n\r\n");
    stream.write_all(question.as_bytes()).with_context(|| format!("failed to ask `{address}`"))?;
    let mut answer = Vec::new();
    stream
        .take(bytes_max)
        .read_to_end(&mut answer)
        .with_context(|| format!("failed to read the answer of `{address}`"))?;
    body(&String::from_utf8_lossy(&answer)).map(str::to_owned)
}

/// Returns where a program that listens on `address` is reached from this host.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Takes the body out of a whole answer.
fn body(answer: &str) -> Result<&str> {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        bail!("the answer is no HTTP");
    };
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("the answer is `{status}`");
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    fn answered(answer: &'static str) -> Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 1024];
            let length = stream.read(&mut question).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&question[..length]).into_owned()
        });
        let result = get(address, "/api/v1/services");
        assert!(server.join().unwrap().starts_with("GET /api/v1/services HTTP/1.0\r\n"));
        result
    }

    #[test]
    fn the_body_of_a_success_is_returned() {
        assert_eq!(answered("HTTP/1.0 200 OK\r\nA: b\r\n\r\n{\"a\":1}").unwrap(), "{\"a\":1}");
    }

    #[test]
    fn another_status_is_an_error_that_names_it() {
        let error = answered("HTTP/1.0 503 Service Unavailable\r\n\r\nno").unwrap_err();
        assert!(error.to_string().contains("503"), "{error}");
    }

    #[test]
    fn bytes_that_are_no_http_are_an_error() {
        assert!(answered("SSH-2.0").is_err());
    }

    #[test]
    fn a_program_that_listens_everywhere_is_reached_on_the_loopback() {
        let reached = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(reached("[::]:80"), "[::1]:80");
        assert_eq!(reached("127.0.0.2:80"), "127.0.0.2:80");
    }
}
