//! The processes of a fleet: several of each role, each with the configuration that its role may have.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::join_all;
use rand::Rng;
use rand::rngs::StdRng;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use super::clock;
use super::keys::without_section;
use crate::installation::{Installation, own_variables};
use crate::service::Service;
use crate::torture::role::Role;
use crate::torture::tally::Book;
use crate::torture::{life, ports};

/// How many of each.
pub(super) const MEMBERS: [(Role, usize); 6] = [
    (Role::Api, 2),
    (Role::Processor, 2),
    (Role::Signer, 2),
    (Role::Broadcaster, 2),
    (Role::Monitor, 1),
    (Role::Recovery, 1),
];

/// How long a killed process stays away.
const AWAY_MS: std::ops::Range<u64> = 20..1_500;
const PATROL_INTERVAL: Duration = Duration::from_millis(300);

/// Whose clock is off where clocks are, and by how many seconds.
pub(super) const SKEW_SECONDS: [(Role, usize, i64); 2] =
    [(Role::Broadcaster, 1, 90), (Role::Recovery, 0, -90)];

/// One process, and where it is started from.
#[derive(Debug)]
struct Member {
    role: Role,
    /// Its place among those of its role.
    place: usize,
    address: SocketAddr,
    service: Option<Service>,
}

/// How the processes differ from those of an ordinary installation.
#[derive(Debug)]
pub(super) struct Peculiarities {
    /// The keystore of the second signer, where each signs with wallets of its own.
    pub(super) second_keystore: Option<PathBuf>,
    /// Whether clocks differ: see [`SKEW_SECONDS`].
    pub(super) has_skewed_clocks: bool,
}

/// All processes.
#[derive(Debug)]
pub(super) struct Crew {
    installation: Installation,
    peculiarities: Peculiarities,
    /// The configuration of everybody who does not sign.
    without_keys: PathBuf,
    dir: PathBuf,
    members: Vec<Mutex<Member>>,
    book: Book,
}

impl Crew {
    /// A crew of nobody yet; `apis` are the addresses of the API's processes.
    ///
    /// # Errors
    /// There are no free ports, or the configuration cannot be read.
    pub(super) fn new(
        installation: Installation,
        peculiarities: Peculiarities,
        dir: &Path,
        apis: &[SocketAddr],
        book: Book,
    ) -> Result<Self> {
        let without_keys = installation.config().with_file_name("without-keys.toml");
        let text = std::fs::read_to_string(installation.config())?;
        std::fs::write(&without_keys, without_section(&text, "signer"))?;
        let count = MEMBERS.iter().map(|(_, count)| count).sum();
        let mut ports = ports::reserve(count)?.into_iter();
        let mut members = Vec::new();
        for (role, count) in MEMBERS {
            for place in 0..count {
                let own = ports.next().context("as many ports as members")?;
                let address = match (role, apis.get(place)) {
                    (Role::Api, Some(api)) => *api,
                    _ => own,
                };
                members.push(Mutex::new(Member { role, place, address, service: None }));
            }
        }
        let dir = dir.to_path_buf();
        Ok(Self { installation, peculiarities, without_keys, dir, members, book })
    }

    /// How many processes there are.
    pub(super) fn size(&self) -> usize {
        self.members.len()
    }

    /// Starts every process that does not run.
    ///
    /// # Errors
    /// One cannot be started.
    pub(super) async fn start_all(&self) -> Result<()> {
        for member in &self.members {
            let mut member = member.lock().await;
            if member.service.is_none() {
                member.service = Some(self.launch(&member)?);
            }
        }
        Ok(())
    }

    fn launch(&self, member: &Member) -> Result<Service> {
        let mut command = Command::new(self.installation.binary());
        for name in own_variables() {
            command.env_remove(name);
        }
        let signs = member.role == Role::Signer;
        let config = if signs { self.installation.config() } else { &self.without_keys };
        let name = member.role.name();
        command
            .args(["serve", "--role", name, "--log-format", "json", "--config"])
            .arg(config)
            .args(["--listen", &member.address.to_string()])
            .envs(self.installation.variables().iter().cloned())
            // What a fleet is held to, also where its database is a file.
            .env("PORTCULLIS__SERVER__STRICT_CREDENTIALS", "true")
            // The node is on this machine, whatever proxy the environment names.
            .envs([("NO_PROXY", "127.0.0.1,localhost"), ("no_proxy", "127.0.0.1,localhost")]);
        if let Some(second) = &self.peculiarities.second_keystore
            && (member.role, member.place) == (Role::Signer, 1)
        {
            command.env("PORTCULLIS__SIGNER__KEYSTORE", second);
        }
        let skew = SKEW_SECONDS.iter().find(|it| (it.0, it.1) == (member.role, member.place));
        if let Some((.., seconds)) = skew.filter(|_| self.peculiarities.has_skewed_clocks) {
            command.env("LD_PRELOAD", clock::library(&self.dir, *seconds));
        }
        Service::start(name, command, &self.log_of(member.role, member.place))
    }

    /// Where a process writes its log.
    pub(super) fn log_of(&self, role: Role, place: usize) -> PathBuf {
        self.dir.join(format!("{}-{place}.log", role.name()))
    }

    /// The logs of all processes.
    pub(super) fn logs(&self) -> Vec<PathBuf> {
        let logs_of = |(role, count)| (0..count).map(move |place| self.log_of(role, place));
        MEMBERS.into_iter().flat_map(logs_of).collect()
    }

    /// The place of the signer that holds leases by this name.
    ///
    /// # Errors
    /// None does.
    pub(super) fn signer_of(&self, holder: &str) -> Result<usize> {
        let instance = holder.split_once('#').map_or(holder, |(_, instance)| instance);
        let count = MEMBERS.iter().find(|(role, _)| *role == Role::Signer).map_or(0, |it| it.1);
        let has_it = |place: &usize| {
            let log = std::fs::read_to_string(self.log_of(Role::Signer, *place));
            log.is_ok_and(|text| text.contains(instance))
        };
        (0..count).find(has_it).with_context(|| format!("{holder} is no signer of this run"))
    }

    /// Lets one process stand still for as long as `meanwhile` takes.
    ///
    /// # Errors
    /// It does not run.
    pub(super) async fn stand_still<T>(
        &self,
        role: Role,
        place: usize,
        meanwhile: impl Future<Output = T>,
    ) -> Result<T> {
        let mut found = None;
        for member in &self.members {
            let member = member.lock().await;
            if (member.role, member.place) == (role, place) {
                found = Some(member);
            }
        }
        let service = found.as_ref().and_then(|member| member.service.as_ref());
        let service = service.context("the process is away")?;
        signal(service, Signal::STOP)?;
        let outcome = meanwhile.await;
        signal(service, Signal::CONT)?;
        Ok(outcome)
    }

    /// Tells every process to stop and starts it again, one after the other.
    ///
    /// # Errors
    /// One cannot be started, or is not ready again.
    pub(super) async fn roll(&self) -> Result<()> {
        for member in &self.members {
            let mut member = member.lock().await;
            let service = member.service.take().context("the process is away")?;
            life::stop(&self.book, member.role, service).await;
            member.service = Some(self.launch(&member)?);
            life::ready(member.role, member.address).await?;
        }
        Ok(())
    }

    /// Waits until every process says that it is ready.
    ///
    /// # Errors
    /// One is not ready within a minute: the message holds its reasons.
    pub(super) async fn all_ready(&self) -> Result<()> {
        for member in &self.members {
            let (role, address) = {
                let member = member.lock().await;
                (member.role, member.address)
            };
            life::ready(role, address).await?;
        }
        Ok(())
    }

    /// Kills one process after the other, every `interval` until `end`, and starts it again. With no interval nobody is.
    ///
    /// # Errors
    /// One cannot be started.
    pub(super) async fn kill_until(
        &self,
        end: Instant,
        interval: Duration,
        mut random: StdRng,
    ) -> Result<()> {
        if interval.is_zero() {
            return Ok(());
        }
        let mut next = Instant::now() + interval;
        while next < end {
            sleep_until(next).await;
            next += interval;
            let place = random.random_range(0..self.members.len());
            let away = Duration::from_millis(random.random_range(AWAY_MS));
            let Some(member) = self.members.get(place) else { continue };
            let mut member = member.lock().await;
            if let Some(service) = member.service.take() {
                life::kill(&self.book, member.role, service).await;
            }
            sleep(away).await;
            member.service = Some(self.launch(&member)?);
        }
        Ok(())
    }

    /// Starts what ended by itself again, and notes it. Never ends but with an error.
    ///
    /// # Errors
    /// A process cannot be started.
    pub(super) async fn patrol(&self) -> Result<std::convert::Infallible> {
        loop {
            sleep(PATROL_INTERVAL).await;
            for member in &self.members {
                let Ok(mut member) = member.try_lock() else { continue };
                let ended = member.service.as_ref().filter(|service| service.status().is_some());
                let Some(service) = ended else { continue };
                life::note_end(&self.book, service).await;
                member.service = Some(self.launch(&member)?);
            }
        }
    }

    /// Ends every process with SIGTERM, and notes those that do not end well.
    pub(super) async fn stop_all(&self) {
        let stops = self.members.iter().map(async |member| {
            let mut member = member.lock().await;
            if let Some(service) = member.service.take() {
                life::stop(&self.book, member.role, service).await;
            }
        });
        join_all(stops).await;
    }
}

fn signal(service: &Service, signal: Signal) -> Result<()> {
    anyhow::ensure!(service.status().is_none(), "the process has ended");
    let pid = i32::try_from(service.pid()).ok().and_then(Pid::from_raw);
    Ok(kill_process(pid.context("a process has an id")?, signal)?)
}
