//! Names of the environment, sources of values, and who may have which secret.

use portcullis_engine::Role;

use super::{load_with, message_with};
use crate::config::ConfigError;

#[test]
fn the_usual_names_of_the_environment_are_understood() {
    let environment = [
        ("DATABASE_URL", "sqlite:///tmp/x.db"),
        ("REDIS_URL", "redis://127.0.0.1:6379/"),
        ("QUEUE_TYPE", "aws"),
        ("AWS_REGION", "ap-northeast-2"),
        ("POLYGON_RPC_URL", "http://polygon.example.com"),
        ("POLYGON_CHAIN_ID", "80002"),
        ("MIN_WITHDRAWAL_AMOUNT", "1"),
        ("MAX_WITHDRAWAL_AMOUNT", "1000000"),
        ("DAILY_WITHDRAWAL_LIMIT", "5000000"),
        ("BATCH_SIZE", "50"),
    ];
    let config = load_with("", &environment).expect("right");
    assert_eq!(config.database.url().expect("given"), "sqlite:///tmp/x.db");
    assert!(config.redis.options().expect("given").is_some());
    assert_eq!(config.queue.sqs().expect("given").region, "ap-northeast-2");
    assert_eq!(config.chains[0].spec.network, "polygon-amoy");
    assert_eq!(config.chains[0].providers[0].name, "polygon-rpc");
    assert_eq!(config.asset.daily_max.as_deref(), Some("5000000"));
    assert_eq!(config.engine.settings.batch_max, 50);
    let sources = config.sources();
    assert_eq!(sources["redis.url"], "environment variable REDIS_URL");
    assert_eq!(sources["chain[0].network"], "environment variable POLYGON_CHAIN_ID");
    assert_eq!(sources["server.listen"], "default");
}

#[test]
fn the_usual_names_of_secrets_may_name_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writable");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, private).expect("our own file");
        path.display().to_string()
    };
    let [database, redis, node] = [
        write("database", "mysql://portcullis:secret@db.example.com:3306/payouts\n"),
        write("redis", "redis://redis.example.com:6379/\n"),
        write("node", "https://polygon.example.com/key\n"),
    ];
    let environment = [
        ("DATABASE_URL_FILE", database.as_str()),
        ("REDIS_URL_FILE", redis.as_str()),
        ("POLYGON_RPC_URL_FILE", node.as_str()),
    ];
    let config = load_with("", &environment).expect("right");
    let url = config.database.url().expect("readable");
    assert_eq!(url.trim(), "mysql://portcullis:secret@db.example.com:3306/payouts");
    assert!(config.redis.options().expect("readable").is_some());
    assert_eq!(config.chains[0].spec.network, "polygon");
    assert!(!config.print_with_sources().contains("secret"), "{}", config.print_with_sources());
    let sources = config.sources();
    assert_eq!(sources["database.url_file"], "environment variable DATABASE_URL_FILE");
    assert_eq!(sources["redis.url_file"], "environment variable REDIS_URL_FILE");
    let both = [environment[0], ("DATABASE_URL", "sqlite:///tmp/x.db")];
    let error = load_with("", &both).expect_err("which of them?").to_string();
    assert!(error.contains("set database.url or database.url_file, not both"), "{error}");
    let long = [environment[0], ("PORTCULLIS__DATABASE__URL", "sqlite:///tmp/x.db")];
    let config = load_with("", &long).expect("the long name is above the usual one");
    assert_eq!(config.database.url().expect("given"), "sqlite:///tmp/x.db");
}

#[test]
fn the_long_name_is_above_the_usual_one_and_both_are_above_the_file() {
    let file = "[queue]\ntype = \"local\"\n[[chain]]\nnetwork = \"polygon\"\n[[chain.provider]]\n\
                name = \"own\"\nurl_file = \"/run/url\"\n";
    let usual = [("QUEUE_TYPE", "aws"), ("POLYGON_RPC_URL", "http://b")];
    let config = load_with(file, &usual).expect("right");
    assert!(config.queue.sqs().is_some_and(|sqs| !sqs.is_emulated));
    assert_eq!((config.chains.len(), config.chains[0].providers[0].name.as_str()), (1, "own"));
    assert!(config.chains[0].providers[0].url().is_ok(), "the file's form is replaced");
    let both = [usual[0], ("PORTCULLIS__QUEUE__TYPE", "localstack")];
    let sqs = load_with(file, &both).expect("right").queue.sqs().expect("given");
    assert_eq!(sqs.endpoint.as_deref(), Some("http://127.0.0.1:4566"));
    let told = message_with(file, &[("POLYGON_RPC_URL", "http://b"), ("POLYGON_CHAIN_ID", "1")]);
    assert!(told.contains("POLYGON_CHAIN_ID = 1") && told.contains("80002"), "{told}");
    let told = message_with(file, &[("QUEUE_TYPE", "kafka")]);
    assert!(told.contains("environment variable QUEUE_TYPE"), "{told}");
}

#[test]
fn a_redis_url_of_another_kind_is_refused_without_being_told() {
    let config = load_with("[redis]\nurl = \"rediss://:hunter2@host\"", &[]).expect("read later");
    let told = config.redis.options().expect_err("no TLS").to_string();
    assert!(told.contains("TLS") && !told.contains("hunter2"), "{told}");
}

#[test]
fn where_a_value_came_from_is_printed_behind_it() {
    let text = "[server]\nlisten = \"127.0.0.1:7\"\n[[chain]]\nnetwork = \"localhost\"\n\
                [[chain.provider]]\nname = \"a\"\nurl = \"http://hunter2\"\n";
    let config = load_with(text, &[("PORTCULLIS__LOG__LEVEL", "warn")]).expect("right");
    let printed = config.print_with_sources();
    for line in [
        "listen = \"127.0.0.1:7\"  # the configuration file",
        "level = \"warn\"  # environment variable PORTCULLIS__LOG__LEVEL",
        "drain_ms = 10000  # default",
        "url = \"[redacted]\"  # the configuration file",
    ] {
        assert!(printed.contains(line), "{line}\n{printed}");
    }
    assert!(!printed.contains("hunter2"));
    let again = load_with(&printed, &[]).expect("what was printed");
    assert_eq!(again.print()["server"], config.print()["server"]);
    assert_eq!(again.chains.len(), 1);
}

#[test]
fn a_process_is_refused_what_opens_somebody_elses_keys() {
    let strict = "[server]\nstrict_credentials = true\n";
    let secret = [("PORTCULLIS__SIGNER__PASSPHRASE", "hunter2")];
    let config = load_with(strict, &secret).expect("right");
    assert!(config.refuse_foreign_credentials(&[Role::Signer]).is_ok());
    assert!(config.refuse_foreign_credentials(&Role::ALL).is_ok());
    let refused = config.refuse_foreign_credentials(&[Role::Api, Role::Processor]);
    let told = ConfigError::Invalid(refused.expect_err("not its own")).to_string();
    assert!(told.contains("signer.passphrase") && told.contains("PORTCULLIS__SIGNER"), "{told}");
    assert!(told.contains("only a process with the signer role") && !told.contains("hunter2"));
    let lenient = load_with("", &secret).expect("right");
    assert!(lenient.refuse_foreign_credentials(&[Role::Api]).is_ok(), "one host, one file");
    let bare = load_with(strict, &[]).expect("right");
    assert!(bare.refuse_foreign_credentials(&[Role::Api]).is_ok());
}
