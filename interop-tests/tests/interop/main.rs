//! NEBLO as others see it: the bytes of its frames, its protocol as it is written down, and its conduct towards a node that is not NEBLO.

mod documented;
mod frameless;
mod golden;
mod samples;
mod stock;
