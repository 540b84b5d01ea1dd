//! Old copies of the database, put back under a chain and a journal that know more.

mod accepting;
mod adopting;
mod copies;
mod house;
