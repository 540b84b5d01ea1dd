//! Old copies of the database, put back under a chain and a journal that know more.

// Statements, transactions, steps and roles are futures of each other.
#![recursion_limit = "256"]

mod accepting;
mod adopting;
mod copies;
mod house;
