mod breaker;
mod budget;
mod calls;
mod server;
mod settings;
