//! Networks: `169.254.0.0/16, fe80::/10`, or single addresses.

use super::reader::Reader;
use super::settings::HTTP_DENY_NETWORKS;
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A set of networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkSet(Vec<IpNet>);

impl NetworkSet {
    /// Whether the address, or the one it leads to, is in one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let target = target(address);
        self.0.iter().any(|network| network.contains(&address) || network.contains(&target))
    }
}

/// Where a connection to the address ends: the unspecified one is this machine, and a translator (NAT64, RFC 6052)
/// calls the IPv4 address that stands in its own.
fn target(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V6(address) => match address.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into(),
            _ => address.into(),
        },
        IpAddr::V4(_) => address,
    }
}

/// The networks that are not called.
pub(super) fn denied(reader: &mut Reader<'_>) -> NetworkSet {
    let mut networks: Vec<IpNet> = Vec::new();
    for item in reader.list(&HTTP_DENY_NETWORKS) {
        if let Some(network) = parse(&item) {
            networks.push(network);
        } else {
            let item = reader.shown_part(&HTTP_DENY_NETWORKS, &item);
            let problem = format!("{item} is no network; write it like `10.0.0.0/8` or `fd00::/8`");
            reader.problem(&HTTP_DENY_NETWORKS, problem);
        }
    }
    // Whoever writes an empty list wants none.
    let left_out: Vec<&str> = defaults()
        .filter(|(_, network)| !networks.iter().any(|denied| denied.contains(network)))
        .map(|(text, _)| text)
        .collect();
    if !networks.is_empty() && !left_out.is_empty() {
        let left_out = left_out.join(", ");
        let message =
            format!("is used instead of the default, and leaves out {left_out}, where clouds keep their secrets");
        reader.warn(&HTTP_DENY_NETWORKS, &message);
    }
    NetworkSet(networks)
}

fn defaults() -> impl Iterator<Item = (&'static str, IpNet)> {
    let default = HTTP_DENY_NETWORKS.default().unwrap_or_default();
    default.split(", ").filter_map(|text| Some((text, parse(text)?)))
}

/// A network or a single address.
pub(super) fn parse(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)).map(canonical)
}

/// A network of IPv4 addresses as IPv6 has them (`::ffff:10.0.0.0/104`) is one of IPv4 addresses.
fn canonical(network: IpNet) -> IpNet {
    let mapped = || {
        let prefix = network.prefix_len().checked_sub(96)?;
        match network.addr().to_canonical() {
            IpAddr::V4(address) if network.addr().is_ipv6() => Ipv4Net::new(address, prefix).ok(),
            _ => None,
        }
    };
    mapped().map_or(network, IpNet::from)
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
        for inside in ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "10.1.2.3", "64:ff9b::10.1.2.3"] {
            assert!(denied.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["169.253.0.1", "127.0.0.1", "fd00::1", "10.1.2.4"] {
            assert!(!denied.contains(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn networks_are_those_of_their_addresses_however_they_are_written() {
        let denied = set(&["::ffff:10.0.0.0/104", "::ffff:192.168.7.1"]);
        for inside in ["10.200.0.1", "::ffff:10.200.0.1", "192.168.7.1"] {
            assert!(denied.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.1", "192.168.7.2", "::1"] {
            assert!(!denied.contains(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn the_unspecified_address_is_this_machine() {
        for (network, address) in [("127.0.0.0/8", "0.0.0.0"), ("::1", "::"), ("127.0.0.1", "::ffff:0.0.0.0")] {
            assert!(set(&[network]).contains(address.parse().unwrap()), "{address}");
        }
        assert!(set(&["0.0.0.0/8"]).contains("0.0.0.0".parse().unwrap()));
        assert!(!set(&["10.0.0.0/8"]).contains("0.0.0.0".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        assert_eq!(parse("10.0.0.0/33"), None);
        assert_eq!(parse("example.com"), None);
    }
}
