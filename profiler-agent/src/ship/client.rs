//! The gRPC client: sends one batch and says what the answer means for it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

use profiler_common::wire::v1::{self, ingest_client::IngestClient};
use profiler_common::wire::{PUSH_BYTES_MAX, RETRY_AFTER_MS, SEND, SEND_WHOLE};
use thiserror::Error;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri};
use tonic::{Code, Status};

use super::dictionary::Dictionary;
use crate::clock;

/// A collector that answers at all does so sooner; a batch of 16 MiB takes 13 s at 10 Mbit/s.
const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// A collector on the same continent answers a handshake in well under a second.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Why no client can be made for an address.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Not an address of a collector.
    #[error("`{url}` is not a collector's address: {why}; write it as http://HOST:7170")]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The certificate cannot be used.
    #[error("failed to set up TLS for the collector")]
    Tls(#[from] tonic::transport::Error),
}

/// What an answer means for the batch that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is stored, now or from an earlier try.
    Acknowledged,
    /// It will never be taken: sending it again is of no use.
    Rejected(String),
    /// Send it again later.
    Retry {
        /// What the collector says, or the network.
        why: String,
        /// After how long, where the collector says so.
        after: Option<Duration>,
    },
}

/// A connection to the collector, made when first used and made again when it breaks.
#[derive(Debug)]
pub struct Client {
    ingest: IngestClient<Channel>,
    dictionary: Dictionary,
}

impl Client {
    /// Prepares a connection; nothing is sent yet.
    ///
    /// `authority` is a PEM file with the certificate authority of an `https` collector; without it those of the
    /// system are trusted.
    ///
    /// # Errors
    ///
    /// When the address or the certificate is none.
    pub fn new(url: &str, authority: Option<&[u8]>) -> Result<Self, ClientError> {
        let mut endpoint = Self::endpoint(url)?;
        if endpoint.uri().scheme_str() == Some("https") {
            let tls = match authority {
                Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
                None => ClientTlsConfig::new().with_enabled_roots(),
            };
            endpoint = endpoint.tls_config(tls)?;
        }
        Ok(Self::over(endpoint.connect_lazy()))
    }

    /// Where the collector is and how long it may take, for a connection of one's own making.
    ///
    /// # Errors
    ///
    /// When the address is none.
    pub fn endpoint(url: &str) -> Result<Endpoint, ClientError> {
        Ok(Endpoint::from(parse_url(url)?)
            .connect_timeout(CONNECT_DEADLINE)
            .timeout(CALL_DEADLINE)
            .http2_keep_alive_interval(CALL_DEADLINE)
            .tcp_nodelay(true))
    }

    /// Sends over a connection that somebody else made.
    #[must_use]
    pub fn over(channel: Channel) -> Self {
        let ingest = IngestClient::new(channel)
            .send_compressed(CompressionEncoding::Zstd)
            .accept_compressed(CompressionEncoding::Zstd)
            .max_encoding_message_size(PUSH_BYTES_MAX);
        // Names of functions come from the processes of this host: none of them can choose two that collide.
        let seed = RandomState::new().build_hasher().finish();
        Self { ingest, dictionary: Dictionary::new(seed, fastrand::u64(..)) }
    }

    /// Sends one batch, without what the collector was told before, for as long as it knows that.
    pub async fn push(&mut self, batch: &v1::Batch) -> Answer {
        let mut answer = self.push_once(batch).await;
        if answer.as_ref().is_err_and(asks_for_the_whole) {
            tracing::debug!("the collector asks for all stacks anew");
            self.dictionary.forget(fastrand::u64(..));
            answer = self.push_once(batch).await;
        }
        match answer {
            Ok(v1::Outcome::Stored | v1::Outcome::Duplicate) => {
                self.dictionary.acknowledge();
                Answer::Acknowledged
            }
            Ok(v1::Outcome::Unspecified) => {
                let why = "the answer does not say that the batch is stored".to_owned();
                Answer::Retry { why, after: None }
            }
            Err(status) => judge(&status),
        }
    }

    async fn push_once(&mut self, batch: &v1::Batch) -> Result<v1::Outcome, Status> {
        let mut request = self.dictionary.write(batch);
        request.sent_unix_ns = clock::unix_ns();
        self.ingest.push(request).await.map(|response| response.into_inner().outcome())
    }
}

/// Checks that an address can be a collector's.
///
/// # Errors
///
/// When it has no host, or a scheme other than `http` and `https`.
pub fn parse_url(url: &str) -> Result<Uri, ClientError> {
    let bad = |why: &str| ClientError::BadUrl { url: url.to_owned(), why: why.to_owned() };
    let uri: Uri = url.parse().map_err(|error| bad(&format!("{error}")))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
        Some("http" | "https") => Err(bad("it has no host")),
        Some(_) => Err(bad("its scheme is neither http nor https")),
        None => Err(bad("it has no scheme")),
    }
}

/// The tonic server answers `OutOfRange` to a message above its limit: that batch never fits.
fn judge(status: &Status) -> Answer {
    let said = format!("{}: {}", status.code().description(), status.message());
    match status.code() {
        Code::InvalidArgument | Code::OutOfRange => Answer::Rejected(said),
        _ => Answer::Retry { why: said, after: retry_after(status) },
    }
}

fn asks_for_the_whole(status: &Status) -> bool {
    let send = status.metadata().get(SEND);
    status.code() == Code::FailedPrecondition && send.is_some_and(|send| send == SEND_WHOLE)
}

/// How long the collector asks to wait; whoever waits bounds it.
fn retry_after(status: &Status) -> Option<Duration> {
    let milliseconds = status.metadata().get(RETRY_AFTER_MS)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_cannot_be_collectors_are_refused_with_the_reason() {
        for (url, why) in [
            ("localhost:7170", "scheme"),
            ("collector", "scheme"),
            ("ftp://host", "neither http nor https"),
            ("http://", "http://"),
            ("", "empty string"),
        ] {
            let error = parse_url(url).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("http://HOST:7170"), "{url}: {error}");
        }
        assert!(parse_url("http://[::1]:7170").is_ok());
    }

    #[test]
    fn the_collectors_wishes_are_read_and_nonsense_is_not() {
        let mut status = Status::resource_exhausted("busy");
        for (text, after) in [("250", Some(250)), ("-1", None), ("soon", None)] {
            status.metadata_mut().insert(RETRY_AFTER_MS, text.parse().unwrap());
            let why = format!("{}: busy", status.code().description());
            let after = after.map(Duration::from_millis);
            assert_eq!(judge(&status), Answer::Retry { why, after }, "{text}");
        }
        let mut status = Status::failed_precondition("no such slot");
        assert!(!asks_for_the_whole(&status));
        status.metadata_mut().insert(SEND, SEND_WHOLE.parse().unwrap());
        assert!(asks_for_the_whole(&status));
    }

    #[test]
    fn only_a_batch_that_can_never_be_stored_is_given_up() {
        for code in 0..=16 {
            let code = Code::from_i32(code);
            let rejected = matches!(judge(&Status::new(code, "")), Answer::Rejected(_));
            assert_eq!(
                rejected,
                [Code::InvalidArgument, Code::OutOfRange].contains(&code),
                "{code:?}"
            );
        }
    }
}
