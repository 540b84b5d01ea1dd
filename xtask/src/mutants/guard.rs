//! Builds and runs one test of the copy, and judges how it ended. Only a test that ran and panicked has noticed something:
//! what does not compile, hangs or is killed has noticed nothing.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tokio::process::Command;

use super::patch::Guard;
use super::scratch::Scratch;

/// How long one test may run. The guards take seconds.
const TEST_TIME_MAX: Duration = Duration::from_mins(3);

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It passed.
    Passed,
    /// It panicked: where, and with which first words.
    Failed(String),
    /// Neither: it was not there, hung, or was killed.
    Neither(String),
}

/// What came of a build.
#[derive(Debug)]
pub(super) enum Built {
    /// The executable of the test.
    Executable(PathBuf),
    /// The compiler's words.
    Refused(String),
}

/// The part of cargo's messages that names an executable, or what the compiler says.
#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
    #[serde(rename = "message")]
    diagnostic: Option<Diagnostic>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Diagnostic {
    level: String,
    rendered: Option<String>,
}

/// Builds the target that the guard is in.
pub(super) async fn build(scratch: &Scratch, guard: &Guard) -> Result<Built> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "--locked", "--no-run", "--message-format=json"]);
    command.arg("--target-dir").arg(&scratch.target).args(["--package", &guard.package]);
    match &guard.test {
        Some(test) => command.args(["--test", test]),
        None => command.arg("--lib"),
    };
    // A guard takes seconds; what is built for each mutant anew is built sooner without optimisation.
    command.args(["--config", "profile.dev.package.'*'.opt-level=0"]);
    // Nobody debugs a mutant, and without symbols it is linked faster.
    command.env("CARGO_PROFILE_DEV_DEBUG", "0").current_dir(&scratch.tree);
    command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = command.output().await.context("cargo could not be started")?;
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let why = first_error(&messages)
            .unwrap_or_else(|| String::from_utf8_lossy(&output.stderr).trim().to_owned());
        return Ok(Built::Refused(why));
    }
    let executable = executable_of(&messages, guard);
    Ok(Built::Executable(executable.with_context(|| format!("cargo built no test for {guard}"))?))
}

fn read_messages(messages: &str) -> impl Iterator<Item = Message> + '_ {
    messages.lines().filter_map(|line| serde_json::from_str(line).ok())
}

fn executable_of(messages: &str, guard: &Guard) -> Option<PathBuf> {
    read_messages(messages)
        .filter(|message| message.reason == "compiler-artifact")
        .filter(|message| message.profile.as_ref().is_some_and(|profile| profile.test))
        .filter(|message| {
            message.target.as_ref().is_some_and(|target| match &guard.test {
                Some(test) => target.name == *test,
                None => target.kind.iter().any(|kind| kind == "lib"),
            })
        })
        .find_map(|message| message.executable)
}

fn first_error(messages: &str) -> Option<String> {
    read_messages(messages)
        .filter_map(|message| message.diagnostic)
        .find(|diagnostic| diagnostic.level == "error")
        .and_then(|diagnostic| diagnostic.rendered)
}

/// Runs the guard, and nothing else of its target.
pub(super) async fn run(scratch: &Scratch, executable: &Path, guard: &Guard) -> Result<Verdict> {
    let folder = guard.package.strip_prefix("portcullis-").unwrap_or(&guard.package);
    let package = scratch.tree.join("crates").join(folder);
    ensure!(package.is_dir(), "{} is not in crates/{folder}", guard.package);
    let mut command = Command::new(executable);
    command.args(["--exact", &guard.name, "--test-threads", "1"]).current_dir(package);
    command.env("RUST_BACKTRACE", "0").stdin(Stdio::null()).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = command.spawn().with_context(|| format!("{guard} could not be started"))?;
    match tokio::time::timeout(TEST_TIME_MAX, running.wait_with_output()).await {
        Ok(output) => Ok(judge(&guard.name, &output.context("the test's output was lost")?)),
        Err(_) => Ok(Verdict::Neither(format!("it ran for {} s", TEST_TIME_MAX.as_secs()))),
    }
}

/// What the test runner's own words say of the test.
fn judge(name: &str, output: &Output) -> Verdict {
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(signal) = output.status.signal() {
        return Verdict::Neither(format!("signal {signal} ended it"));
    }
    let says = |end: &str| text.lines().any(|line| line == format!("test {name} ... {end}"));
    if output.status.success() && says("ok") {
        return Verdict::Passed;
    }
    let section = text.split_once(&format!("---- {name} stdout ----")).map(|(_, section)| section);
    match section.and_then(first_panic) {
        Some(panic) if says("FAILED") => Verdict::Failed(panic),
        _ if text.contains("running 0 tests") => Verdict::Neither("there is no such test".into()),
        _ => {
            let status = output.status;
            Verdict::Neither(format!("it ended with {status} and no panic of its own"))
        }
    }
}

/// `file:line: first words` of the first panic.
fn first_panic(section: &str) -> Option<String> {
    let (_, panic) = section.split_once(" panicked at ")?;
    let (place, words) = panic.split_once('\n')?;
    let mut place = place.trim_end_matches(':').rsplitn(2, ':');
    let (_column, place) = (place.next()?, place.next()?);
    let lines = words.lines().map(str::trim).take_while(|line| !line.starts_with("note:"));
    let mut words = lines.take(3).collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = words.char_indices().nth(160) {
        words.truncate(at);
    }
    Some(format!("{place}: {}", words.trim()))
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::*;

    fn ended(raw: i32, text: &str) -> Output {
        Output { status: ExitStatus::from_raw(raw), stdout: text.into(), stderr: Vec::new() }
    }

    const FAILURE: &str = "\nrunning 1 test\ntest a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\n\n\
        thread 'a::b' (17) panicked at crates/a/src/b.rs:12:5:\nassertion `left == right` failed\n  left: 1\n \
        right: 2\nnote: run with `RUST_BACKTRACE=1`\n\ntest result: FAILED. 0 passed; 1 failed\n";

    #[test]
    fn only_a_panic_of_the_test_is_a_failure() {
        let passed = "running 1 test\ntest a::b ... ok\n\ntest result: ok. 1 passed\n";
        assert_eq!(judge("a::b", &ended(0, passed)), Verdict::Passed);
        let panic = "crates/a/src/b.rs:12: assertion `left == right` failed left: 1 right: 2";
        assert_eq!(judge("a::b", &ended(101 << 8, FAILURE)), Verdict::Failed(panic.into()));
        for (raw, text) in [
            (0, "running 0 tests\n\ntest result: ok. 0 passed\n"),
            (6, FAILURE),
            (101 << 8, "running 1 test\n"),
            (101 << 8, "error: unknown argument"),
            (0, "test a::bc ... ok\n"),
        ] {
            let verdict = judge("a::b", &ended(raw, text));
            assert!(matches!(verdict, Verdict::Neither(_)), "{text}: {verdict:?}");
        }
    }

    #[test]
    fn the_executable_is_that_of_the_guards_target() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"a","kind":["lib"]},"profile":{"test":false},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"a","kind":["lib"]},"profile":{"test":true},"executable":"/x/unit"}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"b","kind":["test"]},"profile":{"test":true},"executable":"/x/b"}"#,
            "\n",
            r#"{"reason":"compiler-message","message":{"level":"warning","rendered":"unused"}}"#,
            "\n",
            r#"{"reason":"compiler-message","message":{"level":"error","rendered":"no such type"}}"#,
        );
        let guard = |test: Option<&str>| Guard {
            package: "p".into(),
            test: test.map(str::to_owned),
            name: "n".into(),
        };
        assert_eq!(executable_of(messages, &guard(None)), Some("/x/unit".into()));
        assert_eq!(executable_of(messages, &guard(Some("b"))), Some("/x/b".into()));
        assert_eq!(executable_of(messages, &guard(Some("c"))), None);
        assert_eq!(first_error(messages).as_deref(), Some("no such type"));
    }
}
