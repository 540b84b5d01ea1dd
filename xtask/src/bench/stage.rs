//! What every measurement of the whole needs: a chain, an installation with funded payers, and its server.

use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;
use tempfile::TempDir;

use crate::anvil::Anvil;
use crate::cargo_build::{Profile, build_portcullis};
use crate::client::ApiClient;
use crate::installation::Installation;
use crate::judge::Scope;
use crate::mariadb::MariaDb;
use crate::rail::Rail;
use crate::server::{Server, ServerOptions, free_address};
use crate::testbed::{self, Payers, TestChain};
use crate::toolchain;

/// A chain, and an installation that is ready to be served. Dropping it ends the chain and removes the files.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) anvil: Anvil,
    pub(super) chain: TestChain,
    pub(super) installation: Installation,
    pub(super) payers: Payers,
    pub(super) scope: Scope,
    pub(super) api: ApiClient,
    pub(super) options: ServerOptions,
    pub(super) secret: String,
    pub(super) mariadb: Option<MariaDb>,
    folder: TempDir,
}

impl Stage {
    /// Builds the binary, starts the chain, and funds the payers.
    ///
    /// # Errors
    /// One of these fails.
    pub(super) async fn set_up(is_dev: bool, wallets: u16, rail: Rail) -> Result<Self> {
        Self::set_up_on(is_dev, wallets, rail, Database::Sqlite).await
    }

    /// The same on either database.
    ///
    /// # Errors
    /// As [`Stage::set_up`]; or the server does not start.
    pub(super) async fn set_up_on(
        is_dev: bool,
        wallets: u16,
        rail: Rail,
        database: Database,
    ) -> Result<Self> {
        let profile = if is_dev { Profile::Dev } else { Profile::Release };
        eprintln!("building portcullis ({}) ...", profile_name(is_dev));
        let binary = build_portcullis(&toolchain::workspace_root(), profile)?;
        let folder = tempfile::Builder::new().prefix("portcullis-bench-").tempdir()?;
        let dir = folder.path();
        eprintln!("starting a chain with one-second blocks, and {wallets} hot wallets ...");
        let (anvil, chain) = testbed::start_chain(dir, None).await?;
        let mut installation = Installation::at(binary, &dir.join("portcullis"));
        let mariadb = match database {
            Database::Sqlite => None,
            Database::Mysql => {
                eprintln!("starting MariaDB ...");
                let server = MariaDb::start(dir).await?;
                installation = installation.on_server(&server.url());
                Some(server)
            }
        };
        let listen = free_address()?;
        let furnished = testbed::furnish(&installation, &chain, listen, (wallets, rail)).await?;
        testbed::fund(&chain, &furnished.payers).await?;
        let options = testbed::server_options(&installation, &chain, listen, dir);
        Ok(Self {
            anvil,
            scope: testbed::whole_scope(&chain, &furnished.payers),
            api: ApiClient::new(listen, &furnished.secret)?,
            chain,
            installation,
            payers: furnished.payers,
            options,
            secret: furnished.secret,
            mariadb,
            folder,
        })
    }

    /// Starts the server, and waits until it is ready.
    pub(super) async fn serve(&self) -> Result<Server> {
        let server = Server::start(&self.options)?;
        server.ready().await?;
        Ok(server)
    }

    /// Where the files are.
    pub(super) fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves the files where they are, for a look.
    pub(super) fn keep_files(&mut self) {
        self.folder.disable_cleanup(true);
        eprintln!("kept for a look: {}", self.folder.path().display());
    }
}

/// Where the state is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Database {
    /// The embedded one.
    #[default]
    Sqlite,
    /// A MariaDB server that the command starts.
    Mysql,
}

/// How the report calls a profile.
pub(super) const fn profile_name(is_dev: bool) -> &'static str {
    if is_dev { "dev" } else { "release" }
}
