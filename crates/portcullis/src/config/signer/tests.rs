use crate::config::{Config, ConfigError, HolderConfig, JournalPlace, Layers};

const KMS: &str = r#"
[signer]
kind = "kms"
[signer.aws]
region = "eu-central-1"
[[signer.kms.key]]
id = "alias/payouts"
network = "localhost"
[signer.journal]
id = "0x000102030405060708090a0b0c0d0e0f"
"#;

const SECRET: &str = r#"
[signer]
kind = "secrets-manager"
second_secret = "hunter2"
[signer.secret]
name = "portcullis/hot"
wrapping = "both"
kms_key = "alias/wrap"
kept_seconds = 0
[signer.journal]
kind = "mysql"
url = "mysql://journal:hunter2@db/portcullis_journal"
"#;

const TOKEN: &str = r#"
[signer]
kind = "pkcs11"
[signer.pkcs11]
module = "/usr/lib/module.so"
token = "portcullis"
pin = "hunter2"
[[signer.pkcs11.key]]
label = "payouts"
network = "localhost"
[signer.journal]
path = "hsm.journal"
"#;

fn load(text: &str) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("portcullis.toml");
    std::fs::write(&path, text).expect("writable");
    Config::load(Layers { file: Some(path), ..Layers::default() })
}

fn told(text: &str) -> String {
    load(text).expect_err(text).to_string()
}

#[test]
fn each_kind_is_read_and_printed_as_a_configuration_again() {
    for text in ["", KMS, SECRET, TOKEN] {
        let config = load(text).expect("right");
        let printed = toml::to_string(&config.print()).expect("a table");
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(!format!("{config:?}").contains("hunter2"));
        for printed in [&printed, &config.print_with_sources()] {
            let again = load(printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
            assert_eq!(again.print(), config.print());
        }
    }
}

#[test]
fn a_kind_has_its_own_section_and_journal() {
    let config = load(KMS).expect("right");
    let HolderConfig::Kms(kms) = &config.signer.holder else { panic!("it is KMS") };
    assert_eq!((kms.keys.len(), kms.concurrency), (1, 32));
    let JournalPlace::File(path) = &config.signer.journal.place else { panic!("it is a file") };
    assert!(path.ends_with("keys/signer.journal"), "{}", path.display());
    let config = load("").expect("right");
    assert!(config.signer.holder.is_keystore());
    let JournalPlace::File(path) = &config.signer.journal.place else { panic!("it is a file") };
    assert!(path.ends_with("keys/keystore.json.journal"), "{}", path.display());
}

#[test]
fn the_check_looks_for_the_library_of_a_token() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("portcullis.toml");
    std::fs::write(&file, TOKEN.replace("/usr/lib/module.so", "module.so")).expect("writable");
    let checked = |environment: &[(&str, &str)]| {
        let environment =
            environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let layers = Layers { file: Some(file.clone()), environment, flags: Vec::new() };
        let config = Config::load(layers).expect("right");
        ConfigError::Invalid(config.serving_problems(&[])).to_string()
    };
    let elsewhere = [("PORTCULLIS__SIGNER__PKCS11__MODULE", "/nowhere/module.so")];
    let by_name = [("PORTCULLIS__SIGNER__PKCS11__MODULE", "module.so")];
    let told = checked(&[]);
    let beside = folder.path().join("module.so");
    assert!(told.contains(&format!("signer.pkcs11.module = {}", beside.display())), "{told}");
    assert!(told.contains("there is no such file"), "{told}");
    assert!(checked(&elsewhere).contains("PORTCULLIS__SIGNER__PKCS11__MODULE"));
    assert!(!checked(&by_name).contains("signer.pkcs11.module"), "the system finds it, or not");
    std::fs::write(beside, "a library").expect("writable");
    assert!(!checked(&[]).contains("signer.pkcs11.module"));
}

#[test]
fn what_does_not_go_together_is_refused() {
    let misspelt = KMS.replace("localhost", "polygn");
    let in_the_data = TOKEN.replace("hsm.journal", "data/hsm.journal");
    let needless = SECRET.replace("both", "operator");
    for (text, expected) in [
        ("[signer]\nkind = \"kms\"", "signer.kms.key is missing"),
        ("[signer]\nkind = \"hsm\"", "one of keystore, kms, secrets-manager, pkcs11"),
        ("[signer]\nkind = \"pkcs11\"", "signer.pkcs11.module is missing"),
        ("[signer]\nkind = \"pkcs11\"", "signer.pkcs11.pin is missing"),
        ("[signer]\nkind = \"secrets-manager\"", "signer.secret.kms_key is missing"),
        ("[signer.kms]\nconcurrency = 5", "signer.kms (the configuration file) is unknown"),
        ("[signer.journal]\nkind = \"mysql\"", "signer.journal.url is missing"),
        ("[signer.journal]\nurl = \"mysql://hunter2@db/j\"", "only with signer.journal.kind"),
        ("[signer.journal]\npath = \"elsewhere\"", "lies beside it"),
        ("[signer.journal]\nid = \"0x00\"", "32 hexadecimal digits"),
        (misspelt.as_str(), "one of"),
        (in_the_data.as_str(), "a path outside data.dir"),
        (needless.as_str(), "left out with wrapping"),
    ] {
        let told = told(text);
        assert!(told.contains(expected), "{text}\ndoes not tell {expected:?}:\n{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}
