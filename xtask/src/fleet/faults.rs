//! The bad days of a fleet: what goes wrong beside killed processes, one after the other while clients ask.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::crew::{Crew, SKEW_SECONDS};
use super::keys::{Holder, Keys};
use super::logs::{Logs, readyz_names, seconds_ahead};
use super::proxy::{Mood, Proxy};
use super::servers::Servers;
use crate::installation::Installation;
use crate::mariadb;
use crate::torture::role::Role;

/// How long a server stays away at least.
const AWAY: Duration = Duration::from_secs(3);
/// How long a process that woke up runs beside the one that took over.
const TOGETHER: Duration = Duration::from_secs(4);
/// How long taking over may take: what the other one had open has to time out first.
const TAKEN_OVER_LIMIT: Duration = Duration::from_secs(90);
/// What a signer's log says of keys that give nothing, and of their return.
const KEYS_FAIL: [&str; 2] = ["ERROR", "\"component\":\"keys\""];
const KEYS_ARE_WELL: [&str; 2] = ["it is well again", "\"component\":\"keys\""];
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How often each of two signers stands still.
const STOPS: usize = 2;
const ROTATIONS: usize = 4;
/// What a clock that is off may differ by from that.
const SKEW_TOLERANCE_SECONDS: i64 = 20;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// MariaDB is killed, and started again on its data
    Database,
    /// Redis forgets everything, is killed, and started again
    Redis,
    /// The SQS API is killed and started again empty; then `queues init` makes the queues
    Queues,
    /// Every doorbell is sent twice, all the time
    Twice,
    /// The signer that pays stands still (SIGSTOP) until another one has its wallets, and wakes up; then that one does
    Signer,
    /// One broadcaster's clock is 90 seconds ahead and the recovery's 90 behind, all the time
    Clock,
    /// KMS throttles and then falls silent; or the secret is rotated; or the token is pulled out and put back
    Keys,
    /// Every process is told to stop and started again, one after the other
    Rolling,
}

impl Fault {
    /// Whether it lasts for the whole run.
    const fn lasts(self) -> bool {
        matches!(self, Self::Twice | Self::Clock)
    }
}

/// What came of a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Happened {
    /// Which.
    pub fault: Fault,
    /// What `/readyz` said meanwhile, where that is looked at.
    pub readyz: Option<String>,
    /// What a log said meanwhile, where that is looked at.
    pub log: Option<String>,
    /// How it went wrong otherwise than it should.
    pub trouble: Option<String>,
}

/// What was said of a fault: on `/readyz`, and in a log.
type Said = (Option<String>, Option<String>);

/// What faults happen to.
pub(super) struct Faults<'a> {
    pub(super) wanted: &'a [Fault],
    pub(super) crew: &'a Crew,
    pub(super) servers: &'a Servers,
    pub(super) holder: &'a Holder,
    pub(super) queues: &'a Proxy,
    pub(super) installation: &'a Installation,
    pub(super) apis: &'a [SocketAddr],
}

impl Faults<'_> {
    /// Lets those that do not last happen, one after the other, spread over `length`.
    ///
    /// # Errors
    /// Something could not be started again.
    pub(super) async fn play(&self, length: Duration) -> Result<Vec<Happened>> {
        let begun = Instant::now();
        let moments: Vec<Fault> = self.wanted.iter().copied().filter(|it| !it.lasts()).collect();
        let gap = length / u32::try_from(moments.len().saturating_add(1)).unwrap_or(u32::MAX);
        let mut told = Vec::new();
        for (fault, place) in moments.into_iter().zip(1..) {
            sleep_until(begun + gap.saturating_mul(place)).await;
            eprintln!("  {fault:?} ...");
            let said = match fault {
                Fault::Database => self.database().await?,
                Fault::Redis => self.redis().await?,
                Fault::Queues => self.queues().await?,
                Fault::Signer => self.signer().await.map(|()| (None, None)),
                Fault::Keys => self.keys().await,
                Fault::Rolling => self.crew.roll().await.map(|()| (None, None)),
                Fault::Twice | Fault::Clock => continue,
            };
            told.push(happened(fault, said));
        }
        Ok(told)
    }

    /// What came of those that last. All processes have ended.
    pub(super) fn lasted(&self) -> Vec<Happened> {
        let lasting = self.wanted.iter().copied().filter(|fault| fault.lasts());
        let outcome = |fault| match fault {
            Fault::Clock => self.clocks(),
            _ => self.repeats(),
        };
        lasting.map(|fault| happened(fault, outcome(fault).map(|()| (None, None)))).collect()
    }

    fn logs(&self) -> Logs {
        Logs::from_now(self.crew.logs())
    }

    async fn database(&self) -> Result<Result<Said>> {
        let logs = self.logs();
        let meanwhile = async {
            let (readyz, log, ()) = tokio::join!(
                readyz_names(self.apis, "database", ""),
                logs.said(&["a step failed", "database"]),
                sleep(AWAY)
            );
            Ok((Some(readyz?), Some(log?)))
        };
        self.servers.without_database(meanwhile).await
    }

    async fn redis(&self) -> Result<Result<Said>> {
        let logs = self.logs();
        let meanwhile = async {
            let (readyz, log, ()) = tokio::join!(
                readyz_names(self.apis, "redis", ""),
                logs.said(&["WARN", "Redis"]),
                sleep(AWAY)
            );
            Ok((Some(readyz?), Some(log?)))
        };
        self.servers.without_redis(meanwhile).await
    }

    async fn queues(&self) -> Result<Result<Said>> {
        let logs = self.logs();
        let meanwhile = async {
            let (readyz, log, ()) = tokio::join!(
                readyz_names(self.apis, "queues", ""),
                logs.said(&["WARN", "queues"]),
                sleep(AWAY)
            );
            Ok((Some(readyz?), Some(log?)))
        };
        let while_away = self.servers.without_queues(meanwhile).await?;
        // It is empty now, and the processes say what to do.
        let empty = readyz_names(self.apis, "queues", "portcullis queues init").await;
        self.installation.make_queues()?;
        Ok(while_away.and_then(|said| empty.map(|_| said)))
    }

    /// Who has which wallet, and how often it changed hands.
    async fn leases(&self) -> Result<BTreeMap<String, (String, u64)>> {
        let url = self.servers.database_url().context("the run has no database server")?;
        let question = "SELECT name, holder, fence FROM leases WHERE name LIKE 'sender:%'";
        let told = mariadb::ask(url, question).await?;
        let read = |line: &str| {
            let mut fields = line.split('\t').map(str::to_owned);
            let (name, holder) = (fields.next()?, fields.next()?);
            Some((name, (holder, fields.next()?.parse().ok()?)))
        };
        told.lines().map(|line| read(line).with_context(|| line.to_owned())).collect()
    }

    async fn signer(&self) -> Result<()> {
        for _ in 0..STOPS {
            let before = self.leases().await?;
            let mut shares: BTreeMap<&str, usize> = BTreeMap::new();
            for (holder, _) in before.values() {
                *shares.entry(holder).or_default() += 1;
            }
            let busiest = shares.into_iter().max_by_key(|(_, count)| *count);
            let holder = busiest.context("nobody serves a wallet")?.0.to_owned();
            let held = before.into_iter().filter(|(_, lease)| lease.0 == holder);
            let held: BTreeMap<String, (String, u64)> = held.collect();
            let place = self.crew.signer_of(&holder)?;
            let taken = self.crew.stand_still(Role::Signer, place, self.taken_over(&held)).await?;
            sleep(TOGETHER).await;
            let now = self.leases().await?;
            for (name, (other, fence)) in taken? {
                let (holds, newest) = now.get(&name).context("a lease is gone")?;
                ensure!(
                    *newest >= fence && (*holds == other || *newest > fence),
                    "{name} was {other}'s with {fence}, and is {holds}'s with {newest}"
                );
            }
        }
        Ok(())
    }

    /// Waits until others have those leases, for some payments longer, and tells who.
    async fn taken_over(
        &self,
        held: &BTreeMap<String, (String, u64)>,
    ) -> Result<BTreeMap<String, (String, u64)>> {
        let waiting = async {
            loop {
                let mut now = self.leases().await?;
                now.retain(|name, _| held.contains_key(name));
                let is_taken = |(name, (holder, fence)): (&String, &(String, u64))| {
                    held.get(name).is_some_and(|(was, before)| holder != was && fence > before)
                };
                if now.iter().all(is_taken) {
                    sleep(TOGETHER).await;
                    return Ok(now);
                }
                sleep(LOOK_INTERVAL).await;
            }
        };
        timeout(TAKEN_OVER_LIMIT, waiting).await.context("nobody took the wallets over")?
    }

    async fn keys(&self) -> Result<Said> {
        match self.holder.keys {
            Keys::Apart | Keys::Shared => anyhow::bail!("a keystore does not fail by itself"),
            Keys::Kms => {
                let proxy = self.holder.proxy.as_ref().context("nothing stands before KMS")?;
                let throttled = self.moody(proxy, Mood::Throttling, "Throttl").await?;
                self.moody(proxy, Mood::Silent, "no answer").await?;
                Ok((None, Some(throttled)))
            }
            Keys::SecretsManager => {
                for _ in 0..ROTATIONS {
                    self.installation.rotate_keys()?;
                    sleep(AWAY / 2).await;
                }
                Ok((None, None))
            }
            Keys::Pkcs11 => {
                let logs = self.logs();
                self.holder.take_token()?;
                let (log, ()) = tokio::join!(logs.said(&KEYS_FAIL), sleep(AWAY));
                self.holder.put_token_back()?;
                logs.said(&KEYS_ARE_WELL).await?;
                Ok((None, Some(log?)))
            }
        }
    }

    /// Lets the holder's proxy be in a mood until a signer says so, and waits until it says that this is over.
    async fn moody(&self, proxy: &Proxy, mood: Mood, word: &str) -> Result<String> {
        let (logs, before) = (self.logs(), proxy.refused());
        let words = [&KEYS_FAIL[..], &[word]].concat();
        proxy.set(mood);
        let (log, ()) = tokio::join!(logs.said(&words), sleep(AWAY));
        proxy.set(Mood::Willing);
        logs.said(&KEYS_ARE_WELL).await?;
        ensure!(proxy.refused() > before, "no request met {mood:?}");
        log
    }

    fn repeats(&self) -> Result<()> {
        ensure!(self.queues.repeated() > 0, "no doorbell was sent twice");
        Ok(())
    }

    fn clocks(&self) -> Result<()> {
        let exact = self.crew.log_of(Role::Broadcaster, 0);
        for (role, place, skew) in SKEW_SECONDS {
            let ahead = seconds_ahead(&self.crew.log_of(role, place), &exact)?;
            let is_off = (ahead - skew).abs() < SKEW_TOLERANCE_SECONDS;
            ensure!(is_off, "the clock of {} is {ahead} s ahead, not {skew}", role.name());
        }
        Ok(())
    }
}

fn happened(fault: Fault, said: Result<Said>) -> Happened {
    match said {
        Ok((readyz, log)) => Happened { fault, readyz, log, trouble: None },
        Err(error) => {
            let trouble = Some(format!("{error:#}"));
            Happened { fault, readyz: None, log: None, trouble }
        }
    }
}
