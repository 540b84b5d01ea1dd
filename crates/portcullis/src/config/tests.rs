//! What a wrong configuration is told, and what is never told.

mod fleet;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;

/// A minimal right configuration with a secret in every place that takes one directly.
const SECRET_EVERYWHERE: &str = r#"
[database]
url = "mysql://payouts:hunter2@db.example/payouts?ssl-mode=DISABLED"
[seal]
key = "1111111111111111111111111111111111111111111111111111111111111111"
[[seal.previous]]
key_id = 7
key = "2222222222222222222222222222222222222222222222222222222222222222"
[signer]
passphrase = "hunter2"
second_secret = "hunter2-second"
[[chain]]
network = "localhost"
[[chain.provider]]
name = "main"
url = "http://127.0.0.1:8545/hunter2"
"#;

fn load_with(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("portcullis.toml");
    std::fs::write(&path, text).expect("writable");
    let environment =
        environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Config::load(Layers { file: Some(path), environment, flags: Vec::new() })
}

fn message(text: &str) -> String {
    message_with(text, &[])
}

fn message_with(text: &str, environment: &[(&str, &str)]) -> String {
    match load_with(text, environment) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_defaults_are_a_configuration() {
    let config = load_with("", &[]).expect("nothing is wrong with nothing");
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:3000");
    assert!(config.database.auto_migrate);
    assert!(config.database.url().expect("a default").ends_with("/data/portcullis.db"));
    assert!(config.chains.is_empty());
    let missing = config.seal.keys().expect_err("there is no sealing key").to_string();
    assert!(missing.contains("seal.key_file is missing"), "{missing}");
}

#[test]
fn a_wrong_value_is_named_with_its_key_and_what_is_allowed() {
    let chain = "[[chain]]\nnetwork = \"localhost\"\n";
    for (text, expected) in [
        ("[server]\nlisten = \"here\"", ["server.listen = \"here\"", "an IP address and a port"]),
        ("[server]\nlisten = 3000", ["server.listen = 3000", "127.0.0.1:3000"]),
        ("[server]\ndocs_base_url = \"docs\"", ["server.docs_base_url = \"docs\"", "https://"]),
        ("[log]\nlevel = \"loud\"", ["log.level = \"loud\"", "error, warn, info, debug, trace"]),
        ("[log]\nformat = \"xml\"", ["log.format = \"xml\"", "one of json, text"]),
        ("[log]\nfilter = \"a=b=c\"", ["log.filter = \"a=b=c\"", "target=level"]),
        (
            "[database]\nreaders_max = \"four\"",
            ["database.readers_max = \"four\"", "a whole number from 1 to 64"],
        ),
        ("[database]\nreaders_max = 0", ["database.readers_max = 0", "from 1 to 64"]),
        (
            "[database]\nauto_migrate = \"yes\"",
            ["database.auto_migrate = \"yes\"", "true or false"],
        ),
        ("[engine]\nin_flight_max = 16", ["engine.in_flight_max = 16", "from 1 to 8"]),
        ("server = 5", ["server = 5", "write [server]"]),
        ("[chain]\nnetwork = \"localhost\"", ["chain = […]", "write [[chain]]"]),
        ("[[server]]\nlisten = \"127.0.0.1:1\"", ["server = [[…]]", "single brackets"]),
        (
            "[[chain]]\nnetwork = \"polygn\"",
            ["chain[0].network = \"polygn\"", "did you mean \"polygon\"?"],
        ),
        ("[[chain]]\nmax_fee_per_gas_gwei = 5", ["chain[0].network is missing", "localhost"]),
        (
            "[[chain]]\nnetwork = \"polygon\"\nmax_fee_per_gas_gwei = 24",
            ["chain[0].max_fee_per_gas_gwei = 24", "at least 25"],
        ),
        (
            "[[chain]]\nnetwork = \"polygon\"\ngas_limit_max = 40000000",
            ["chain[0].gas_limit_max = 40000000", "at most 33554432"],
        ),
        (&format!("{chain}{chain}"), ["chain = \"localhost\"", "one [[chain]]"]),
        (
            &format!("{chain}[[chain.provider]]\nname = \"a\""),
            ["chain[0].provider[0].url is missing", "url_file"],
        ),
        (
            &format!("{chain}quorum = 2\n[[chain.provider]]\nname = \"a\"\nurl = \"http://a\""),
            ["chain[0].quorum = 2", "at most 1, the number of different operators"],
        ),
        (
            &format!("{chain}[[chain.provider]]\nname = \"a\"\nrequests_per_second = 0"),
            ["chain[0].provider[0].requests_per_second = 0", "from 1 to 100000"],
        ),
        (
            &format!("{chain}[[chain.provider]]\nname = \"a\"\nbatch_max = 5000"),
            ["chain[0].provider[0].batch_max = 5000", "from 1 to 1000"],
        ),
        (
            &format!("{chain}[[chain.cap]]\ntoken = \"native\"\namount_max = \"1.5\""),
            ["chain[0].cap[0].amount_max = \"1.5\"", "digits only"],
        ),
        (
            &format!("{chain}[[chain.cap]]\ntoken = \"USDC\"\namount_max = \"1\""),
            ["chain[0].cap[0].token = \"USDC\"", "EIP-55"],
        ),
        (
            "[signer]\nkeystore = \"data/keys/../keystore.json\"",
            ["signer.keystore = ", "a path outside data.dir"],
        ),
    ] {
        let told = message(text);
        for part in expected {
            assert!(told.contains(part), "{text}\ndoes not tell {part:?}:\n{told}");
        }
    }
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_one() {
    for (text, expected) in [
        (
            "[server]\nlistn = \"127.0.0.1:1\"",
            "server.listn (the configuration file) is unknown: did you mean server.listen?",
        ),
        (
            "[databse]\nurl = \"x\"",
            "databse (the configuration file) is unknown: did you mean database?",
        ),
        (
            "[log]\nzzz = 1",
            "log.zzz (the configuration file) is unknown: known here are level, filter, format",
        ),
        (
            "[[chain]]\nnetwork = \"localhost\"\n[[chain.provder]]\nname = \"a\"",
            "chain[0].provder (the configuration file) is unknown: did you mean chain[0].provider?",
        ),
    ] {
        assert!(message(text).contains(expected), "{}", message(text));
    }
}

#[test]
fn all_problems_are_told_together() {
    let told = message("[server]\nlisten = 1\n[log]\nlevel = 2\nlevl = 3");
    assert!(told.starts_with("the configuration has 3 problems:"), "{told}");
}

#[test]
fn text_that_is_no_toml_is_named_by_its_line_and_not_quoted() {
    for value in ["\"hunter2\n", "hunter2", "hunter2 hunter2", "\"hunter2\" hunter2", "'hunter2\n"]
    {
        let told = message(&format!("[signer]\npassphrase = {value}"));
        assert!(told.contains("portcullis.toml is not valid TOML, line 2"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let file = Some(PathBuf::from("/nowhere/portcullis.toml"));
    let error = Config::load(Layers { file, ..Layers::default() }).expect_err("there is none");
    assert!(error.to_string().contains("/nowhere/portcullis.toml"), "{error}");
}

#[test]
fn the_environment_is_above_the_file_and_flags_above_both() {
    let text = "[server]\nlisten = \"127.0.0.1:1\"\n[log]\nlevel = \"warn\"";
    let config = load_with(
        text,
        &[
            ("PORTCULLIS__SERVER__LISTEN", "127.0.0.1:2"),
            ("PORTCULLIS__DATABASE__READERS_MAX", "9"),
            ("PORTCULLIS__DATABASE__AUTO_MIGRATE", "false"),
            ("PORTCULLIS_CONFIG", "ignored"),
            ("HOME", "ignored"),
        ],
    )
    .expect("right");
    assert_eq!(config.server.listen.port(), 2);
    assert_eq!(config.database.readers_max, 9);
    assert!(!config.database.auto_migrate);
    assert_eq!(config.log.level, tracing::Level::WARN);

    let flags = vec![FlagValue { flag: "--log-level", key: "log.level", value: "debug".into() }];
    let environment = vec![("PORTCULLIS__LOG__LEVEL".to_owned(), "error".to_owned())];
    let layers = Layers { file: None, environment, flags };
    assert_eq!(Config::load(layers).expect("right").log.level, tracing::Level::DEBUG);
}

#[test]
fn the_environment_reaches_repeated_sections() {
    let config = load_with(
        "[[chain]]\nnetwork = \"polygon\"\n[[chain.provider]]\nname = \"a\"\nurl = \"http://a\"",
        &[
            ("PORTCULLIS__CHAIN__0__PROVIDER__0__URL", "http://b"),
            ("PORTCULLIS__CHAIN__0__PROVIDER__1__NAME", "second"),
            ("PORTCULLIS__CHAIN__0__PROVIDER__1__URL", "http://c"),
            ("PORTCULLIS__CHAIN__1__NETWORK", "localhost"),
        ],
    )
    .expect("right");
    let polygon = &config.chains[0];
    let url = |index: usize| {
        let url = polygon.providers[index].url().expect("a URL");
        secrecy::ExposeSecret::expose_secret(&url).to_owned()
    };
    assert_eq!((url(0), url(1)), ("http://b".to_owned(), "http://c".to_owned()));
    assert_eq!(polygon.providers[1].operator, "second");
    assert_eq!(config.chains[1].spec.network, "localhost");
}

#[test]
fn a_wrong_environment_variable_is_named() {
    for (name, value, expected) in [
        ("PORTCULLIS__LOG__LEVEL", "loud", "environment variable PORTCULLIS__LOG__LEVEL"),
        ("PORTCULLIS__LOGG__LEVEL", "info", "logg (environment variable PORTCULLIS__LOGG__LEVEL)"),
        ("PORTCULLIS__CHAIN__1__NETWORK", "localhost", "counted from 0 without gaps"),
        ("PORTCULLIS____LEVEL", "info", "a name is empty"),
    ] {
        let told = message_with("", &[(name, value)]);
        assert!(told.contains(expected), "{name}: {told}");
    }
}

#[test]
fn a_secret_and_its_file_form_are_one_setting() {
    let both = "[signer]\npassphrase = \"hunter2\"\npassphrase_file = \"a\"";
    let told = message(both);
    assert!(told.contains("set signer.passphrase or signer.passphrase_file, not both"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");

    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("passphrase");
    std::fs::write(&file, "from the file\n").expect("writable");
    let set_mode = |mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&file, permissions).expect("our own file");
    };
    set_mode(0o600);
    let path = file.display().to_string();
    let config = load_with(
        "[signer]\npassphrase = \"hunter2\"",
        &[("PORTCULLIS__SIGNER__PASSPHRASE_FILE", &path)],
    )
    .expect("the environment is above the file");
    let source = config.signer.passphrase.expect("it is set");
    let secret = source.reveal().expect("readable");
    assert_eq!(secrecy::ExposeSecret::expose_secret(&secret), "from the file");
    for mode in [0o604, 0o644, 0o620, 0o666, 0o601] {
        set_mode(mode);
        let told = source.reveal().expect_err("others may read it").to_string();
        assert!(told.contains("chmod 600") && told.contains(&format!("{mode:04o}")), "{told}");
    }
    set_mode(0o440);
    assert!(source.reveal().is_ok(), "an orchestrator's group may read it");
}

#[test]
fn files_of_secrets_are_read_when_they_are_needed_and_then_named() {
    let text = "[seal]\nkey_file = \"absent\"\n[signer]\npassphrase_file = \"absent-too\"";
    let config = load_with(text, &[]).expect("a file that is not needed yet may be absent");
    let told = ConfigError::Invalid(config.serving_problems(&[])).to_string();
    assert!(told.contains("seal.key_file = ") && told.contains("/absent"), "{told}");
    assert!(told.contains("signer.passphrase_file = "), "{told}");
    assert!(told.contains("a file that this process can read"), "{told}");
}

#[test]
fn a_database_that_ends_with_the_process_is_refused() {
    for url in ["sqlite::memory:", "sqlite://:memory:", "sqlite://a.db?mode=memory", ":memory:"] {
        let config = load_with(&format!("[database]\nurl = \"{url}\""), &[]).expect("read later");
        let told = ConfigError::Invalid(config.serving_problems(&[])).to_string();
        assert!(told.contains("database.url = "), "{url}: {told}");
        assert!(told.contains("which payments were made"), "{url}: {told}");
        assert!(config.database.url().is_err(), "no command opens {url}");
    }
}

#[test]
fn a_wrong_secret_is_refused_without_being_told() {
    let config = load_with("[seal]\nkey = \"hunter2\"", &[]).expect("read later");
    let told = config.seal.keys().expect_err("no key").to_string();
    assert!(told.contains("seal.key = [redacted]"), "{told}");
    assert!(told.contains("64 hexadecimal digits"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn nothing_that_is_printed_holds_a_secret() {
    let config = load_with(SECRET_EVERYWHERE, &[]).expect("right");
    let refused = ConfigError::Invalid(config.serving_problems(&[])).to_string();
    assert!(refused.contains("database.url = [redacted]"), "{refused}");
    assert!(refused.contains("is not spoken to without TLS"), "{refused}");
    let printed = toml::to_string(&config.print()).expect("a table");
    for shown in [printed.clone(), format!("{config:?}"), refused] {
        for secret in ["hunter2", "1111111111", "2222222222"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
    for key in ["url", "key", "passphrase", "second_secret"] {
        assert!(printed.contains(&format!("{key} = \"[redacted]\"")), "{key}: {printed}");
    }
}

#[test]
fn what_is_printed_is_a_configuration_again() {
    let text = "[[chain]]\nnetwork = \"localhost\"\n[[chain.provider]]\nname = \"a\"\n\
                url_file = \"/run/url\"\n[[chain.cap]]\ntoken = \"native\"\namount_max = \"5\"";
    let config = load_with(text, &[]).expect("right");
    let printed = toml::to_string(&config.print()).expect("a table");
    let again = load_with(&printed, &[]).expect("what was printed");
    assert_eq!(toml::to_string(&again.print()).expect("a table"), printed);
}

#[test]
fn the_quorum_is_two_where_two_operators_are() {
    let provider = |name: &str, operator: &str| {
        format!(
            "[[chain.provider]]\nname = \"{name}\"\noperator = \"{operator}\"\nurl = \"http://a\"\n"
        )
    };
    let quorum = |head: &str, providers: &[(&str, &str)]| {
        let providers: String =
            providers.iter().map(|(name, operator)| provider(name, operator)).collect();
        let text = format!("[[chain]]\nnetwork = \"polygon\"\n{head}{providers}");
        load_with(&text, &[]).expect("right").chains[0].quorum
    };
    assert_eq!(quorum("", &[("a", "x")]), 1);
    assert_eq!(quorum("", &[("a", "x"), ("b", "x")]), 1, "one operator is one voice");
    assert_eq!(quorum("", &[("a", "x"), ("b", "y")]), 2);
    assert_eq!(quorum("", &[("a", "x"), ("b", "y"), ("c", "z")]), 2);
    assert_eq!(quorum("quorum = 3\n", &[("a", "x"), ("b", "y"), ("c", "z")]), 3);
    assert_eq!(quorum("quorum = 1\n", &[("a", "x"), ("b", "y")]), 1);
}

#[test]
fn a_providers_limits_are_read_and_printed() {
    let text = "[[chain]]\nnetwork = \"polygon\"\n[[chain.provider]]\nname = \"a\"\nurl = \"http://a\"\n\
                requests_per_second = 25\nbatch_max = 50\ntimeout_ms = 2000\n\
                [[chain.provider]]\nname = \"b\"\nurl_file = \"/run/url\"";
    let config = load_with(text, &[]).expect("right");
    let [first, second] = &config.chains[0].providers[..] else { panic!("two providers") };
    assert_eq!((first.requests_per_second, first.batch_max), (Some(25), 50));
    assert_eq!((second.requests_per_second, second.batch_max), (None, 100));
    let printed = toml::to_string(&config.print()).expect("a table");
    assert!(printed.contains("requests_per_second = 25\n"), "{printed}");
    assert_eq!(printed.matches("requests_per_second").count(), 1, "no limit is no line");
}

#[test]
fn paths_of_the_file_begin_beside_it() {
    let config = load_with("[data]\ndir = \"here\"", &[("PORTCULLIS__SIGNER__KEYSTORE", "k.json")])
        .expect("right");
    assert!(config.data.dir.is_absolute() && config.data.dir.ends_with("here"));
    assert_eq!(config.signer.keystore, Path::new("k.json"));
}

#[test]
fn older_sealing_keys_have_ids_of_their_own() {
    let key = "1".repeat(64);
    let text = format!("[seal]\nkey = \"{key}\"\n[[seal.previous]]\nkey_id = 1\nkey = \"{key}\"");
    assert!(message(&text).contains("seal.previous = 1"), "{}", message(&text));
    let text = format!("[seal]\nkey = \"{key}\"\n[[seal.previous]]\nkey = \"{key}\"");
    assert!(message(&text).contains("seal.previous[0].key_id is missing"), "{}", message(&text));
}

/// The guide names every key, and the file that `init` writes has no key that the guide does not.
#[test]
fn every_key_is_in_the_guide() {
    let guide = include_str!("../../../../docs/guide/configuration.md");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("portcullis.toml");
    let mut known = BTreeSet::new();
    // Each kind of signer has sections that the others do not know.
    for signer in [
        "",
        "[signer]\nkind = \"kms\"\n[[signer.kms.key]]\n",
        "[signer]\nkind = \"secrets-manager\"\n",
        "[signer]\nkind = \"pkcs11\"\n[[signer.pkcs11.key]]\n",
    ] {
        let text =
            format!("[[seal.previous]]\n{signer}[[chain]]\n[[chain.provider]]\n[[chain.cap]]\n");
        let tree = Node::from_file(&text, &path).expect("TOML");
        let mut reading = Reading::new(Vec::new(), PathBuf::new());
        Config::read(&mut reading, tree, None);
        known.extend(reading.known);
    }
    let sorted: Vec<String> = known.iter().cloned().collect();
    assert_eq!(sorted, super::reference::known_keys(), "the reference has every key");
    for key in known {
        assert!(guide.contains(&format!("`{key}`")), "{key} is not in the guide");
    }
}

/// What cannot serve is told by `config check`, together with everything else that is wrong.
#[test]
fn the_check_tells_what_cannot_serve_with_all_other_problems() {
    let checked = |text: &str| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("portcullis.toml");
        std::fs::write(&path, text).expect("writable");
        let layers = Layers { file: Some(path), ..Layers::default() };
        match Config::check(layers) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    };
    let seal = format!("[seal]\nkey = \"{}\"\n", "1".repeat(64));
    let chain = "[[chain]]\nnetwork = \"localhost\"\n";
    let provider = |url: &str| format!("[[chain.provider]]\nname = \"a\"\nurl = \"{url}\"\n");
    assert_eq!(checked(&format!("{seal}{chain}{}", provider("http://127.0.0.1:1"))), "");
    for (text, expected) in [
        (seal.clone(), "chain is missing: write a [[chain]]"),
        (format!("{seal}{chain}"), "chain.provider of \"localhost\" is missing"),
        (format!("{seal}{chain}{}", provider("ws://127.0.0.1:1")), "chain[0].provider[0].url"),
        (format!("{seal}{chain}{}", provider("http://")), "chain[0].provider[0].url"),
        (format!("{seal}{chain}{}", provider("https:///path")), "chain[0].provider[0].url"),
        (seal.replace('1', "0"), "seal.key = [redacted]"),
        (seal.replace('1', "x"), "64 hexadecimal digits"),
        (
            format!("[[seal.previous]]\nkey_id = 7\nkey = \"zz\"\n{chain}"),
            "seal.key_file is missing",
        ),
    ] {
        let told = checked(&text);
        assert!(told.contains(expected), "{text}\ndoes not tell {expected:?}:\n{told}");
    }
    let told = checked(&format!("[log]\nlevel = 5\n{}", seal.replace('1', "0")));
    assert!(told.starts_with("the configuration has 3 problems:"), "{told}");
    for part in ["log.level = 5", "seal.key = [redacted]", "chain is missing"] {
        assert!(told.contains(part), "{told}");
    }
    let told = checked(&format!("{seal}{chain}[[chain.provider]]\nname = \"a\"\n"));
    assert!(told.starts_with("the configuration has 1 problem:"), "nothing is told twice: {told}");
}
