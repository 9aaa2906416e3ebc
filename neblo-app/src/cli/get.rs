//! `neblo get`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{
    Env, absolute,
    content::{bar, cut_off, target},
};
use crate::{
    api::{GetEvent, GetRequest},
    problem::Problem,
    units::human,
};

/// Fetch a file or folder, anonymously
///
/// Every 16 KiB are checked before they are written, and nothing stands under the final name before all of it is there. An
/// interrupted download goes on where it was. When you stop waiting (Ctrl-C), the node goes on; see `neblo transfers`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  neblo get 'neblo:5f1c...?net=neblo&len=1048576&name=holiday.mp4'
  neblo get 'neblo:5f1c...?net=neblo&len=1048576&name=holiday.mp4' -o videos/ --overwrite
  neblo get 5f1cb0a6c0e94b0ac5a5ce0f0a4a2b7b2f3df9e3f0f7a3d6a1b9a7c2d4e6f801")]
pub(super) struct Get {
    /// A `neblo:` link, or the content's root (64 hex digits)
    #[arg(value_name = "LINK|ROOT")]
    target: String,
    /// File to write, or folder to write into [default: the current folder]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    overwrite: bool,
    /// Go on with fewer than 4 peers to hide among
    #[arg(long)]
    allow_weak: bool,
}

impl Get {
    pub(super) async fn run(self, env: &Env) -> Result<(), Problem> {
        target(&self.target)?;
        let into = self.output.unwrap_or_else(|| PathBuf::from("."));
        let mut output = absolute(&into)?;
        // A trailing slash means a folder, which a path made absolute no longer tells.
        if into.as_os_str().as_encoded_bytes().ends_with(b"/") && !output.ends_with('/') {
            output.push('/');
        }
        let request =
            GetRequest { target: self.target, output, overwrite: self.overwrite, allow_weak: self.allow_weak };
        let mut events = env.client().lines("/v1/get", &request).await?;
        let bar = bar(env.out, "searching");
        let done = loop {
            let Some(event) = events.next().await? else {
                break Err(cut_off());
            };
            if env.out.json() && !matches!(event, GetEvent::Error(_)) {
                env.out.data(&event, |_| String::new());
            }
            match event {
                GetEvent::Warning { message } => {
                    bar.suspend(|| env.out.say(format_args!("warning: {message}")));
                }
                GetEvent::Started { name, resumed, total, .. } => {
                    bar.set_message("fetching");
                    bar.set_length(total);
                    bar.set_position(resumed);
                    bar.reset_eta();
                    bar.suspend(|| env.out.say(format_args!("{name}, {}", human(total))));
                }
                GetEvent::Progress { done, total, .. } => {
                    bar.set_length(total);
                    bar.set_position(done);
                }
                GetEvent::Retrying { reason, .. } => {
                    bar.suspend(|| env.out.say(format_args!("the path broke ({reason}), opening another")));
                }
                GetEvent::Done { path, bytes, milliseconds, .. } => {
                    bar.finish_and_clear();
                    let seconds = Duration::from_millis(milliseconds.max(1)).as_secs_f64();
                    env.out.say(format_args!("{} in {seconds:.1} s, verified", human(bytes)));
                    if !env.out.json() {
                        env.out.data(&(), |()| path);
                    }
                    break Ok(());
                }
                GetEvent::Error(problem) => break Err(problem),
            }
        };
        bar.finish_and_clear();
        done
    }
}
