//! The keys of `[signer]`: each kind of holder has sections of its own.

use super::{Entry, Kind, entry};

use Kind::{Integer, Path, Secret, Text, Words};

pub(super) const SIGNER: &[Entry] = &[
    entry(
        "signer.kind",
        Words(&["keystore", "kms", "secrets-manager", "pkcs11"]),
        "keystore",
        "Who holds the keys. Sections of another kind are refused.",
    ),
    entry(
        "signer.keystore",
        Path,
        "keys/keystore.json",
        "The encrypted keystore, outside data.dir; the journal lies beside it.",
    ),
    entry(
        "signer.passphrase",
        Secret,
        "",
        "What opens it; asked for on the terminal where it is not set.",
    ),
    entry(
        "signer.second_secret",
        Secret,
        "",
        "A second secret, where keystore or secret were made with one.",
    ),
    entry(
        "signer.journal.kind",
        Words(&["file", "mysql"]),
        "file",
        "Where the signer remembers what it signed: a file, or a database that several signers share.",
    ),
    entry(
        "signer.journal.path",
        Path,
        "",
        "The file, outside data.dir, where the keys are held elsewhere; default: keys/signer.journal. That of a keystore lies beside it.",
    ),
    entry(
        "signer.journal.url",
        Secret,
        "",
        "Required with mysql: mysql://user:password@host:3306/portcullis_journal, whose user adds and reads.",
    ),
    entry(
        "signer.journal.id",
        Text,
        "",
        "The journal's name, as portcullis keys journal prints it; required unless signer.kind is keystore.",
    ),
    entry(
        "signer.journal.statement_timeout_ms",
        Integer(100, 60_000),
        "5000",
        "How long one statement may take.",
    ),
    entry(
        "signer.aws.region",
        Text,
        "",
        "With kms and secrets-manager: the region; default: AWS_REGION.",
    ),
    entry("signer.aws.endpoint", Text, "", "Another endpoint than the region's."),
    entry(
        "signer.aws.request_timeout_ms",
        Integer(50, 60_000),
        "3000",
        "How long one try may take.",
    ),
    entry(
        "signer.aws.call_timeout_ms",
        Integer(50, 600_000),
        "10000",
        "How long all tries of a call may take.",
    ),
    entry("signer.aws.tries_max", Integer(1, 10), "4", "How often a call is tried."),
    entry(
        "signer.kms.concurrency",
        Integer(1, 256),
        "32",
        "With kms: signatures that are asked for at once.",
    ),
    entry("signer.kms.key.id", Text, "", "Required: id, ARN or alias of a key."),
    entry("signer.kms.key.network", Text, "", "Required: the network that it signs for."),
    entry("signer.kms.key.address", Text, "", "Its address; another one is refused."),
    entry("signer.secret.name", Text, "", "With secrets-manager, required: the secret's name."),
    entry(
        "signer.secret.wrapping",
        Words(&["kms", "operator", "both"]),
        "kms",
        "Who wraps its data key; operator and both take signer.second_secret.",
    ),
    entry(
        "signer.secret.kms_key",
        Text,
        "",
        "Required unless operator: the symmetric key of KMS; its id, ARN or alias.",
    ),
    entry("signer.secret.kept_seconds", Integer(0, 86_400), "300", "How long keys stay in memory."),
    entry("signer.pkcs11.module", Path, "", "With pkcs11, required: the library of the maker."),
    entry("signer.pkcs11.token", Text, "", "Required: the label of the token."),
    entry("signer.pkcs11.pin", Secret, "", "Required: the PIN of the token's user."),
    entry(
        "signer.pkcs11.sessions_max",
        Integer(1, 256),
        "8",
        "Sessions, and so signatures, at once.",
    ),
    entry("signer.pkcs11.key.label", Text, "", "Required: the label of a key pair."),
    entry("signer.pkcs11.key.network", Text, "", "Required: the network that it signs for."),
    entry("signer.pkcs11.key.address", Text, "", "Its address; another one is refused."),
];
