//! The text of a host with or without a port.

use std::net::{IpAddr, Ipv6Addr};

/// A host as written: a name or an address (IPv6 without brackets), and the port if one is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrittenHost {
    /// In lower case.
    pub host: String,
    /// The port, if it is named.
    pub port: Option<u16>,
}

/// Reads `name`, `name:port`, `1.2.3.4:port`, `::1`, `[::1]` or `[::1]:port`.
pub(super) fn parse(text: &str) -> Option<WrittenHost> {
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(WrittenHost { host: address.to_string(), port: None });
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let host = address.parse::<Ipv6Addr>().ok()?.to_string();
        return Some(WrittenHost { host, port: port_after_colon(rest).ok()? });
    }
    let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
    is_name(name).then_some(())?;
    Some(WrittenHost { host: name.to_ascii_lowercase(), port: port_after_colon(rest).ok()? })
}

/// Whether the host is this machine itself.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `""` is no port; `:80` is one; anything else is a fault.
fn port_after_colon(text: &str) -> Result<Option<u16>, NoPort> {
    if text.is_empty() {
        return Ok(None);
    }
    let digits = text.strip_prefix(':').ok_or(NoPort)?;
    let port = digits.parse::<u16>().ok().filter(|port| *port > 0 && !digits.starts_with('+'));
    port.map(Some).ok_or(NoPort)
}

/// What stands after the host is no port.
struct NoPort;

fn is_name(name: &str) -> bool {
    let fits = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_');
    (1..=255).contains(&name.len()) && name.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_with_and_without_port() {
        let cases = [
            ("a", "a", None),
            ("Db-1.Example.COM:3307", "db-1.example.com", Some(3307)),
            ("127.0.0.1:1", "127.0.0.1", Some(1)),
            ("::1", "::1", None),
            ("[::1]", "::1", None),
            ("[2001:DB8::1]:3306", "2001:db8::1", Some(3306)),
        ];
        for (text, host, port) in cases {
            assert_eq!(parse(text), Some(WrittenHost { host: host.to_owned(), port }), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in ["", ":", "a:", ":1", "a:0", "a:65536", "a:+1", "a:b", "[::1", "[::1]x", "[a]", "::1]:3", "a b"] {
            assert_eq!(parse(text), None, "{text}");
        }
        for text in ["http://a", "a/b", "ann@a", "\"a\"", "*.a", "bücher", "a:1:2", "fe80::1%eth0"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn loopback_is_this_machine() {
        for host in ["localhost", "127.0.0.1", "127.8.9.10", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["db", "10.0.0.1", "::2", "localhost.example.com"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
