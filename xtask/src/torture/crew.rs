//! The processes of Portcullis, one for each role, and what is done to them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::sleep;

use super::role::Role;
use super::tally::Book;
use super::{life, ports};
use crate::installation::{Installation, own_variables};
use crate::service::Service;

/// Leases are as short as they may be, so that many are lost in a run.
pub(super) const LEASE_MS: u64 = 3_000;
const LEASE_MS_TEXT: &str = "3000";
/// What the processes are told beside their configuration: recovery that is in a hurry sends,
/// replaces and takes over much more often than one that is patient.
const SETTINGS: [(&str, &str); 3] = [
    ("PORTCULLIS__ENGINE__LEASE_MS", LEASE_MS_TEXT),
    ("PORTCULLIS__ENGINE__REBROADCAST_AFTER_MS", "2500"),
    ("PORTCULLIS__ENGINE__BUMP_AFTER_MS", "6000"),
];
/// How long two processes of a role run beside each other.
const TOGETHER: Duration = Duration::from_secs(3);
const PATROL_INTERVAL: Duration = Duration::from_millis(300);

/// A role's process. Each role has two addresses, the second one for a second process.
#[derive(Debug)]
struct Member {
    role: Role,
    service: Option<Service>,
    addresses: [SocketAddr; 2],
}

/// All processes.
#[derive(Debug)]
pub(super) struct Crew {
    installation: Installation,
    dir: PathBuf,
    members: Vec<Mutex<Member>>,
    book: Book,
}

impl Crew {
    /// A crew of nobody yet.
    ///
    /// # Errors
    /// There are no free ports.
    pub(super) fn new(
        installation: Installation,
        dir: PathBuf,
        api: SocketAddr,
        book: Book,
    ) -> Result<Self> {
        let ports = ports::reserve(Role::ALL.len().saturating_mul(2))?;
        let member = |(role, pair): (Role, &[SocketAddr])| {
            let first = if role == Role::Api { api } else { pair[0] };
            Mutex::new(Member { role, service: None, addresses: [first, pair[1]] })
        };
        let members = Role::ALL.into_iter().zip(ports.chunks_exact(2)).map(member).collect();
        Ok(Self { installation, dir, members, book })
    }

    /// Starts every role that does not run.
    ///
    /// # Errors
    /// A process cannot be started.
    pub(super) async fn start_all(&self) -> Result<()> {
        for member in &self.members {
            let mut member = member.lock().await;
            if member.service.is_none() {
                member.service = Some(self.launch(member.role, member.addresses[0])?);
            }
        }
        Ok(())
    }

    fn launch(&self, role: Role, address: SocketAddr) -> Result<Service> {
        let mut command = Command::new(self.installation.binary());
        for name in own_variables() {
            command.env_remove(name);
        }
        command
            .args(["serve", "--role", role.name(), "--log-format", "json"])
            .arg("--config")
            .arg(self.installation.config())
            .args(["--listen", &address.to_string()])
            .envs(SETTINGS)
            // The node is on this machine, whatever proxy the environment names.
            .envs([("NO_PROXY", "127.0.0.1,localhost"), ("no_proxy", "127.0.0.1,localhost")]);
        let log = self.dir.join(format!("{}.log", role.name()));
        Service::start(role.name(), command, &log)
    }

    /// Waits until every role says that it is ready; what they complain about all the same.
    ///
    /// # Errors
    /// One is not ready within a minute: the message holds its reasons.
    pub(super) async fn all_ready(&self) -> Result<Vec<String>> {
        let mut complaints = Vec::new();
        for member in &self.members {
            let (role, address) = {
                let member = member.lock().await;
                (member.role, member.addresses[0])
            };
            let body = life::ready(role, address).await?;
            if !body.contains("\"ready\"") {
                complaints.push(format!("{}: {body}", role.name()));
            }
        }
        Ok(complaints)
    }

    /// Kills a role (another one, if it is busy with something else), and starts it again.
    ///
    /// # Errors
    /// A process cannot be started.
    pub(super) async fn kill(&self, wanted: Role, away: Duration) -> Result<()> {
        let Some(mut member) = self.idle(wanted, &Role::ALL) else { return Ok(()) };
        if let Some(service) = member.service.take() {
            life::kill(&self.book, member.role, service).await;
        }
        sleep(away).await;
        member.service = Some(self.launch(member.role, member.addresses[0])?);
        Ok(())
    }

    /// Lets a role stand still for `pause`.
    pub(super) async fn pause(&self, wanted: Role, pause: Duration) {
        let Some(member) = self.idle(wanted, &Role::ALL) else { return };
        let Some(service) = &member.service else { return };
        if !signal(service, Signal::STOP) {
            return;
        }
        self.book.note(|tally| tally.pauses += 1);
        sleep(pause).await;
        signal(service, Signal::CONT);
    }

    /// Lets a role stand still for `pause` and starts a second process of it meanwhile; then both
    /// run for a while, and one of them is ended. A second signer has to end by itself.
    ///
    /// # Errors
    /// A process cannot be started.
    pub(super) async fn twin(
        &self,
        wanted: Role,
        pause: Duration,
        keeps_second: bool,
    ) -> Result<()> {
        let Some(mut member) = self.idle(wanted, &Role::WORKERS) else { return Ok(()) };
        let role = member.role;
        let Some(first) = member.service.take() else { return Ok(()) };
        if !signal(&first, Signal::STOP) {
            member.service = Some(first);
            return Ok(());
        }
        let second = self.launch(role, member.addresses[1])?;
        self.book.note(|tally| tally.twins += 1);
        sleep(pause).await;
        signal(&first, Signal::CONT);
        sleep(TOGETHER).await;
        if role == Role::Signer {
            self.check_refused(second).await;
            member.service = Some(first);
        } else if keeps_second {
            life::stop(&self.book, role, first).await;
            member.service = Some(second);
            member.addresses.swap(0, 1);
        } else {
            life::stop(&self.book, role, second).await;
            member.service = Some(first);
        }
        Ok(())
    }

    /// Two signers with one journal must not be.
    async fn check_refused(&self, second: Service) {
        match second.status() {
            Some(status) if status.code() == Some(life::TRY_AGAIN) => {
                life::note_end(&self.book, &second).await;
            }
            Some(status) if !status.success() => {
                self.book.note(|tally| tally.refused_signers += 1);
            }
            status => {
                let text = format!("a second signer was not refused: {status:?}");
                self.book.note(|tally| tally.failures.push(text));
                // What is told above is the failure, not how it ends now.
                let _ended = second.kill().await;
            }
        }
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
                member.service = Some(self.launch(member.role, member.addresses[0])?);
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
        futures::future::join_all(stops).await;
    }

    /// The first role from `wanted` on, among `roles`, to which nothing happens right now.
    fn idle(&self, wanted: Role, roles: &[Role]) -> Option<MutexGuard<'_, Member>> {
        let start = roles.iter().position(|role| *role == wanted).unwrap_or_default();
        let in_turn = roles.iter().cycle().skip(start).take(roles.len());
        let mut places = in_turn.filter_map(|role| self.members.get(role.index()));
        let member = places.find_map(|member| member.try_lock().ok());
        if member.is_none() {
            self.book.note(|tally| tally.skipped += 1);
        }
        member
    }
}

/// Whether the signal went out.
fn signal(service: &Service, signal: Signal) -> bool {
    if service.status().is_some() {
        return false;
    }
    let pid = i32::try_from(service.pid()).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_that_is_told_is_the_one_that_pauses_outlast() {
        assert_eq!(LEASE_MS.to_string(), LEASE_MS_TEXT);
    }

    #[tokio::test]
    async fn a_busy_role_leaves_the_fault_to_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let book = Book::default();
        let installation = Installation::at(PathBuf::from("portcullis"), folder.path());
        let api = ports::reserve(1).unwrap()[0];
        let crew = Crew::new(installation, folder.path().to_path_buf(), api, book.clone()).unwrap();
        let role_of = |member: &Option<MutexGuard<'_, Member>>| member.as_ref().map(|it| it.role);
        let first = crew.idle(Role::Recovery, &Role::ALL);
        let second = crew.idle(Role::Recovery, &Role::ALL);
        assert_eq!((role_of(&first), role_of(&second)), (Some(Role::Recovery), Some(Role::Api)));
        let rest: Vec<_> = (0..4).map(|_| crew.idle(Role::Recovery, &Role::WORKERS)).collect();
        assert!(rest.iter().all(Option::is_some));
        assert_eq!(book.read().skipped, 0);
        assert!(crew.idle(Role::Signer, &Role::ALL).is_none());
        assert_eq!(book.read().skipped, 1);
    }
}
