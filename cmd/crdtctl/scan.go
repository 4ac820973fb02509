package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/crdt"
)

func scanCommand() *cli.Command {
	return &cli.Command{
		Name: "scan", ArgsUsage: "[PREFIX]",
		Usage: "list the objects that there are, in the order of their keys",
		Description: `Of all keys, or of those that begin with PREFIX: type, number of elements (1 but for
sets) and key, which is quoted where it does not print. A PREFIX with a whole {tag}
asks one shard, others ask all. Objects that come or go meanwhile are seen or not.`,
		Before: takes(0, 1),
		Flags: []cli.Flag{
			typeFlag(),
			&cli.IntFlag{Name: "limit", Usage: "stop after `N` objects", DefaultText: "all"},
		},
		Action: reading(scan),
	}
}

func typeFlag() cli.Flag {
	return &cli.StringFlag{Name: "type", Usage: "only objects of `TYPE`: counter, set or register"}
}

// scanOptions reads PREFIX and --type.
func scanOptions(c *cli.Context) (client.ScanOptions, error) {
	o := client.ScanOptions{Prefix: c.Args().First()}
	if name := c.String("type"); name != "" {
		i := slices.Index(typeNames(), name)
		if i < 0 {
			return o, usagef("--type %q; it takes counter, set or register", name)
		}
		o.Type = crdt.Types[i]
	}
	return o, nil
}

func typeNames() []string {
	var names []string
	for _, t := range crdt.Types {
		names = append(names, t.String())
	}
	return names
}

func scan(c *cli.Context) error {
	o, err := scanOptions(c)
	if err != nil {
		return err
	}
	if o.Limit = c.Int("limit"); o.Limit < 0 {
		return usagef("--limit %d; it takes 0 or more", o.Limit)
	}
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		w := bufio.NewWriter(c.App.Writer)
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		for object, err := range cl.Scan(ctx, o) {
			switch {
			case err != nil:
			case c.Bool("json"):
				err = encoder.Encode(struct {
					jsonKey
					Type string `json:"type"`
					Len  int    `json:"len"`
				}{keyOf(object.Key), object.Type.String(), object.Len})
			default:
				_, err = fmt.Fprintf(w, "%-8s %8d  %s\n", object.Type, object.Len, printable(object.Key))
			}
			if err != nil {
				return errors.Join(err, w.Flush()) // what came before stands
			}
		}
		return w.Flush()
	})
}

// printable returns a key as it is, or quoted if it would not show as it is.
func printable(key string) string {
	if utf8.ValidString(key) && key[0] != '"' && !strings.ContainsFunc(key, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return key
	}
	return strconv.Quote(key)
}
