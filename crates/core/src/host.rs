//! Where a server is, as far as its connection needs encryption.

use std::net::IpAddr;

/// Whether a host, as a URL names it, is this machine: what is said to it passes no network.
#[must_use]
pub fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What is said of a database on another host that is to be spoken to without TLS.
pub const NOT_WITHOUT_TLS: &str = "a server on another host is not spoken to without TLS: leave ssl-mode out, or set it \
                                   to VERIFY_IDENTITY, VERIFY_CA or REQUIRED";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_of_this_machine_are_known() {
        for host in ["localhost", "127.0.0.1", "127.8.0.1", "::1", "[::1]"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["db.example", "10.0.0.7", "[fe80::1]", "localhost.example", ""] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
