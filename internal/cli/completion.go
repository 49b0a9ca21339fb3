package cli

import (
	"github.com/spf13/cobra"
)

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a completion script for a shell",
		Long: `completion prints a script that teaches a shell raybuild's commands, flags and
values.

Load it in the running shell, or put it where the shell looks for completions at
its start.`,
		Example: `  # bash, now
  source <(raybuild completion bash)
  # bash, in every new shell
  raybuild completion bash > /etc/bash_completion.d/raybuild
  # zsh and fish
  raybuild completion zsh > "${fpath[1]}/_raybuild"
  raybuild completion fish > ~/.config/fish/completions/raybuild.fish`,
		Args:      oneArg("shell (bash, zsh, fish or powershell)"),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			case "fish":
				return root.GenFishCompletion(a.stdout, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.stdout)
			}
			return usagef("no completion for %q%s: bash, zsh, fish and powershell have one", args[0],
				meant(args[0], cmd.ValidArgs))
		},
	}
}
