//! The init as PID 1 of a machine made of namespaces. All tests need root, and are ignored by default.

mod address;
mod boot;
mod boundary;
mod button;
mod carriers;
mod clock;
mod coexist;
mod descriptors;
mod dhcpv6;
mod failure;
mod faults;
mod features;
mod hostile;
mod ip;
mod ipv6;
mod lease;
mod network;
mod nodisk;
mod privileges;
mod servers;
mod shell;
mod supervise;
mod terminal;
mod timing;
mod volumes;
mod workload;
