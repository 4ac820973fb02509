package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

func completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", ArgsUsage: "bash | zsh",
		Usage: "print a script that makes a shell complete commands and flags",
		Description: `For bash, put this into ~/.bashrc; for zsh, the same with zsh into ~/.zshrc:

   source <(crdtctl completion bash)`,
		Before: takes(1, 1),
		Action: func(c *cli.Context) error {
			script, ok := map[string]string{"bash": bashCompletion, "zsh": zshCompletion}[c.Args().First()]
			if !ok {
				return usagef("no completion for %q; there is one for bash and one for zsh", c.Args().First())
			}
			_, err := fmt.Fprint(c.App.Writer, script)
			return err
		},
	}
}

// The scripts run the words before the cursor with completionFlag at the end.
// A lone "--" is asked for as "-": it would end the flags. After such a "--"
// there is nothing to complete.
const (
	bashCompletion = `_crdtctl() {
	local current=${COMP_WORDS[COMP_CWORD]}
	local ask=("${COMP_WORDS[@]:0:COMP_CWORD}")
	case $current in
	--) ask+=(-) ;;
	-*) ask+=("$current") ;;
	esac
	COMPREPLY=($(compgen -W "$("${ask[@]}" ` + completionFlag + ` 2>/dev/null)" -- "$current"))
}
complete -o default -F _crdtctl crdtctl
`
	zshCompletion = `#compdef crdtctl
_crdtctl() {
	local current=${words[CURRENT]}
	local -a ask known
	ask=("${words[@]:0:$((CURRENT - 1))}")
	case $current in
	--) ask+=(-) ;;
	-*) ask+=("$current") ;;
	esac
	known=("${(@f)$("${ask[@]}" ` + completionFlag + ` 2>/dev/null)}")
	if [[ -n ${known[1]} ]]; then
		compadd -a known
	else
		_files
	fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _crdtctl crdtctl
`
)
