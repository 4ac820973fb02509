package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
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

// completionFlag is what a shell that wants to complete a line puts at its end.
const completionFlag = "--generate-bash-completion"

// toComplete returns the words of a line that a shell wants to complete, the
// last of which is the one to complete. Nothing else is done with such a line.
func toComplete(args []string) (words []string, ok bool) {
	if args[len(args)-1] != completionFlag {
		return nil, false
	}
	if words = args[1 : len(args)-1]; len(words) == 0 {
		words = []string{""}
	}
	return words, true
}

func complete(w io.Writer, a *cli.App, words []string) error {
	for _, candidate := range candidates(a, words) {
		if _, err := fmt.Fprintln(w, candidate); err != nil {
			return err
		}
	}
	return nil
}

// candidates returns what the last word can be: a command, a flag, or a value
// of which there are few; nothing where a file may be meant. The shell leaves
// out what does not begin like the word.
func candidates(a *cli.App, words []string) []string {
	a.Setup()
	l := &line{app: a}
	current, rest := words[len(words)-1], words[:len(words)-1]
	for len(rest) > 0 {
		word := rest[0]
		rest = rest[1:]
		var err error
		switch {
		case word == "--":
			return nil
		case isFlag(word):
			if rest, err = l.flag(word, rest); err != nil { // unknown, or its value is what comes
				return valuesOf(strings.TrimLeft(word, "-"))
			}
		case l.command == nil || len(l.command.Subcommands) > 0:
			if err = l.enter(word); err != nil {
				return nil
			}
		default:
			l.arguments = append(l.arguments, word)
		}
	}
	switch {
	case strings.HasPrefix(current, "-"):
		return l.flagsKnown()
	case l.command == nil || len(l.command.Subcommands) > 0:
		var all []string
		for _, c := range l.commands() {
			all = append(all, c.Name)
		}
		return all
	case l.command.Name == "completion" && len(l.arguments) == 0:
		return []string{"bash", "zsh"}
	}
	return nil
}

// flagsKnown returns the flags that may come next, those of the command first.
func (l *line) flagsKnown() []string {
	var all []string
	own := []cli.Flag{}
	if l.command != nil {
		own = l.command.Flags
	}
	for _, name := range names(slices.Concat(own, l.app.Flags)) {
		if len(name) > 1 {
			all = append(all, "--"+name)
		}
	}
	return all
}

// valuesOf returns what a flag takes, if that is one of a few words.
func valuesOf(flag string) []string {
	switch flag {
	case "op":
		return slices.Sorted(maps.Keys(operations()))
	case "consistency", "default-consistency":
		var levels []string
		for _, level := range client.Consistencies {
			levels = append(levels, string(level))
		}
		return levels
	case "type":
		return typeNames()
	case "cut":
		return []string{"eu", "us", "ap", "none"}
	}
	return nil
}

// The scripts run the words up to the cursor with completionFlag at the end.
const (
	bashCompletion = `_crdtctl() {
	local current=${COMP_WORDS[COMP_CWORD]}
	local ask=("${COMP_WORDS[@]:0:COMP_CWORD}" "$current")
	COMPREPLY=($(compgen -W "$("${ask[@]}" ` + completionFlag + ` 2>/dev/null)" -- "$current"))
}
complete -o default -F _crdtctl crdtctl
`
	zshCompletion = `#compdef crdtctl
_crdtctl() {
	local current=${words[CURRENT]}
	local -a ask known
	ask=("${words[@]:0:$((CURRENT - 1))}" "$current")
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
