//! `backup` and `restore`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_core::time::Clock;
use portcullis_store::backup::{file_of, files_of};
use portcullis_store::{Store, StoreOptions};
use serde_json::json;

use crate::cli::copies::{BackupArgs, RestoreArgs};
use crate::config::Config;
use crate::failure::Failure;
use crate::guard::is_mixed;
use crate::output::Output;
use crate::session::{Session, ready_schema};
use crate::signing::read_journal;

/// What a backup lacks, on purpose.
const NOT_IN_IT: [&str; 4] = [
    "the keystore (signer.keystore): back it up apart, once, and again after `keys new`",
    "its journal: it must never come back older than it is, so it is in no backup",
    "the sealing key (seal.key_file)",
    "the configuration",
];

/// How every file of `SQLite` begins (<https://www.sqlite.org/fileformat.html>, section 1.3.1).
const DATABASE_HEAD: &[u8; 16] = b"SQLite format 3\0";

/// Runs `backup`.
pub(crate) async fn backup(arguments: &BackupArgs, session: &Session) -> Result<(), Failure> {
    let file = &arguments.file;
    // Made first, so that nobody else can ever read it, and that nothing is overwritten.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    made.map_err(|error| Failure::Refused(format!("{}: {error}", file.display())))?;
    let outcome = session.store.back_up(file).await;
    if let Err(error) = outcome {
        let _removed = fs::remove_file(file);
        return Err(Failure::of_store("the backup", &error));
    }
    let bytes = fs::metadata(file).map_or(0, |metadata| metadata.len());
    let missing = NOT_IN_IT.join("\n  - ");
    let shown = file.display();
    let text = format!("{shown} holds the database ({bytes} bytes). Not in it:\n  - {missing}");
    session.output.show(
        &text,
        &json!({ "file": file.display().to_string(), "bytes": bytes, "not_included": NOT_IN_IT }),
    );
    Ok(())
}

/// Runs `restore`. The engine is stopped, or this refuses.
pub(crate) async fn restore(
    arguments: &RestoreArgs,
    config: &Config,
    clock: &Arc<dyn Clock>,
    output: Output,
) -> Result<(), Failure> {
    let url = config.database.url()?;
    let Some(target) = file_of(&url) else {
        return Err(Failure::Refused(
            "only an embedded database can be restored from a file".to_owned(),
        ));
    };
    let _locks = lock_out(&config.home())?;
    check_database(&arguments.file)?;
    let stamp = clock.now().to_rfc3339().replace([':', '.'], "-");
    let prepared = beside(&target, &format!(".restoring-{stamp}"));
    copy_private(&arguments.file, &prepared).map_err(|error| {
        Failure::Unavailable(format!("cannot copy {}: {error}", arguments.file.display()))
    })?;
    let epoch = match prepare(arguments, config, clock, (&target, &prepared)).await {
        Ok(epoch) => epoch,
        Err(failure) => {
            for file in files_of(&prepared) {
                let _removed = fs::remove_file(file);
            }
            return Err(failure);
        }
    };
    let kept = beside(&target, &format!(".replaced-{stamp}"));
    replace(&target, &prepared, &kept)
        .map_err(|error| Failure::failed("the files could not be exchanged", &error))?;
    let kept_text = kept.exists().then(|| kept.display().to_string());
    let text = format!(
        "{} is restored from {}, with epoch {epoch} of payout numbers.\n{}The engine is halted and takes nothing in. \
         Next: portcullis reconcile --repair, then portcullis serve; then let clients ask again for whatever they \
         are not sure of.",
        target.display(),
        arguments.file.display(),
        kept_text
            .as_ref()
            .map_or_else(String::new, |kept| format!("The replaced database is kept as {kept}.\n")),
    );
    let value = json!({ "database": target.display().to_string(), "epoch": epoch,
        "replaced_kept_as": kept_text, "next": "portcullis reconcile --repair" });
    output.show(&text, &value);
    Ok(())
}

/// Copies a backup into a new file that its owner alone may read, whoever could read the backup. Of a copy that fails nothing
/// is left.
fn copy_private(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut source = File::open(from)?;
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let copied = std::io::copy(&mut source, &mut copy).and_then(|_bytes| copy.sync_all());
    if copied.is_err() {
        let _removed = fs::remove_file(to);
    }
    copied
}

/// Refuses what is no file of an embedded database: opening it would only say that the database is unavailable.
fn check_database(file: &Path) -> Result<(), Failure> {
    let mut head = [0_u8; DATABASE_HEAD.len()];
    let read = File::open(file).and_then(|mut opened| opened.read_exact(&mut head));
    match read {
        Ok(()) if head == *DATABASE_HEAD => Ok(()),
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
            Err(Failure::Unavailable(format!("cannot read {}: {error}", file.display())))
        }
        _ => Err(Failure::Refused(format!(
            "{} is no database: name a file that `portcullis backup` wrote",
            file.display()
        ))),
    }
}

/// Nobody serves from this data directory while the locks are held.
pub(crate) fn lock_out(directory: &Path) -> Result<Vec<File>, Failure> {
    let mut locks = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else { return Ok(locks) };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        let file = File::open(&path)
            .map_err(|error| Failure::Unavailable(format!("{}: {error}", path.display())))?;
        match file.try_lock() {
            Ok(()) => locks.push(file),
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::Refused(format!(
                    "a process serves from {} ({} is locked): stop it first",
                    directory.display(),
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => {
                return Err(Failure::failed("a lock file cannot be locked", &error));
            }
        }
    }
    Ok(locks)
}

/// Makes the copy fit to be used: schema, epoch, halt and audit are in it before it is in its place.
async fn prepare(
    arguments: &RestoreArgs,
    config: &Config,
    clock: &Arc<dyn Clock>,
    (target, prepared): (&Path, &Path),
) -> Result<u64, Failure> {
    let failed = |error| Failure::of_store("the backup", &error);
    let store = open(prepared, config, clock).await?;
    ready_schema(&store, config).await?;
    let keys = config.seal.keys()?;
    if !store.sealing_key_fits(&keys).await.map_err(failed)? {
        return Err(config.seal.misfit().into());
    }
    let Some(backup) = store.deployment().await.map_err(failed)? else {
        return Err(Failure::Refused(format!(
            "{} is no database of Portcullis, or one that was never served",
            arguments.file.display()
        )));
    };
    let replaced = deployment_of(target, config, clock).await?;
    if let Some(replaced) = replaced
        && replaced.id != backup.id
    {
        return Err(Failure::Refused(format!(
            "the backup is of deployment {}, the database in place is of {}: move that one away first if you mean it",
            backup.id, replaced.id
        )));
    }
    let journal = read_journal(config).await?;
    let signed = journal.highest_number().map_or(0, |number| number.epoch);
    let known = replaced.map_or(0, |replaced| replaced.epoch).max(signed).max(backup.epoch);
    let actor = crate::actor::actor();
    let epoch = store.open_epoch_above(known, &actor).await.map_err(failed)?;
    let detail = format!(
        "restored from {} by {actor}. Run `portcullis reconcile --repair`",
        arguments.file.display()
    );
    store.raise_halt("restore", &detail).await.map_err(failed)?;
    store.take_into_use().await.map_err(failed)?;
    store.close().await;
    Ok(epoch)
}

async fn open(path: &Path, config: &Config, clock: &Arc<dyn Clock>) -> Result<Store, Failure> {
    let options = StoreOptions {
        url: path.display().to_string(),
        readers_max: 1,
        busy_timeout_ms: config.database.busy_timeout_ms,
        ..StoreOptions::default()
    };
    Store::open(&options, Arc::clone(clock))
        .await
        .map_err(|error| Failure::of_store("cannot open the database", &error))
}

/// Whose the database in place is. One that cannot be read is replaced all the same: that may be why.
async fn deployment_of(
    path: &Path,
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<Option<portcullis_store::deployment::Deployment>, Failure> {
    // Opened with the write-ahead log of another one, it would be spoiled; it is to be kept as it is.
    if !path.exists() || is_mixed(path) {
        return Ok(None);
    }
    let store = open(path, config, clock).await;
    let Ok(store) = store else { return Ok(None) };
    let deployment = store.deployment().await;
    store.close().await;
    Ok(deployment.unwrap_or_else(|error| {
        tracing::warn!(%error, "the replaced database cannot be read");
        None
    }))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Puts the old files aside and the new one in their place.
fn replace(target: &Path, prepared: &Path, kept: &Path) -> std::io::Result<()> {
    for (file, aside) in files_of(target).into_iter().zip(files_of(kept)) {
        if file.exists() {
            fs::rename(file, aside)?;
        }
    }
    // The prepared one was closed, so its log is part of it; what is left of that is empty.
    for file in files_of(prepared).iter().skip(1).filter(|file| file.exists()) {
        fs::remove_file(file)?;
    }
    fs::rename(prepared, target)?;
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}
