package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/crdt"
)

func setCommand() *cli.Command {
	return &cli.Command{
		Name:  "set",
		Usage: "sets of strings; adding wins over removing at the same time",
		Subcommands: []*cli.Command{
			{Name: "add", ArgsUsage: "KEY ELEMENT...", Usage: "put elements in, all at once, and print how many are new", Before: takes(2, -1), Action: setAdd},
			{Name: "rm", ArgsUsage: "KEY ELEMENT...", Usage: "take elements out, all at once, and print how many were there", Before: takes(2, -1), Action: setRemove},
			{Name: "has", ArgsUsage: "KEY ELEMENT", Usage: "print yes, or print no and exit with code 5", Before: takes(2, 2), Action: reading(setHas)},
			{Name: "members", ArgsUsage: "KEY", Usage: "print the elements, one per line, as they come: in no order", Before: takes(1, 1), Action: reading(setMembers),
				Description: "Elements may be of any bytes, line ends included; --json tells them apart."},
			{Name: "card", ArgsUsage: "KEY", Usage: "print the number of elements", Before: takes(1, 1), Action: reading(setCard)},
		},
	}
}

func setAdd(c *cli.Context) error {
	key, elements := c.Args().First(), c.Args().Tail()
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		n, err := cl.Set(key).Add(ctx, elements...)
		if err != nil {
			return inParts(err)
		}
		return answer(c, struct {
			jsonKey
			Added int `json:"added"`
		}{keyOf(key), n}, text("added %d", n))
	})
}

func setRemove(c *cli.Context) error {
	key, elements := c.Args().First(), c.Args().Tail()
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		n, err := cl.Set(key).Remove(ctx, elements...)
		if err != nil {
			return inParts(err)
		}
		if n == 0 { // it was done; a question that fails does not change that
			if err := mistaken(ctx, cl, key, crdt.TypeSet); errors.Is(err, client.ErrNotFound) {
				return err
			}
		}
		return answer(c, struct {
			jsonKey
			Removed int `json:"removed"`
		}{keyOf(key), n}, text("removed %d", n))
	})
}

// inParts says what to do about more elements than one request takes.
func inParts(err error) error {
	if errors.Is(err, client.ErrInvalid) && strings.Contains(err.Error(), "a request of ") {
		return fmt.Errorf("%w; give fewer elements at a time", err)
	}
	return err
}

func setHas(c *cli.Context) error {
	key, element := c.Args().First(), c.Args().Get(1)
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		has, err := cl.Set(key).Has(ctx, element)
		if err == nil && !has {
			err = mistaken(ctx, cl, key, crdt.TypeSet)
		}
		if err != nil {
			return err
		}
		word, end := "yes", error(nil)
		if !has {
			word, end = "no", verdict(exitNo)
		}
		if err := answer(c, struct {
			jsonKey
			jsonElement
			Has bool `json:"has"`
		}{keyOf(key), elementOf(element), has}, text("%s", word)); err != nil {
			return err
		}
		return end
	})
}

// setMembers prints elements as they come, so that a set of any size passes.
func setMembers(c *cli.Context) error {
	key := c.Args().First()
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		w := bufio.NewWriter(c.App.Writer)
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		none := true
		for element, err := range cl.Set(key).Members(ctx) {
			switch {
			case err != nil:
			case c.Bool("json"):
				err = encoder.Encode(elementOf(element))
			default:
				_, err = w.WriteString(element + "\n")
			}
			if err != nil {
				_ = w.Flush() // what came before stands
				return err
			}
			none = false
		}
		if none {
			return mistaken(ctx, cl, key, crdt.TypeSet)
		}
		return w.Flush()
	})
}

func setCard(c *cli.Context) error {
	key := c.Args().First()
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		n, err := cl.Set(key).Len(ctx)
		if err == nil && n == 0 {
			err = mistaken(ctx, cl, key, crdt.TypeSet)
		}
		if err != nil {
			return err
		}
		return answer(c, struct {
			jsonKey
			Card int `json:"card"`
		}{keyOf(key), n}, text("%d", n))
	})
}
