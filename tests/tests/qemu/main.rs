//! The whole under real kernels in QEMU. All of it is ignored by default.

mod boundary;
mod clock;
mod console;
mod demo;
mod documents;
mod drivers;
mod end;
mod entropy;
mod features;
mod handover;
mod images;
mod layers;
mod links;
mod machine;
mod mkraw;
mod nodisk;
mod notify;
mod oldest_kernel;
mod power_cut;
mod programs;
mod refusals;
mod root;
mod runvm;
mod seed;
mod shares;
mod workload;
