//! Who runs a command, for the audit log.

/// `cli:` and the user's name on this machine. Taken from the process, not from an environment variable
/// that anybody can set.
pub(crate) fn actor() -> String {
    let id = rustix::process::getuid().as_raw();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = user_name(&accounts, id);
    name.map_or_else(|| format!("cli:uid-{id}"), |name| format!("cli:{name}"))
}

/// The name of a user id in the text of a passwd file: `name:password:uid:…`.
fn user_name(accounts: &str, id: u32) -> Option<&str> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid: u32 = fields.nth(1)?.parse().ok()?;
        (uid == id).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_id() {
        let accounts =
            "root:x:0:0:root:/root:/bin/sh\n\nbroken\nops:x:1001:1001::/home/ops:/bin/sh\n";
        assert_eq!(user_name(accounts, 0), Some("root"));
        assert_eq!(user_name(accounts, 1001), Some("ops"));
        assert_eq!(user_name(accounts, 5), None);
    }
}
