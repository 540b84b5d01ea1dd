//! Ports that stay ours while the process that listens on them is dead.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};

use crate::server::is_free;

/// Below those that the system hands out by itself: an outgoing connection would take one of those
/// while its owner is away.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const TRIES_MAX: usize = 1_000;

/// Finds `count` different free ports of 127.0.0.1.
///
/// # Errors
/// There are none.
pub(crate) fn reserve(count: usize) -> Result<Vec<SocketAddr>> {
    let mut found = BTreeSet::new();
    for _ in 0..TRIES_MAX {
        if found.len() == count {
            break;
        }
        let width = u32::from(PORTS.end - PORTS.start);
        let offset = u16::try_from(getrandom::u32()? % width)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORTS.start + offset));
        if is_free(address) {
            found.insert(address);
        }
    }
    ensure!(found.len() == count, "this machine has no {count} free ports in {PORTS:?}");
    Ok(found.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_different_and_ours() {
        let addresses = reserve(14).unwrap();
        let ports: BTreeSet<u16> = addresses.iter().map(SocketAddr::port).collect();
        assert_eq!(ports.len(), 14);
        assert!(ports.iter().all(|port| PORTS.contains(port)));
    }
}
