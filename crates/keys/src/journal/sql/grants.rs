//! Reads what an account may do, in the words of `SHOW GRANTS`.

/// What the journal's account may have.
const ALLOWED: [&str; 3] = ["USAGE", "SELECT", "INSERT"];

/// The first privilege of a row that goes beyond adding and reading. What cannot be read is too much.
pub(super) fn excess_privilege(row: &str) -> Option<String> {
    // `SET DEFAULT ROLE …`: which roles there are is in rows of their own.
    let Some(rest) = row.strip_prefix("GRANT ") else {
        return (!row.starts_with("SET DEFAULT ROLE")).then(|| "an unknown grant".to_owned());
    };
    let Some((privileges, target)) = rest.split_once(" ON ") else {
        // `GRANT role TO account`: what a role may do is not looked into.
        let role = rest.split(" TO ").next().unwrap_or(rest);
        return Some(format!("the role {role}"));
    };
    let excess = without_columns(privileges)
        .split(',')
        .map(str::trim)
        .find(|privilege| !ALLOWED.contains(privilege))
        .map(str::to_owned);
    if excess.is_some() {
        return excess;
    }
    target.contains("WITH GRANT OPTION").then(|| "GRANT OPTION".to_owned())
}

/// `SELECT (a, b), INSERT` without what is in parentheses: columns limit a privilege, they add nothing.
fn without_columns(privileges: &str) -> String {
    let mut depth = 0_u32;
    privileges
        .chars()
        .filter(|letter| match letter {
            '(' => {
                depth = depth.saturating_add(1);
                false
            }
            ')' => {
                depth = depth.saturating_sub(1);
                false
            }
            _ => depth == 0,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_and_reading_is_enough() {
        for row in [
            "GRANT USAGE ON *.* TO `j`@`%` IDENTIFIED BY PASSWORD '*00'",
            "GRANT USAGE ON *.* TO `j`@`%` REQUIRE SSL",
            "GRANT SELECT, INSERT ON `portcullis_journal`.* TO `j`@`%`",
            "GRANT INSERT, SELECT (line, content) ON `portcullis_journal`.`journal_lines` TO `j`@`%`",
        ] {
            assert_eq!(excess_privilege(row), None, "{row}");
        }
    }

    #[test]
    fn everything_else_is_too_much() {
        for (row, found) in [
            ("GRANT SELECT, INSERT, UPDATE ON `d`.* TO `j`@`%`", "UPDATE"),
            ("GRANT SELECT, INSERT, DELETE ON `d`.* TO `j`@`%`", "DELETE"),
            ("GRANT SELECT, INSERT, DROP ON `d`.* TO `j`@`%`", "DROP"),
            ("GRANT SELECT, UPDATE (content) ON `d`.`journal_lines` TO `j`@`%`", "UPDATE"),
            ("GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost`", "ALL PRIVILEGES"),
            ("GRANT SELECT, INSERT ON `d`.* TO `j`@`%` WITH GRANT OPTION", "GRANT OPTION"),
            ("GRANT `writer` TO `j`@`%`", "the role `writer`"),
            ("GRANT PROXY ON ''@'%' TO 'root'@'localhost' WITH GRANT OPTION", "PROXY"),
            ("GRANT BINLOG_ADMIN,CONNECTION_ADMIN ON *.* TO `j`@`%`", "BINLOG_ADMIN"),
            ("something new", "an unknown grant"),
        ] {
            assert_eq!(excess_privilege(row).as_deref(), Some(found), "{row}");
        }
    }
}
