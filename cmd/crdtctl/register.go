package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/crdt"
)

func registerCommand() *cli.Command {
	return &cli.Command{
		Name:  "register",
		Usage: "values; the last one written counts, concurrent ones stay readable",
		Subcommands: []*cli.Command{
			{
				Name: "set", ArgsUsage: "KEY VALUE | KEY - | KEY --file FILE", Usage: "write a value, - from stdin",
				Before: takes(1, 2), Action: registerSet,
				Flags: []cli.Flag{&cli.StringFlag{Name: "file", Usage: "read the value from `FILE`"}},
			},
			{
				Name: "get", ArgsUsage: "KEY", Usage: "print the value",
				Description: "The value is printed as it is, with a line end after it on a terminal only.",
				Before:      takes(1, 1), Action: reading(registerGet),
				Flags: []cli.Flag{&cli.BoolFlag{Name: "siblings", Usage: "print all concurrent values, quoted, the one that counts first"}},
			},
		},
	}
}

func registerSet(c *cli.Context) error {
	key := c.Args().First()
	value, err := valueArgument(c)
	if err != nil {
		return err
	}
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		if err := cl.Register(key).Set(ctx, value); err != nil {
			return err
		}
		return answer(c, done{keyOf(key), true}, text("ok"))
	})
}

// valueArgument returns the value that the command line says, or where it says
// that it is.
func valueArgument(c *cli.Context) ([]byte, error) {
	path := c.String("file")
	switch {
	case c.IsSet("file") == (c.NArg() == 2):
		return nil, usagef("register set takes one value: VALUE, or - for stdin, or --file FILE")
	case c.NArg() == 2 && c.Args().Get(1) != "-":
		return []byte(c.Args().Get(1)), nil
	case c.NArg() == 2:
		return readValue(c.Context, "stdin", c.App.Reader)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, usagef("%w", err)
	}
	defer file.Close()
	return readValue(c.Context, path, file)
}

// readValue reads a value of bounded size, or until the context ends.
func readValue(ctx context.Context, from string, r io.Reader) ([]byte, error) {
	type read struct {
		value []byte
		err   error
	}
	all := make(chan read, 1)
	go func() {
		value, err := io.ReadAll(io.LimitReader(r, crdt.MaxValueBytes+1))
		all <- read{value, err}
	}()
	select {
	case <-ctx.Done():
		return nil, readError{error: ctx.Err()} // nothing was sent yet
	case got := <-all:
		switch {
		case got.err != nil:
			return nil, usagef("reading the value from %s: %w", from, got.err)
		case len(got.value) > crdt.MaxValueBytes:
			return nil, usagef("the value in %s has more than %d bytes, which is the most allowed", from, crdt.MaxValueBytes)
		}
		return got.value, nil
	}
}

// siblingAnswer is one value of a register.
type siblingAnswer struct {
	jsonValue
	Time  time.Time `json:"time"`
	Actor string    `json:"actor"`
}

func siblingOf(s client.Sibling) siblingAnswer {
	return siblingAnswer{valueOf(s.Value), s.Time.UTC(), s.Actor.String()}
}

func registerGet(c *cli.Context) error {
	key := c.Args().First()
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		siblings, err := cl.Register(key).Siblings(ctx)
		if errors.Is(err, client.ErrNotFound) {
			err = cmp.Or(mistaken(ctx, cl, key, crdt.TypeRegister), err)
		}
		if err != nil {
			return err
		}
		if c.Bool("siblings") {
			return printSiblings(c, key, siblings)
		}
		if c.Bool("json") {
			return answer(c, struct {
				jsonKey
				siblingAnswer
				Concurrent int `json:"concurrent"` // how many other values there are
			}{keyOf(key), siblingOf(siblings[0]), len(siblings) - 1}, nil)
		}
		value := siblings[0].Value
		if isTerminal(c.App.Writer) {
			value = append(value, '\n')
		}
		_, err = c.App.Writer.Write(value)
		return err
	})
}

func printSiblings(c *cli.Context, key string, siblings []client.Sibling) error {
	all := make([]siblingAnswer, len(siblings))
	for i, s := range siblings {
		all[i] = siblingOf(s)
	}
	return answer(c, struct {
		jsonKey
		Siblings []siblingAnswer `json:"siblings"`
	}{keyOf(key), all}, func(w io.Writer) {
		fmt.Fprintln(w, "WRITTEN\tBY\tVALUE")
		for _, s := range siblings {
			fmt.Fprintf(w, "%s\t%s\t%q\n", s.Time.UTC().Format("2006-01-02T15:04:05.000Z"), s.Actor, s.Value)
		}
	})
}
