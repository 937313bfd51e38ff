//! The command line as a whole.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    channel, completions, doctor, export, id, import, invite, join, log, man, member, message,
    node, open, revolt, role, send, token, up,
};

/// Communities without a server: this program is your node, and talks to it.
#[derive(Debug, Parser)]
#[command(
    name = "revnet",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "\
Names:
  REVOLT          a name, an id, or the beginning of an id
  REVOLT/CHANNEL  such as Gardeners/general
  USER            a name, an id, or the beginning of an id
  MESSAGE         an id as 'revnet log --json' prints it

Exit codes:
  0 done, 1 failed, 2 wrong usage, 3 not found, 4 not permitted, 5 the node is not running"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Where the node keeps its data [default: revnet in the XDG data directory]
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "DIR",
        env = "REVNET_DATA_DIR",
        hide_env_values = true
    )]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the node, and serve its API
    Up(revnet_node::UpArgs),
    /// Run a relay that others meet at
    Relay(up::RelayCommand),
    /// Open the running node in the browser, or print its address
    Open(open::OpenArgs),
    /// Stop the running node
    Down,
    /// Show who you are and how the node does
    Status,
    /// Show the linked peers
    Peers,
    /// Check the node and its surroundings, and say what to do
    Doctor(doctor::DoctorArgs),
    /// Your identity
    #[command(subcommand)]
    Id(id::IdCommand),
    /// Revolts: communities
    #[command(subcommand)]
    Revolt(revolt::RevoltCommand),
    /// Invites to a revolt
    #[command(subcommand)]
    Invite(invite::InviteCommand),
    /// Join a revolt by an invite link
    Join(join::JoinArgs),
    /// Channels of a revolt
    #[command(subcommand)]
    Channel(channel::ChannelCommand),
    /// Send a message
    Send(send::SendArgs),
    /// Read a channel
    Log(log::LogArgs),
    /// Change the words of a message
    Edit(message::EditArgs),
    /// Delete a message
    Delete(message::DeleteArgs),
    /// React to a message
    React(message::ReactArgs),
    /// Members of a revolt
    #[command(subcommand)]
    Member(member::MemberCommand),
    /// Roles of a revolt: what their members may do
    #[command(subcommand)]
    Role(role::RoleCommand),
    /// Import messages into a channel
    #[command(subcommand)]
    Import(import::ImportCommand),
    /// Export a channel's messages as JSON lines
    Export(export::ExportArgs),
    /// Tokens for bots and scripts
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Print completions for a shell
    Completions(completions::CompletionsArgs),
    /// Print or write the manual pages
    Man(man::ManArgs),
}

/// Runs a command against its module.
impl Command {
    pub(crate) fn run(&self, context: &crate::context::Context) -> crate::failure::Result<()> {
        match self {
            Self::Up(args) => up::up(context, args.clone()),
            Self::Relay(command) => up::relay(context, command.clone()),
            Self::Open(args) => open::run(context, args),
            Self::Down => node::down(context),
            Self::Status => node::status(context),
            Self::Peers => node::peers(context),
            Self::Doctor(args) => doctor::run(context, args),
            Self::Id(command) => id::run(context, command),
            Self::Revolt(command) => revolt::run(context, command),
            Self::Invite(command) => invite::run(context, command),
            Self::Join(args) => join::run(context, args),
            Self::Channel(command) => channel::run(context, command),
            Self::Send(args) => send::run(context, args),
            Self::Log(args) => log::run(context, args),
            Self::Edit(args) => message::edit(context, args),
            Self::Delete(args) => message::delete(context, args),
            Self::React(args) => message::react(context, args),
            Self::Member(command) => member::run(context, command),
            Self::Role(command) => role::run(context, command),
            Self::Import(command) => import::run(context, command),
            Self::Export(args) => export::run(context, args),
            Self::Token(command) => token::run(context, command),
            Self::Completions(args) => completions::run(args),
            Self::Man(args) => man::run(context, args),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// All help texts, so that a change of them is seen in review. What is the same everywhere is
    /// shown once.
    #[test]
    fn help_texts() {
        let mut command = Cli::command().term_width(100);
        command.build();
        let mut text = String::new();
        collect(command, &mut text);
        insta::assert_snapshot!(text);
    }

    fn collect(command: clap::Command, text: &mut String) {
        let is_root = command.get_name() == "revnet";
        let mut command = command.mut_args(|arg| {
            let everywhere = ["data_dir", "json", "help", "version"];
            let hidden = !is_root && everywhere.contains(&arg.get_id().as_str());
            // Variables of whoever runs the test stay out.
            arg.hide(hidden).hide_env_values(true)
        });
        let name = command.get_display_name().unwrap_or("revnet");
        text.push_str(&format!("──── {name}\n"));
        for line in command.render_long_help().to_string().lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        for sub in command.get_subcommands() {
            collect(sub.clone(), text);
        }
    }
}
