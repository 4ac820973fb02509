package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/internal/demo"
)

// demoCommand shows three regions at work.
func demoCommand() *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "run three regions, cut one off, heal, and prove that they agree",
		Description: `Starts three regions in this process, each with its own disk and NATS server,
and replays the traffic of a web site into all of them at once: hits per path,
distinct visitors per day, when each visitor was last seen. On the way one
region is cut off and comes back. In the end every region must hold exactly what
the input says; anything else is exit code 1.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "log", Usage: "replay the access log `FILE`, combined format, plain or gzip (default: made-up traffic)"},
			&cli.IntFlag{Name: "hits", Value: 20_000, Usage: "how many hits to make up"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "what to make them up from"},
			&cli.StringFlag{Name: "cut", Value: "ap", Usage: "`REGION` to cut off: eu, us, ap or none"},
			&cli.IntFlag{Name: "cut-at", Value: 50, Usage: "cut at this `PERCENT` of the input"},
			&cli.IntFlag{Name: "heal-at", Value: 80, Usage: "heal at this `PERCENT` of the input; without it at 100 after a later cut"},
			&cli.IntFlag{Name: "clients", Value: 32, Usage: "concurrent clients in each region"},
			&cli.StringFlag{Name: "dir", Usage: "keep the data in the empty directory `DIR` (default: a temporary one)"},
			&cli.BoolFlag{Name: "keep", Usage: "leave the cluster up afterwards, to play with"},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("%w: unexpected argument %q", demo.ErrOptions, c.Args().First())
			}
			if n := c.Int("hits"); n < 1 {
				return usagef("--hits %d; it takes at least 1", n)
			}
			if n := c.Int("clients"); n < 1 || n > demo.MaxClients {
				return usagef("--clients %d; it takes 1 to %d", n, demo.MaxClients)
			}
			// Or a reader that leaves ends the program before it has cleaned up.
			signal.Ignore(syscall.SIGPIPE)
			defer signal.Reset(syscall.SIGPIPE)
			out, outcome := c.App.Writer, io.Writer(nil)
			if c.Bool("json") {
				out, outcome = c.App.ErrWriter, c.App.Writer
			}
			err := demo.Run(c.Context, demo.Options{
				Log: c.String("log"), Hits: c.Int("hits"), Seed: c.Uint64("seed"),
				Cut: c.String("cut"), CutAt: c.Int("cut-at"), HealAt: healAt(c),
				Clients: c.Int("clients"), Dir: c.String("dir"), Keep: c.Bool("keep"), Command: ownCommand(os.Executable()),
				Out: out, Terminal: isTerminal(out), JSON: outcome,
			})
			if errors.Is(err, context.Canceled) {
				return readError{error: err} // what it wrote was its own
			}
			return err
		},
	}
}

// healAt returns when to heal: the default must not come before the cut.
func healAt(c *cli.Context) int {
	if at := c.Int("heal-at"); c.IsSet("heal-at") || c.Int("cut-at") <= at {
		return at
	}
	return 100
}

// ownCommand returns what starts this program again: where it was run by go run,
// that.
func ownCommand(path string, err error) string {
	switch found, unknown := exec.LookPath("crdtctl"); {
	case err != nil, unknown == nil && found == path:
		return "crdtctl"
	case strings.Contains(path, string(filepath.Separator)+"go-build"):
		return "go run ./cmd/crdtctl"
	}
	return path
}

// isTerminal says whether what is written can be redrawn.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
