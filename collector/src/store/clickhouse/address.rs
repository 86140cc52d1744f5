//! Reads the address of a ClickHouse store: `clickhouse://user:password@host:port,host:port/database?cluster=NAME`.

use std::fmt;

use thiserror::Error;

/// Port of ClickHouse's HTTP interface.
const PORT: u16 = 8123;

/// Most hosts in an address; more servers than that are reached through those that are named.
const HOSTS_MAX: usize = 64;

/// Most replicas that an insert may wait for.
const QUORUM_MAX: u64 = 16;

/// Where the servers are, and how they are used.
#[derive(Clone, PartialEq, Eq)]
pub struct ClickHouseAddress {
    /// User; empty: the server's default one.
    pub(super) user: String,
    /// Password; may be empty.
    pub(super) password: String,
    /// Base URLs of the servers, without a slash at the end.
    pub(super) servers: Vec<String>,
    /// The database, made when it is not there.
    pub(super) database: String,
    /// The cluster over which tables are replicated and sharded; `None`: one server.
    pub(super) cluster: Option<String>,
    /// Replicas that must have an insert before it counts; 0: the one that took it.
    pub(super) quorum: u64,
}

/// Why an address is not understood.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{reason}; expected clickhouse://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?cluster=NAME, \
     of which only a host is needed"
)]
pub struct AddressError {
    reason: String,
}

impl ClickHouseAddress {
    /// Reads an address that begins with `clickhouse://`, or with `clickhouses://` for TLS.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let error = |reason: &str| AddressError { reason: reason.to_owned() };
        let (scheme, rest) = match text.split_once("://") {
            Some(("clickhouse", rest)) => ("http", rest),
            Some(("clickhouses", rest)) => ("https", rest),
            _ => return Err(error("address does not begin with clickhouse://")),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let servers: Vec<String> = hosts
            .split(',')
            .map(|host| server(scheme, host))
            .collect::<Result<_, String>>()
            .map_err(|reason| error(&reason))?;
        if servers.len() > HOSTS_MAX {
            return Err(error(&format!("address has more than {HOSTS_MAX} hosts")));
        }
        let database = if database.is_empty() { "flamewatch" } else { database };
        let mut address = Self {
            user: decode(user),
            password: decode(password),
            servers,
            database: name("database", database).map_err(|reason| error(&reason))?,
            cluster: None,
            quorum: 0,
        };
        for setting in query.split('&').filter(|setting| !setting.is_empty()) {
            address.set(setting).map_err(|reason| error(&reason))?;
        }
        Ok(address)
    }

    fn set(&mut self, setting: &str) -> Result<(), String> {
        match setting.split_once('=') {
            Some(("cluster", value)) => self.cluster = Some(name("cluster", value)?),
            Some(("quorum", value)) => {
                let quorum = value.parse().ok().filter(|quorum| *quorum <= QUORUM_MAX);
                let quorum = quorum.ok_or_else(|| {
                    format!("quorum `{value}` is not a number from 0 to {QUORUM_MAX}")
                })?;
                self.quorum = quorum;
            }
            _ => return Err(format!("setting `{setting}` is neither cluster=NAME nor quorum=N")),
        }
        Ok(())
    }
}

/// Without the password.
impl fmt::Display for ClickHouseAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "clickhouse://")?;
        for (index, server) in self.servers.iter().enumerate() {
            let host = server.split_once("://").map_or(server.as_str(), |(_, host)| host);
            write!(formatter, "{}{host}", if index == 0 { "" } else { "," })?;
        }
        write!(formatter, "/{}", self.database)?;
        match &self.cluster {
            Some(cluster) => write!(formatter, "?cluster={cluster}"),
            None => Ok(()),
        }
    }
}

/// Logs must not have the password.
impl fmt::Debug for ClickHouseAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

fn server(scheme: &str, host: &str) -> Result<String, String> {
    // A colon inside of brackets belongs to an IPv6 address.
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let is_host = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    if host.is_empty() || !host.chars().all(is_host) {
        return Err(format!("host `{host}` is none"));
    }
    Ok(if has_port { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{PORT}") })
}

/// A name that stands in SQL as it is.
fn name(what: &str, text: &str) -> Result<String, String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || text.len() > 64 || !text.chars().all(is_name) {
        return Err(format!("{what} `{text}` is not made of a-z A-Z 0-9 _"));
    }
    Ok(text.to_owned())
}

/// Turns `%40` into `@` and so on, in a user or a password.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_an_address_is_understood() {
        let text = "clickhouse://ops:p%40ss@ch-1:8124,ch-2,[::1]:9/profiles?cluster=main&quorum=2";
        let address = ClickHouseAddress::parse(text).unwrap();
        assert_eq!((address.user.as_str(), address.password.as_str()), ("ops", "p@ss"));
        assert_eq!(address.servers, ["http://ch-1:8124", "http://ch-2:8123", "http://[::1]:9"]);
        assert_eq!((address.database.as_str(), address.quorum), ("profiles", 2));
        assert_eq!(address.cluster.as_deref(), Some("main"));
        let short = ClickHouseAddress::parse("clickhouses://ch").unwrap();
        assert_eq!((short.servers[0].as_str(), short.cluster), ("https://ch:8123", None));
        assert_eq!(short.database, "flamewatch");
    }

    #[test]
    fn what_is_shown_has_no_password() {
        let address = ClickHouseAddress::parse("clickhouse://ops:secret@ch/db?cluster=c").unwrap();
        assert_eq!(address.to_string(), "clickhouse://ch:8123/db?cluster=c");
        assert!(!format!("{address:?}").contains("secret"));
    }

    #[test]
    fn a_wrong_address_says_what_is_wrong() {
        for (text, word) in [
            ("sqlite:x", "begin with"),
            ("clickhouse://", "host ``"),
            ("clickhouse://a b", "host `a b`"),
            ("clickhouse://a/x;y", "database `x;y`"),
            ("clickhouse://a?cluster=", "cluster ``"),
            ("clickhouse://a?quorum=99", "0 to 16"),
            ("clickhouse://a?fast=yes", "`fast=yes`"),
        ] {
            let error = ClickHouseAddress::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
