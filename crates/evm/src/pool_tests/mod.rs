//! The pool against nodes that answer well, badly, partly and not at all.

mod faults;
mod funds;
mod http;
mod liar;
mod limits;
mod named;
mod quorum;
mod reads;
mod views;
