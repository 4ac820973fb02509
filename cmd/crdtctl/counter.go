package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/crdt"
)

func counterCommand() *cli.Command {
	return &cli.Command{
		Name:  "counter",
		Usage: "count up and down; what all regions count adds up",
		Subcommands: []*cli.Command{
			{Name: "incr", ArgsUsage: "KEY [BY]", Usage: "add BY, by default 1, and print the value", Before: takes(1, 2), Action: counterIncr},
			{Name: "get", ArgsUsage: "KEY", Usage: "print the value, 0 if never written", Before: takes(1, 1), Action: counterGet},
			{Name: "reset", ArgsUsage: "KEY", Usage: "take away what this region has seen counted", Before: takes(1, 1), Action: counterReset},
		},
	}
}

type counterAnswer struct {
	Key   string `json:"key"`
	Value int64  `json:"value"`
}

func counterIncr(c *cli.Context) error {
	key, by := c.Args().First(), int64(1)
	if text := c.Args().Get(1); c.NArg() == 2 {
		var err error
		if by, err = strconv.ParseInt(text, 10, 64); err != nil {
			return usagef("BY is %q; it takes a whole number of at most 64 bits, such as 5 or -5", text)
		}
	}
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		n, err := cl.Counter(key).Add(ctx, by)
		if err != nil {
			return err
		}
		return answer(c, counterAnswer{key, n}, text("%d", n))
	})
}

func counterGet(c *cli.Context) error {
	key := c.Args().First()
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		n, err := cl.Counter(key).Value(ctx)
		if err == nil && n == 0 {
			err = mistaken(ctx, cl, key, crdt.TypeCounter)
		}
		if err != nil {
			return err
		}
		return answer(c, counterAnswer{key, n}, text("%d", n))
	})
}

func counterReset(c *cli.Context) error {
	key := c.Args().First()
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		if err := cl.Counter(key).Reset(ctx); err != nil {
			return err
		}
		return answer(c, done{key, true}, text("ok"))
	})
}

// done answers a write that has no result.
type done struct {
	Key string `json:"key"`
	OK  bool   `json:"ok"`
}

// mistaken says, of a key that held nothing of the type read, that it holds
// something else: one key may hold an object of each type, but whoever reads
// one that was never written has most likely taken it for another.
func mistaken(ctx context.Context, cl *client.Client, key string, read crdt.Type) error {
	held, err := cl.Types(ctx, key)
	if err != nil || len(held) == 0 || slices.Contains(held, read) {
		return err
	}
	names := make([]string, len(held))
	for i, t := range held {
		names[i] = t.String()
	}
	return fmt.Errorf("%w: no %s %q; the key holds a %s", client.ErrNotFound, read, key, strings.Join(names, " and a "))
}
