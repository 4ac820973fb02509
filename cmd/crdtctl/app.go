package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/server"
)

const description = `Global options may stand anywhere. After "--", everything is an argument:

   crdtctl counter incr likes:42 -5
   crdtctl set add cart -- --odd-name

With --json, every answer is an object on a line of its own. What is no text in
it stands as base64, in key_base64 and the like. What failed is one line on
stderr either way.

Exit codes: 0 done, 1 other failures, 2 wrong usage, or refused (invalid input, a
counter that would overflow, what the user may not do), 3 not converged, 4 no member reachable, or none that
answers a question in time, 5 no, or nothing there, 6 outcome unknown (of a write
without an answer in time, or interrupted, or of an id that is not remembered): it
may have been done or not, 7 too few owners answered for --consistency: a write that
was made is kept, and spreads.`

func app(stdin io.Reader, stdout, stderr io.Writer) *cli.App {
	a := &cli.App{
		Name:        "crdtctl",
		Usage:       "use and look after an Atoll cluster",
		Description: description,
		Version:     server.Version,
		Commands: []*cli.Command{
			counterCommand(), setCommand(), registerCommand(), delCommand(), scanCommand(),
			statusCommand(), membersCommand(), memberCommand(), ringCommand(), settingsCommand(), userCommand(), certsCommand(), verifyCommand(), scrubCommand(), backupCommand(), restoreCommand(), exportCommand(), importCommand(), benchCommand(), loadCommand(), demoCommand(),
			versionCommand(), completionCommand(),
		},
		Flags: []cli.Flag{
			&cli.StringSliceFlag{
				Name: "server", Usage: "member to connect to, `HOST:PORT`, the nearest first (repeatable; in $ATOLL_SERVER with commas between)",
				Value: cli.NewStringSlice(defaultServers()...), DefaultText: defaultServer,
			},
			&cli.StringFlag{Name: "key", TakesFile: true, Usage: "log in with the key of a user in `FILE`", EnvVars: []string{"ATOLL_KEY"}},
			&cli.StringFlag{Name: "ca", TakesFile: true, Usage: "speak TLS, and trust members by the authority in `FILE`", EnvVars: []string{"ATOLL_CA"}},
			&cli.StringFlag{Name: "creds", TakesFile: true, Usage: "log in at NATS servers that are not members' with the JWT and the seed in `FILE`"},
			&cli.StringFlag{Name: "user", Usage: "ask as the user `NAME` there"},
			&cli.DurationFlag{Name: "timeout", Value: 5 * time.Second, Usage: "how long to wait for one answer"},
			&cli.StringFlag{
				Name: "consistency", EnvVars: []string{"ATOLL_CONSISTENCY"},
				Usage: "`LEVEL` of reads and writes: one, local-quorum, quorum, each-quorum, all or linearizable (default: as crdtctl settings shows)",
			},
			&cli.StringFlag{
				Name: "session", TakesFile: true,
				Usage: "read what was written and read before with the same `FILE`, in whatever region",
			},
			&cli.BoolFlag{Name: "json", Usage: "answer programs, not people"},
		},
		Reader: stdin, Writer: stdout, ErrWriter: stderr,
		HideHelpCommand: true, // arrange understands "help"
		// A comma is a part of a prefix, and of a password.
		DisableSliceFlagSeparator: true,
		OnUsageError:              misused,
		ExitErrHandler:            func(*cli.Context, error) {}, // errors are reported by run
	}
	settle(a.Commands)
	return a
}

const defaultServer = "127.0.0.1:4222"

// defaultServers are those of who says no --server.
func defaultServers() []string {
	return strings.FieldsFunc(cmp.Or(os.Getenv("ATOLL_SERVER"), defaultServer), func(r rune) bool { return r == ',' || r == ' ' })
}

// settle gives all commands what package cli does not hand down. Without
// HideHelpCommand a key named "help" would be taken for a command.
func settle(commands []*cli.Command) {
	for _, c := range commands {
		c.HideHelpCommand = true
		c.OnUsageError = misused
		settle(c.Subcommands)
	}
}

// misused says what is wrong with the value of a flag. Package flag says so in
// text only, and without what would be right.
func misused(c *cli.Context, err error, _ bool) error {
	text := err.Error()
	if rest, ok := strings.CutPrefix(text, "invalid value "); ok {
		value, rest, _ := strings.Cut(rest, " for flag -")
		name, _, _ := strings.Cut(rest, ":")
		kind := "a number"
		if _, ok := find(slices.Concat(c.Command.Flags, c.App.Flags), name).(*cli.DurationFlag); ok {
			kind = "a time such as 5s"
		}
		text = fmt.Sprintf("--%s %s; it takes %s", name, value, kind)
	}
	return usagef("%s; see %s --help", text, c.Command.HelpName)
}

// takes checks the number of arguments; a negative most is no bound.
func takes(least, most int) cli.BeforeFunc {
	return func(c *cli.Context) error {
		if n := c.NArg(); n >= least && (n <= most || most < 0) {
			return nil
		}
		wants := "no arguments"
		if c.Command.ArgsUsage != "" {
			wants = fmt.Sprintf("%s, not %s", c.Command.ArgsUsage, plural(c.NArg(), "argument"))
		}
		help := c.Command.HelpName
		return usagef("%s takes %s; see %s --help", strings.TrimPrefix(help, c.App.Name+" "), wants, help)
	}
}

// connected connects for the time that do takes.
func connected(c *cli.Context, do func(ctx context.Context, cl *client.Client) error) error {
	servers, timeout := c.StringSlice("server"), c.Duration("timeout")
	if timeout <= 0 {
		return usagef("--timeout %v; it takes more than 0, such as 5s", timeout)
	}
	cl, err := client.Connect(c.Context, client.Options{
		Servers: servers, Name: "crdtctl", Timeout: timeout,
		Key: c.String("key"), CA: c.String("ca"), Credentials: c.String("creds"), User: c.String("user"),
	})
	switch {
	case c.Context.Err() != nil:
		return c.Context.Err()
	case errors.Is(err, client.ErrUnreachable):
		return fmt.Errorf("%w; start one with crdtd, or name one that runs with --server HOST:PORT", err)
	case err != nil:
		return err
	}
	if c.IsSet("consistency") {
		at, err := cl.At(client.Consistency(c.String("consistency")))
		if err != nil {
			return errors.Join(err, cl.Close())
		}
		cl = at
	}
	if path := c.String("session"); path != "" {
		err = inSession(path, cl, func(cl *client.Client) error { return do(c.Context, cl) })
	} else {
		err = do(c.Context, cl)
	}
	return errors.Join(err, cl.Close())
}
