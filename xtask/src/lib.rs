//! The parts of the project's commands: the toolchain from npm, a development chain, the test
//! tokens, and a judge of that chain which shares no code with the engine that it judges.

pub mod anvil;
pub mod assets;
pub mod bench;
pub mod cargo_build;
pub mod chain;
pub mod client;
pub mod contracts;
pub mod debian;
pub mod demo;
pub mod fleet;
pub mod installation;
pub mod interrupt;
pub mod judge;
pub mod latency;
pub mod mariadb;
pub mod mutants;
pub mod plot;
pub mod process;
pub mod rail;
pub mod replay;
pub mod sandbox;
pub mod server;
pub mod service;
pub mod sim;
pub mod test_command;
pub mod testbed;
pub mod testnet;
pub mod tidy;
pub mod toolchain;
pub mod torture;
pub mod units;
pub mod vault;
pub mod watch;
