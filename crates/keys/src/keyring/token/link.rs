//! One opening of a token: the library, its slot, the handles of the keys and the sessions.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use alloy_primitives::B256;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use k256::ecdsa::VerifyingKey;
use thiserror::Error;

use super::TokenOptions;
use crate::keyring::signature::key_of_point;

/// The object identifier of secp256k1 (1.3.132.0.10) in DER, as `CKA_EC_PARAMS` has it.
const SECP256K1: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];

/// Why a token was not opened, or did not sign.
#[derive(Debug, Error)]
pub(super) enum LinkError {
    /// The library cannot be used.
    #[error(
        "the PKCS#11 library {path} cannot be used ({reason}): name the library of the module's maker"
    )]
    Module { path: String, reason: String },
    /// No slot holds a token of that label.
    #[error("no slot holds the token {label}; found: {found}")]
    NoToken { label: String, found: String },
    /// The token does not take the PIN. It is not shown to it again by this process.
    #[error(
        "the token refuses the PIN ({reason}), which is not tried again: set the right one and restart the signer"
    )]
    Pin { reason: String },
    /// No key pair of that label.
    #[error("the token has no key pair labelled {label}")]
    KeyMissing { label: String },
    /// A key that cannot be used.
    #[error("the key {label} {what}")]
    Unsuited { label: String, what: String },
    /// A token of the same label with other keys.
    #[error("another token took the place of the one that was opened: its keys differ")]
    OtherToken,
    /// It could not be opened again so far.
    #[error("the token is away")]
    Closed,
    /// The library says so.
    #[error("{0}")]
    Library(#[from] Error),
}

impl LinkError {
    /// Whether the token, or the session on it, was lost, so that it is worth opening it again.
    pub(super) const fn is_loss(&self) -> bool {
        match self {
            Self::NoToken { .. } | Self::Closed => true,
            Self::Library(Error::Pkcs11(code, _)) => matches!(
                code,
                RvError::DeviceRemoved
                    | RvError::DeviceError
                    | RvError::TokenNotPresent
                    | RvError::TokenNotRecognized
                    | RvError::SlotIdInvalid
                    | RvError::SessionHandleInvalid
                    | RvError::SessionClosed
                    | RvError::SessionCount
                    | RvError::UserNotLoggedIn
                    | RvError::CryptokiNotInitialized
                    | RvError::ObjectHandleInvalid
                    | RvError::KeyHandleInvalid
                    | RvError::GeneralError
                    | RvError::FunctionFailed
            ),
            _ => false,
        }
    }
}

/// An open token.
pub(super) struct Link {
    library: Pkcs11,
    slot: Slot,
    keys: Vec<(ObjectHandle, VerifyingKey)>,
    /// Sessions that nobody is using. The first is never closed before the others: with the last one the login ends.
    idle: Mutex<Vec<Session>>,
}

impl Link {
    /// Loads and starts the library, finds the token, logs in and finds the keys.
    pub(super) fn open(options: &TokenOptions) -> Result<Self, LinkError> {
        let library = start(&options.module)?;
        match Self::of_library(&library, options) {
            Ok(link) => Ok(link),
            Err(error) => {
                // Started anew, it looks for tokens anew: some libraries never do that otherwise.
                finish(library);
                Err(error)
            }
        }
    }

    fn of_library(library: &Pkcs11, options: &TokenOptions) -> Result<Self, LinkError> {
        let slot = find_slot(library, &options.token)?;
        let session = library.open_ro_session(slot)?;
        log_in(&session, options)?;
        let keys = options
            .keys
            .iter()
            .map(|key| find_key(&session, &key.label))
            .collect::<Result<Vec<_>, LinkError>>()?;
        Ok(Self { library: library.clone(), slot, keys, idle: Mutex::new(vec![session]) })
    }

    /// The public halves, in the order of the options.
    pub(super) fn public_keys(&self) -> impl Iterator<Item = &VerifyingKey> {
        self.keys.iter().map(|(_, public)| public)
    }

    /// Signs the digest as it is (`CKM_ECDSA`): `r ‖ s`.
    pub(super) fn sign(&self, place: usize, digest: B256) -> Result<Vec<u8>, LinkError> {
        let Some((handle, _)) = self.keys.get(place) else { return Err(LinkError::Closed) };
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let session = match idle {
            Some(session) => session,
            // The login holds for all sessions of this process.
            None => self.library.open_ro_session(self.slot)?,
        };
        let signed = session.sign(&Mechanism::Ecdsa, *handle, digest.as_slice());
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        Ok(signed?)
    }

    /// Closes the sessions and stops the library.
    pub(super) fn end(self) {
        drop(self.idle);
        finish(self.library);
    }
}

fn start(module: &Path) -> Result<Pkcs11, LinkError> {
    let unusable = |error: &Error| LinkError::Module {
        path: module.display().to_string(),
        reason: error.to_string(),
    };
    let library = Pkcs11::new(module).map_err(|error| unusable(&error))?;
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(library),
        Err(error) => Err(unusable(&error)),
    }
}

fn finish(library: Pkcs11) {
    if let Err(error) = library.finalize() {
        tracing::debug!(%error, "the PKCS#11 library did not stop");
    }
}

fn find_slot(library: &Pkcs11, label: &str) -> Result<Slot, LinkError> {
    let mut found = Vec::new();
    for slot in library.get_slots_with_token()? {
        // A token that is pulled out meanwhile is not the one.
        let Ok(info) = library.get_token_info(slot) else { continue };
        if info.label().trim_end() == label {
            return Ok(slot);
        }
        if info.token_initialized() {
            found.push(info.label().trim_end().to_owned());
        }
    }
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    Err(LinkError::NoToken { label: label.to_owned(), found })
}

fn log_in(session: &Session, options: &TokenOptions) -> Result<(), LinkError> {
    match session.login(UserType::User, Some(&options.pin)) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(Error::Pkcs11(
            code @ (RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired
            | RvError::PinLocked
            | RvError::UserPinNotInitialized),
            _,
        )) => Err(LinkError::Pin { reason: format!("{code:?}") }),
        Err(error) => Err(error.into()),
    }
}

fn find_key(session: &Session, label: &str) -> Result<(ObjectHandle, VerifyingKey), LinkError> {
    let private = the_only(session, label, ObjectClass::PRIVATE_KEY)?;
    let public = the_only(session, label, ObjectClass::PUBLIC_KEY)?;
    let unsuited =
        |what: &str| LinkError::Unsuited { label: label.to_owned(), what: what.to_owned() };
    let (mut point, mut curve) = (None, None);
    let wanted = [AttributeType::EcPoint, AttributeType::EcParams];
    for attribute in session.get_attributes(public, &wanted)? {
        match attribute {
            Attribute::EcPoint(bytes) => point = Some(bytes),
            Attribute::EcParams(bytes) => curve = Some(bytes),
            _ => {}
        }
    }
    if curve.as_deref() != Some(&SECP256K1[..]) {
        return Err(unsuited("is of another curve"));
    }
    let point = point.ok_or_else(|| unsuited("shows no public point"))?;
    let key = key_of_point(&point).map_err(|_| unsuited("has no public point of its curve"))?;
    Ok((private, key))
}

/// Labels need not be unique on a token, and money is not sent by whichever comes first.
fn the_only(session: &Session, label: &str, class: ObjectClass) -> Result<ObjectHandle, LinkError> {
    let template = [
        Attribute::Class(class),
        Attribute::KeyType(KeyType::EC),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    match session.find_objects(&template)?.as_slice() {
        [handle] => Ok(*handle),
        [] => Err(LinkError::KeyMissing { label: label.to_owned() }),
        several => Err(LinkError::Unsuited {
            label: label.to_owned(),
            what: format!("is one of {} of that label", several.len()),
        }),
    }
}
