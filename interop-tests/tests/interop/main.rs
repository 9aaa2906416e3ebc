//! NEBLO as others see it: the bytes of its frames, and its conduct towards a node that is not NEBLO.

mod frameless;
mod golden;
mod samples;
mod stock;
