//! Doorbells between processes: one exercise on local bells, on Redis and on an SQS API; and what duplicates, purges, expired
//! handles and a server that comes back empty do to them.

mod bad_days;
mod following;
mod house;
mod promises;
