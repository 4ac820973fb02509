package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// line is a command line taken apart.
type line struct {
	app       *cli.App
	command   *cli.Command // nil before the first word
	path      []string     // of the command
	globals   []string     // flags of the app
	locals    []string     // flags of the command
	arguments []string
	help      bool
}

// arrange puts a command line into the order in which package cli understands
// it: global flags, command, its flags, arguments. People write flags anywhere
// and negative numbers as they are. Words that nobody knows are an error.
func arrange(a *cli.App, args []string) ([]string, error) {
	a.Setup()
	l := &line{app: a}
	for rest := args[1:]; len(rest) > 0; {
		word := rest[0]
		rest = rest[1:]
		var err error
		switch {
		case word == "--":
			l.arguments, rest = append(l.arguments, rest...), nil
		case isFlag(word):
			rest, err = l.flag(word, rest)
		case l.command == nil || len(l.command.Subcommands) > 0:
			err = l.enter(word)
		default:
			l.arguments = append(l.arguments, word)
		}
		if err != nil {
			return nil, err
		}
	}
	return l.arranged(args[0])
}

// isFlag says whether a word is a flag; "-" and negative numbers are not.
func isFlag(word string) bool {
	bare := strings.TrimPrefix(strings.TrimPrefix(word, "-"), ".")
	return len(word) > 1 && word[0] == '-' && (bare == "" || bare[0] < '0' || bare[0] > '9')
}

// flag takes a flag, and its value from the words after it, which it returns
// without it.
func (l *line) flag(word string, rest []string) ([]string, error) {
	name, _, hasValue := strings.Cut(strings.TrimLeft(word, "-"), "=")
	var own []cli.Flag
	if l.command != nil {
		own = l.command.Flags
	}
	flag, to := find(own, name), &l.locals
	if flag == nil {
		flag, to = find(l.app.Flags, name), &l.globals
	}
	switch {
	case slices.Contains(cli.HelpFlag.Names(), name):
		l.help = true
		return rest, nil
	case flag == nil:
		return nil, usagef(`unknown flag %s%s; after "--", everything is an argument`, word,
			suggestion(name, "--", names(slices.Concat(own, l.app.Flags))))
	}
	*to = append(*to, word)
	if f, ok := flag.(cli.DocGenerationFlag); hasValue || ok && !f.TakesValue() {
		return rest, nil
	}
	if len(rest) == 0 {
		return nil, usagef("%s needs a value; see %s --help", word, l.name())
	}
	*to = append(*to, rest[0])
	return rest[1:], nil
}

// enter takes the name of a command.
func (l *line) enter(word string) error {
	if word == "help" {
		l.help = true
		return nil
	}
	known := []string{"help"}
	for _, c := range l.commands() {
		if c.HasName(word) {
			l.command, l.path = c, append(l.path, word)
			return nil
		}
		known = append(known, c.Names()...)
	}
	return usagef("there is no command %q%s; see %s --help",
		strings.Join(append(l.path, word), " "), suggestion(word, "", known), l.name())
}

// commands returns those that may come next.
func (l *line) commands() []*cli.Command {
	if l.command == nil {
		return l.app.Commands
	}
	return l.command.Subcommands
}

func (l *line) arranged(program string) ([]string, error) {
	switch {
	case l.help:
		l.locals, l.arguments = []string{"--help"}, nil
	case l.command == nil && len(l.arguments) > 0:
		return nil, usagef("an argument without a command; see crdtctl --help")
	case l.command != nil && len(l.command.Subcommands) > 0:
		var known []string
		for _, c := range l.command.Subcommands {
			known = append(known, c.Name)
		}
		return nil, usagef("%s takes a command: %s; see %s --help", strings.Join(l.path, " "), strings.Join(known, ", "), l.name())
	}
	all := slices.Concat([]string{program}, l.globals, l.path, l.locals)
	if l.command != nil {
		all = append(append(all, "--"), l.arguments...)
	}
	return all, nil
}

func (l *line) name() string { return strings.Join(append([]string{l.app.Name}, l.path...), " ") }

func find(flags []cli.Flag, name string) cli.Flag {
	i := slices.IndexFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
	if i < 0 {
		return nil
	}
	return flags[i]
}

func names(flags []cli.Flag) []string {
	var all []string
	for _, f := range flags {
		all = append(all, f.Names()...)
	}
	return all
}

// suggestion names the one among the known words that is most like word, if
// any is.
func suggestion(word, prefix string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if d := distance(word, k); d < least && d < len(k) {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; you may mean %s%s", prefix, best)
}

// distance returns how many letters to insert, delete or replace to turn one
// word into the other (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
