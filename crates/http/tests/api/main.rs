//! The API from outside: requests through the router, against a real store in a file.

mod access;
mod bad_input;
mod batch;
mod cancel;
mod dead_letters;
mod documents;
mod doubt;
mod fees;
mod full;
mod fuzz;
mod health;
mod house;
mod idempotency;
mod list;
mod observed;
