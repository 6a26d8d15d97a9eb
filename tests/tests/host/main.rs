//! Tests that need no machine: the tools as programs, compared with those of other projects.
//!
//! Tests that need root, Debian's archive or crates.io are ignored by default.

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
mod packages;
mod put;
mod runvm;
mod shares;
mod status;
