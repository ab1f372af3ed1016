//! The HTTP side on real sockets, over the memory engine.

mod forms;
mod limits;
mod reading;
mod world;
