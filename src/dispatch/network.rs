//! Network: which addresses may be called, checked where a name has become an address.

use super::names::Names;
use crate::config::NetworkSet;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A call to an address that the settings deny.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the address {address} is in one of the deny_networks of the settings")]
pub struct Denied {
    address: IpAddr,
}

/// Resolves names, and leaves out the addresses that are denied.
#[derive(Debug)]
pub struct GuardedResolver {
    names: Arc<Names>,
    denied: Arc<NetworkSet>,
}

impl GuardedResolver {
    /// Leaves these out.
    #[must_use]
    pub fn new(denied: Arc<NetworkSet>) -> GuardedResolver {
        GuardedResolver { names: Arc::default(), denied }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (names, denied) = (Arc::clone(&self.names), Arc::clone(&self.denied));
        Box::pin(async move {
            let found = names.look_up(name.as_str()).await?;
            let (forbidden, allowed): (Vec<IpAddr>, Vec<IpAddr>) =
                found.iter().copied().partition(|address| denied.contains(*address));
            match forbidden.first() {
                Some(first) if allowed.is_empty() => Err(Denied { address: *first }.into()),
                // The port is the connector's to fill in.
                _ => Ok(Box::new(allowed.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs),
            }
        })
    }
}

/// An address in the URL itself goes past the resolver.
pub fn check_literal(url: &Url, denied: &NetworkSet) -> Result<(), Denied> {
    let address: Option<IpAddr> = match url.host() {
        Some(url::Host::Ipv4(address)) => Some(address.into()),
        Some(url::Host::Ipv6(address)) => Some(address.into()),
        _ => None,
    };
    match address {
        Some(address) if denied.contains(address) => Err(Denied { address }),
        _ => Ok(()),
    }
}

/// The denied address that is the cause of the error, if one is.
pub fn denied_by<'error>(error: &'error (dyn Error + 'static)) -> Option<&'error Denied> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(denied) = error.downcast_ref() {
            return Some(denied);
        }
        cause = error.source();
    }
    None
}
