//! Networks: `169.254.0.0/16, fe80::/10`, or single addresses.

use super::reader::{Reader, shown};
use super::settings::HTTP_DENY_NETWORKS;
use ipnet::IpNet;
use std::net::IpAddr;

/// A set of networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkSet(Vec<IpNet>);

impl NetworkSet {
    /// Whether the address is in one of them. An IPv4 address written as IPv6 counts as what it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// The networks that are not called.
pub(super) fn denied(reader: &mut Reader<'_>) -> NetworkSet {
    let mut networks = Vec::new();
    for item in reader.list(&HTTP_DENY_NETWORKS) {
        match parse(&item) {
            Some(network) => networks.push(network),
            None => reader.problem(
                &HTTP_DENY_NETWORKS,
                format!("{} is no network; write it like `10.0.0.0/8` or `fd00::/8`", shown(&item)),
            ),
        }
    }
    NetworkSet(networks)
}

/// A network or a single address.
pub(super) fn parse(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// A set for tests.
#[cfg(test)]
pub(super) fn of(networks: Vec<IpNet>) -> NetworkSet {
    NetworkSet(networks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(networks: &[&str]) -> NetworkSet {
        NetworkSet(networks.iter().map(|text| parse(text).unwrap()).collect())
    }

    #[test]
    fn addresses_are_found_in_their_networks_however_they_are_written() {
        let denied = set(&["169.254.0.0/16", "fe80::/10", "10.1.2.3"]);
        for inside in ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "10.1.2.3"] {
            assert!(denied.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["169.253.0.1", "127.0.0.1", "fd00::1", "10.1.2.4"] {
            assert!(!denied.contains(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        assert_eq!(parse("10.0.0.0/33"), None);
        assert_eq!(parse("example.com"), None);
    }
}
