//! Asks for a passphrase on the terminal, without showing it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Puts the terminal back as it was, whatever happens in between.
struct Silenced<'a> {
    terminal: &'a File,
    before: Termios,
}

impl Drop for Silenced<'_> {
    fn drop(&mut self) {
        // Nothing is left to be done when the terminal is gone.
        let _outcome = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Asks once, or twice for a new passphrase.
pub(super) fn ask(is_new: bool) -> Result<SecretString, Failure> {
    let mut terminal =
        OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(|_| {
            Failure::Usage(
                "the keystore's passphrase is needed and there is no terminal to ask on: set \
                 signer.passphrase_file, or PORTCULLIS__SIGNER__PASSPHRASE_FILE"
                    .to_owned(),
            )
        })?;
    let first = ask_once(&mut terminal, "Keystore passphrase: ")?;
    if is_new {
        let second = ask_once(&mut terminal, "The same again: ")?;
        if first.expose_secret() != second.expose_secret() {
            return Err(Failure::Usage("the two passphrases differ; nothing was done".to_owned()));
        }
    }
    Ok(first)
}

fn ask_once(terminal: &mut File, prompt: &str) -> Result<SecretString, Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::failed("cannot read the passphrase from the terminal", error)
    };
    let before = tcgetattr(&*terminal).map_err(|error| failed(&error))?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&*terminal, OptionalActions::Flush, &silent).map_err(|error| failed(&error))?;
    let _silenced = Silenced { terminal: &*terminal, before };
    let mut writer: &File = terminal;
    writer.write_all(prompt.as_bytes()).map_err(|error| failed(&error))?;
    let mut line = Zeroizing::new(String::new());
    BufReader::new(&*terminal).read_line(&mut line).map_err(|error| failed(&error))?;
    writer.write_all(b"\n").map_err(|error| failed(&error))?;
    Ok(SecretString::from(line.trim_end_matches(['\r', '\n']).to_owned()))
}
