//! Cores driven by hand, in small exact situations: clocks that are wrong, people who sign what no honest program
//! signs, indexes made anew, and floods.

mod attacks;
mod clocks;
mod closed;
mod confirm;
mod devices;
mod forger;
mod forgery;
mod forks;
mod home;
mod leaving;
mod long;
mod order;
mod pacing;
mod rebuild;
mod restored;
mod secrets;
mod turns;
