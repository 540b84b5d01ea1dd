//! Keys in a hardware security module, by PKCS#11. They never leave it: digests go in, signatures come out.
//!
//! Every call of the library blocks, so all of it runs where blocking is allowed. Sessions are pooled; after a loss of the
//! token they are opened anew, and the PIN is shown to it again, once. A PIN that it refused is never shown twice: three
//! wrong ones lock a token for good.

mod link;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::thread;

use alloy_primitives::{Address, B256};
use k256::ecdsa::VerifyingKey;
use secrecy::SecretString;

use self::link::{Link, LinkError};
use super::error::{KeyError, KeyringError};
use super::signature::{address_of, from_numbers};
use super::{Ask, HELD_BY_TOKEN, Signed};

/// Where the token is and what is used of it.
#[derive(Debug)]
pub struct TokenOptions {
    /// The PKCS#11 library of the module's maker.
    pub module: PathBuf,
    /// The label of the token.
    pub token: String,
    /// The PIN of its user.
    pub pin: SecretString,
    /// The most sessions at once, and so the most signatures at once.
    pub sessions_max: usize,
    /// The keys.
    pub keys: Vec<TokenKey>,
}

/// One key pair of the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenKey {
    /// The label of both halves of the pair.
    pub label: String,
    /// The chain that it signs for.
    pub chain_id: u64,
    /// What its address has to be, where the configuration says so.
    pub address: Option<Address>,
}

/// The keys of a token. Cheap to clone; all clones share its sessions.
#[derive(Clone)]
pub struct TokenKeys {
    token: Arc<Token>,
}

struct Token {
    options: TokenOptions,
    keys: BTreeMap<(u64, Address), Known>,
    door: RwLock<Door>,
}

/// The way to the token, and how often it was opened.
struct Door {
    link: Option<Link>,
    opened: u64,
    /// What the token said to the PIN. It is not asked again.
    pin_refused: Option<String>,
}

/// A key: its place among the options' keys, and its public half.
struct Known {
    place: usize,
    public: VerifyingKey,
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Token { options, keys, .. } = &*self.token;
        write!(formatter, "TokenKeys({}, {} keys)", options.token, keys.len())
    }
}

impl TokenKeys {
    /// Opens the token and reads the public keys. Blocks.
    ///
    /// # Errors
    /// See [`KeyringError`].
    pub fn open(options: TokenOptions) -> Result<Self, KeyringError> {
        let link = Link::open(&options).map_err(|error| of_setup(&error))?;
        let mut keys = BTreeMap::new();
        for (place, (key, public)) in options.keys.iter().zip(link.public_keys()).enumerate() {
            let address = address_of(public);
            if let Some(expected) = key.address.filter(|expected| *expected != address) {
                let key = key.label.clone();
                return Err(KeyringError::OtherAddress { key, expected, found: address });
            }
            if keys.keys().any(|(_, known)| *known == address) {
                return Err(KeyringError::Twice { address });
            }
            keys.insert((key.chain_id, address), Known { place, public: *public });
        }
        let door = RwLock::new(Door { link: Some(link), opened: 1, pin_refused: None });
        Ok(Self { token: Arc::new(Token { options, keys, door }) })
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = (u64, Address)> {
        self.token.keys.keys().copied()
    }

    /// Signs all of them, as many at once as there may be sessions.
    pub(super) async fn sign(&self, asked: Vec<Ask>) -> Vec<Signed> {
        let (token, count) = (Arc::clone(&self.token), asked.len());
        let signing = tokio::task::spawn_blocking(move || token.sign_all(&asked));
        signing.await.unwrap_or_else(|_| {
            let reason = "the process is stopping".to_owned();
            vec![Err(KeyError::Unavailable { holder: HELD_BY_TOKEN, reason }); count]
        })
    }
}

impl Token {
    /// Each thread has a session of its own and takes the next digest when it is done with one. Once the token is
    /// away, the rest is not tried: every try may take as long as the library waits for it.
    fn sign_all(&self, asked: &[Ask]) -> Vec<Signed> {
        let next = AtomicUsize::new(0);
        let away: OnceLock<KeyError> = OnceLock::new();
        let outcomes: Vec<OnceLock<Signed>> = asked.iter().map(|_| OnceLock::new()).collect();
        let work = || {
            while let Some(place) = take(&next, asked.len()) {
                let outcome = match away.get() {
                    Some(error) => Err(error.clone()),
                    None => self.sign_one(&asked[place]),
                };
                if let Err(error @ (KeyError::Unavailable { .. } | KeyError::Refused { .. })) =
                    &outcome
                {
                    away.get_or_init(|| error.clone());
                }
                outcomes[place].get_or_init(|| outcome);
            }
        };
        let threads = self.options.sessions_max.min(asked.len());
        thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        outcomes
            .into_iter()
            .map(|outcome| outcome.into_inner().expect("every place was taken by a thread"))
            .collect()
    }

    /// Signs, and where the token was lost, opens it anew and signs once more.
    fn sign_one(&self, ask: &Ask) -> Signed {
        let known = self.keys.get(&ask.key).ok_or_else(|| KeyError::Refused {
            holder: HELD_BY_TOKEN,
            reason: format!("there is no key of {}", ask.key.1),
        })?;
        let (opened, first) = self.try_sign(known, ask.digest);
        match first {
            Err(error) if error.is_loss() => {
                tracing::warn!(%error, "the sessions of the token were lost; they are opened anew");
                self.open_anew(opened).map_err(|error| error.to_key_error())?;
                self.try_sign(known, ask.digest).1
            }
            first => first,
        }
        .map_err(|error| error.to_key_error())
        .and_then(|bytes| {
            from_numbers(&bytes, ask.digest, &known.public)
                .map_err(|reason| KeyError::Answer { holder: HELD_BY_TOKEN, reason })
        })
    }

    /// With the number of the opening that it was tried with.
    fn try_sign(&self, known: &Known, digest: B256) -> (u64, Result<Vec<u8>, LinkError>) {
        // Held while the library is at work: nobody ends it meanwhile.
        let door = self.door.read().unwrap_or_else(PoisonError::into_inner);
        let signed = match &door.link {
            Some(link) => link.sign(known.place, digest),
            None => Err(LinkError::Closed),
        };
        (door.opened, signed)
    }

    /// Opens the token again, unless another thread has done that since opening `seen`.
    fn open_anew(&self, seen: u64) -> Result<(), LinkError> {
        let mut door = self.door.write().unwrap_or_else(PoisonError::into_inner);
        if door.opened != seen && door.link.is_some() {
            return Ok(());
        }
        if let Some(reason) = &door.pin_refused {
            return Err(LinkError::Pin { reason: reason.clone() });
        }
        if let Some(link) = door.link.take() {
            link.end();
        }
        let link = match Link::open(&self.options) {
            Ok(link) => link,
            Err(error) => {
                if let LinkError::Pin { reason } = &error {
                    door.pin_refused = Some(reason.clone());
                }
                return Err(error);
            }
        };
        let same = self.keys.values().all(|known| {
            link.public_keys().nth(known.place).is_some_and(|public| *public == known.public)
        });
        if !same {
            link.end();
            return Err(LinkError::OtherToken);
        }
        door.link = Some(link);
        door.opened = door.opened.saturating_add(1);
        tracing::info!(token = self.options.token, "the token is open again");
        Ok(())
    }
}

fn take(next: &AtomicUsize, count: usize) -> Option<usize> {
    let place = next.fetch_add(1, Ordering::Relaxed);
    (place < count).then_some(place)
}

fn of_setup(error: &LinkError) -> KeyringError {
    match error {
        LinkError::KeyMissing { label } => KeyringError::Missing {
            holder: HELD_BY_TOKEN,
            key: label.clone(),
            hint: "look at the labels of the token's key pairs (pkcs11-tool --list-objects)"
                .to_owned(),
        },
        LinkError::Unsuited { label, what } => {
            KeyringError::Unsuited { key: label.clone(), what: what.clone() }
        }
        other => KeyringError::Setup { holder: HELD_BY_TOKEN, reason: other.to_string() },
    }
}

impl LinkError {
    fn to_key_error(&self) -> KeyError {
        let (holder, reason) = (HELD_BY_TOKEN, self.to_string());
        if self.is_loss() {
            KeyError::Unavailable { holder, reason }
        } else {
            KeyError::Refused { holder, reason }
        }
    }
}
