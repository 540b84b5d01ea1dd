//! What a sandbox tells its user.

use std::fmt::Write;
use std::path::Path;

use super::payments::{ACCOUNTS, SandboxReport};
use crate::client::ApiClient;
use crate::installation::NETWORK;

/// An address that nobody has the key of: the letters are those of EIP-55's own examples.
const EXAMPLE_RECIPIENT: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

/// The judgement, for people.
pub(super) fn judgement(report: &SandboxReport) -> String {
    let SandboxReport { withdrawals, confirmed, lost, paid_twice, .. } = report;
    let mut text = format!(
        "{confirmed} of {withdrawals} withdrawals are on the chain, {lost} lost, {paid_twice} paid twice"
    );
    if !report.is_good() {
        let _ = write!(
            text,
            "\nNOT AS PROMISED: {} unexpected payments, {} wrong balances, {} confirmed by the API",
            report.unexpected, report.wrong_balances, report.reported_confirmed
        );
    }
    text
}

/// Where to look and what to try. `run` makes the external id of the example a new one.
pub(super) fn invitation(api: &ApiClient, secret: &str, run: &str, dir: &Path) -> String {
    let base = api.base();
    let account = ACCOUNTS[0];
    let id = format!("try-{run}");
    format!(
        r#"
  API      {base}
  Docs     {base}/docs
  Metrics  {base}/metrics
  Key      {secret}
  Files    {dir}

Pay something:

  curl -sX POST {base}/v1/withdrawals -H "Authorization: Bearer {secret}" -H "Content-Type: application/json" -d '{{"external_id":"{id}","account_id":"{account}","network":"{NETWORK}","asset":"USDC","amount":"1.5","to_address":"{EXAMPLE_RECIPIENT}"}}'

Follow it:

  curl -s "{base}/v1/withdrawals?external_id={id}" -H "Authorization: Bearer {secret}"

See what the account has left:

  curl -s {base}/v1/accounts/{account} -H "Authorization: Bearer {secret}"
"#,
        dir = dir.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_invitation_has_everything_to_begin_with() {
        let api = ApiClient::new("127.0.0.1:3000".parse().unwrap(), "pk_live_1").unwrap();
        let text = invitation(&api, "pk_live_1", "ab12", Path::new("/tmp/box"));
        assert_eq!(text.matches("curl -s").count(), 3);
        assert_eq!(text.matches("Bearer pk_live_1").count(), 3);
        let body = text.split('\'').nth(1).unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["external_id"], "try-ab12");
        assert!(text.contains("http://127.0.0.1:3000/docs"));
    }
}
