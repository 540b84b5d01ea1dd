//! A MariaDB server of a test's own: in a temporary directory, on a free port of the loopback interface, and gone with the
//! process that started it, however that ends.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use thiserror::Error;

/// What a test is told where the server is not installed.
const MISSING: &str =
    "was not found: install the package mariadb-server (`cargo xtask test` does so on Debian)";

/// How long a start may take, in tenths of a second.
const START_TENTHS: u32 = 600;

/// Between two looks at a server that starts or ends.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The user that tests connect as.
const USER: &str = "portcullis";

/// Its password, and the socket, are of a server that nobody but this machine reaches, for as long as a test runs.
const PASSWORD: &str = "portcullis";

/// Runs the server for as long as our end of the pipe is open. The kernel closes it when this process ends, also by
/// SIGKILL.
const SUPERVISOR: &str = r#"
directory=$1; shift
"$@" >>"$directory/server.log" 2>&1 </dev/null &
server=$!
echo "$server" >"$directory/server.pid"
cat >/dev/null
kill "$server" 2>/dev/null
wait "$server"
[ -e "$directory/keep" ] || rm -rf "$directory"
"#;

/// Why there is no server.
#[derive(Debug, Error)]
pub enum MariaDbError {
    /// A program of MariaDB is not installed.
    #[error("{program} {MISSING}")]
    Missing {
        /// Which.
        program: &'static str,
    },
    /// It is installed and does not run; the server's own words are in it.
    #[error("MariaDB did not start: {0}")]
    NotStarted(String),
    /// The server refused a statement.
    #[error("MariaDB refused: {0}")]
    Refused(String),
    /// The operating system refused something.
    #[error("MariaDB's directory: {0}")]
    Io(#[from] io::Error),
}

/// A running server.
#[derive(Debug)]
pub struct MariaDb {
    directory: PathBuf,
    port: u16,
    arguments: Vec<String>,
    supervisor: Child,
}

impl MariaDb {
    /// Starts a server with nothing in it.
    ///
    /// # Errors
    /// See [`MariaDbError`].
    pub fn start() -> Result<Self, MariaDbError> {
        Self::start_with(&[])
    }

    /// Starts one with arguments of the test's own, which win over those that every server gets.
    ///
    /// # Errors
    /// See [`MariaDbError`].
    pub fn start_with(arguments: &[String]) -> Result<Self, MariaDbError> {
        let directory = new_directory()?;
        install(&directory)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let supervisor = spawn(&directory, port, arguments)?;
        let mut server = Self { directory, port, arguments: arguments.to_vec(), supervisor };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// The one server of this process.
    ///
    /// # Panics
    /// When it does not start: a test that needs MariaDB fails by that name.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<MariaDb> = OnceLock::new();
        SHARED.get_or_init(|| Self::start().unwrap_or_else(|error| panic!("{error}")))
    }

    /// Where it listens, on the loopback.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database of it; of none where the name is empty.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("mysql://{USER}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes a database, and answers its URL.
    ///
    /// # Errors
    /// It is there already, or the server does not answer.
    pub fn create_database(&self, name: &str) -> Result<String, MariaDbError> {
        let create = format!("CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
        self.execute("mysql", &create)?;
        Ok(self.url(name))
    }

    /// Runs statements in a database, as an operator would.
    ///
    /// # Errors
    /// The server refuses one, or does not answer.
    pub fn execute(&self, database: &str, statements: &str) -> Result<(), MariaDbError> {
        self.query(database, statements).map(|_rows| ())
    }

    /// The same, and what was answered: a row a line, its values between tabs.
    ///
    /// # Errors
    /// The server refuses one, or does not answer.
    pub fn query(&self, database: &str, statements: &str) -> Result<String, MariaDbError> {
        let program = "mariadb";
        let output = Command::new(program)
            .args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1"])
            .args(["--batch", "--skip-column-names"])
            .args([format!("--port={}", self.port), format!("--user={USER}")])
            .args([&format!("--password={PASSWORD}"), "--execute", statements, database])
            .output()
            .map_err(|error| missing(program, error))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(MariaDbError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    /// Ends the server at once, as a loss of power to its process alone would: nothing is flushed, nobody is told.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<(), MariaDbError> {
        // The supervisor goes first, or it would take the directory away.
        fs::write(self.directory.join("keep"), "")?;
        let pid = fs::read_to_string(self.directory.join("server.pid"))?;
        let killed = Command::new("kill").args(["-KILL", pid.trim()]).status()?;
        if !killed.success() {
            return Err(MariaDbError::NotStarted(format!("process {} is gone", pid.trim())));
        }
        drop(self.supervisor.stdin.take());
        self.supervisor.wait()?;
        for file in ["keep", "server.pid"] {
            fs::remove_file(self.directory.join(file))?;
        }
        Ok(())
    }

    /// Starts it again after [`MariaDb::kill`], on the same port with what it had.
    ///
    /// # Errors
    /// See [`MariaDbError`].
    pub fn start_again(&mut self) -> Result<(), MariaDbError> {
        self.supervisor = spawn(&self.directory, self.port, &self.arguments)?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<(), MariaDbError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        for _ in 0..START_TENTHS {
            if TcpStream::connect_timeout(&address, LOOK_EVERY).is_ok() {
                return Ok(());
            }
            if !Path::new("/proc").join(self.pid()).exists() && !self.pid().is_empty() {
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let log = fs::read_to_string(self.directory.join("server.log")).unwrap_or_default();
        let words: Vec<&str> = log.lines().rev().take(8).collect();
        Err(MariaDbError::NotStarted(words.into_iter().rev().collect::<Vec<_>>().join("\n")))
    }

    fn pid(&self) -> String {
        let pid = fs::read_to_string(self.directory.join("server.pid"));
        pid.map(|pid| pid.trim().to_owned()).unwrap_or_default()
    }
}

/// A server of one test ends with it. The shared one ends with the process.
impl Drop for MariaDb {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        let _ended = self.supervisor.wait();
    }
}

fn new_directory() -> io::Result<PathBuf> {
    let parent = std::env::temp_dir();
    for number in 0..u32::MAX {
        let directory = parent.join(format!("portcullis-mariadb-{}-{number}", std::process::id()));
        match fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("every name is taken"))
}

/// Where a server has its temporary tables. A starting one removes those of all others in the same folder.
const TEMPORARY: &str = "TMPDIR";

/// Makes the system tables.
fn install(directory: &Path) -> Result<(), MariaDbError> {
    let program = "mariadb-install-db";
    let mut command = Command::new(program);
    command
        .args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"])
        .arg(format!("--datadir={}", directory.join("data").display()))
        .args(user_arguments(directory)?)
        .env(TEMPORARY, directory);
    let output = command.output().map_err(|error| missing(program, error))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(MariaDbError::NotStarted(words));
    }
    let grants = format!(
        "CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n\
         GRANT ALL ON *.* TO '{USER}'@'%' WITH GRANT OPTION;\n"
    );
    fs::write(directory.join("init.sql"), grants)?;
    Ok(())
}

fn spawn(directory: &Path, port: u16, arguments: &[String]) -> Result<Child, MariaDbError> {
    let program = server_program()?;
    let at = |name: &str| directory.join(name).display().to_string();
    let child = Command::new("sh")
        .args(["-c", SUPERVISOR, "supervisor"])
        .arg(directory)
        .arg(program)
        .arg("--no-defaults")
        .args(user_arguments(directory)?)
        .args([
            format!("--datadir={}", at("data")),
            format!("--socket={}", at("socket")),
            format!("--init-file={}", at("init.sql")),
            format!("--port={port}"),
        ])
        .args([
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--skip-log-bin",
            "--max-connections=600",
            "--performance-schema=OFF",
            "--innodb-buffer-pool-size=128M",
            // What is committed survives the end of the server's process; only a loss of power could take it.
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-flush-method=nosync",
        ])
        .args(arguments)
        .env(TEMPORARY, directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // An interrupt from the keyboard is for the test; its end is what ends the server.
        .process_group(0)
        .spawn()?;
    Ok(child)
}

/// On Debian it is where only the administrator's path leads.
fn server_program() -> Result<PathBuf, MariaDbError> {
    let name = "mariadbd";
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(name)).find(|program| program.is_file());
    found.ok_or(MariaDbError::Missing { program: name })
}

/// The server refuses to run as the administrator unless it is told so.
fn user_arguments(directory: &Path) -> io::Result<Vec<&'static str>> {
    let is_root = fs::metadata(directory)?.uid() == 0;
    Ok(if is_root { vec!["--user=root"] } else { Vec::new() })
}

fn missing(program: &'static str, error: io::Error) -> MariaDbError {
    if error.kind() == ErrorKind::NotFound {
        return MariaDbError::Missing { program };
    }
    error.into()
}
