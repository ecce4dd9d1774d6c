//! The program: arguments in, exit code out.

use std::io::Write;
use std::process::ExitCode;

use docker_label_proxy::args::{self, Command};
use docker_label_proxy::{Error, run};

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let result = args::parse(std::env::args_os().skip(1)).and_then(|command| match command {
        Command::Help => print(&args::help()),
        Command::Version => print(concat!(
            "docker-label-proxy ",
            env!("CARGO_PKG_VERSION"),
            "\n"
        )),
        Command::Run(args) => run(args),
    });
    let Err(err) = result else {
        return ExitCode::SUCCESS;
    };
    eprintln!("docker-label-proxy: {err}");
    match err {
        Error::Usage(_) => {
            eprintln!("Try 'docker-label-proxy --help'.");
            ExitCode::from(2)
        }
        Error::Failure(_) => ExitCode::FAILURE,
    }
}

fn print(text: &str) -> Result<(), Error> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|err| Error::Failure(format!("cannot write to stdout: {err}")))
}
