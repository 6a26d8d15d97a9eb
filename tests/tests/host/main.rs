//! Tests that need no machine: the tools as programs, against those of others.
//!
//! What needs root, Debian's archive or crates.io is ignored by default.

mod agreement;
mod bombs;
mod debian;
mod demo;
mod dhcp;
mod documents;
mod examples;
mod features;
mod fuzz;
mod ginit;
mod mkcpio;
mod mkraw;
mod outputs;
mod runvm;
mod shares;
mod status;
