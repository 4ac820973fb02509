package main

import (
	"context"
	"errors"
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
			{
				Name: "incr", ArgsUsage: "KEY [BY]", Usage: "add BY, by default 1, and print the value", Before: takes(1, 2), Action: counterIncr,
				Flags: []cli.Flag{&cli.StringFlag{Name: "id", Usage: "count once what is done again under the same `ID`, which counter id prints"}},
			},
			{Name: "id", Usage: "print a new id for counter incr --id, good for half an hour", Before: takes(0, 0), Action: counterID},
			{Name: "get", ArgsUsage: "KEY", Usage: "print the value, 0 if never written", Before: takes(1, 1), Action: reading(counterGet)},
			{Name: "reset", ArgsUsage: "KEY", Usage: "take away what this region has seen counted", Before: takes(1, 1), Action: counterReset},
		},
	}
}

type counterAnswer struct {
	jsonKey
	Value int64 `json:"value"`
}

func counterIncr(c *cli.Context) error {
	key, by := c.Args().First(), int64(1)
	if text := c.Args().Get(1); c.NArg() == 2 {
		var err error
		if by, err = strconv.ParseInt(text, 10, 64); err != nil {
			return usagef("BY is %q; it takes a whole number of at most 64 bits, such as 5 or -5", text)
		}
	}
	id, given := client.NewOperationID(), c.IsSet("id")
	if given {
		var err error
		if id, err = client.ParseOperationID(c.String("id")); err != nil {
			return usagef("%w; crdtctl counter id prints one", err)
		}
	}
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		n, err := cl.Counter(key).AddOnce(ctx, id, by)
		if !given && errors.Is(err, client.ErrNotRemembered) {
			n, err = cl.Counter(key).AddUnnamed(ctx, by)
		} else if errors.Is(err, client.ErrOutcomeUnknown) || errors.Is(err, client.ErrUnavailable) {
			return fmt.Errorf("%w; repeated with --id %s it counts once", err, id)
		}
		if err != nil {
			return err
		}
		return answer(c, counterAnswer{keyOf(key), n}, text("%d", n))
	})
}

// operationAnswer is a new id.
type operationAnswer struct {
	ID string `json:"id"`
}

func counterID(c *cli.Context) error {
	id := client.NewOperationID().String()
	return answer(c, operationAnswer{id}, text("%s", id))
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
		return answer(c, counterAnswer{keyOf(key), n}, text("%d", n))
	})
}

func counterReset(c *cli.Context) error {
	key := c.Args().First()
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		// Before it is gone: afterwards there is no counter either way.
		if err := mistaken(ctx, cl, key, crdt.TypeCounter); err != nil {
			return err
		}
		if err := cl.Counter(key).Reset(ctx); err != nil {
			return err
		}
		return answer(c, done{keyOf(key), true}, text("ok"))
	})
}

// done answers a write that has no result.
type done struct {
	jsonKey
	OK bool `json:"ok"`
}

// mistaken says, of a key that held nothing of the type asked for, that it
// holds something else: one key may hold an object of each type, but whoever
// asks for one that was never written has most likely taken it for another.
func mistaken(ctx context.Context, cl *client.Client, key string, asked crdt.Type) error {
	held, err := cl.Types(ctx, key)
	if err != nil || len(held) == 0 || slices.Contains(held, asked) {
		return err
	}
	names, helps := make([]string, len(held)), make([]string, len(held))
	for i, t := range held {
		names[i], helps[i] = t.String(), fmt.Sprintf("crdtctl %s --help", t)
	}
	return fmt.Errorf("%w: no %s %q; the key holds a %s; see %s",
		client.ErrNotFound, asked, key, strings.Join(names, " and a "), strings.Join(helps, " and "))
}
