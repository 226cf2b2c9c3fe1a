use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args_os().nth(1).map(std::fs::read_to_string) {
        Some(Ok(text)) => {
            print!("{}", words::table(&text));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("tally FILE");
            ExitCode::from(2)
        }
    }
}
