package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/crdt"
)

func delCommand() *cli.Command {
	return &cli.Command{
		Name: "del", ArgsUsage: "KEY...",
		Usage: "delete what keys hold, of every type, and print how many objects that were",
		Description: `Deleted is what this region has seen; what others write at the same time stays.
Keys are deleted one after the other. One that holds nothing is no error.`,
		Before: takes(1, -1),
		Action: func(c *cli.Context) error {
			for _, key := range c.Args().Slice() { // all, before the first is gone
				if err := (crdt.Object{Key: key, Type: crdt.TypeCounter}).Validate(); err != nil {
					return usagef("deleting %.64q: %w", key, err)
				}
			}
			return connected(c, func(ctx context.Context, cl *client.Client) error {
				total := 0
				for _, key := range c.Args().Slice() {
					n, err := cl.Delete(ctx, key)
					if err != nil {
						return fmt.Errorf("deleting %.64q: %w", key, err)
					}
					total += n
					if !c.Bool("json") {
						continue
					}
					if err := answer(c, struct {
						jsonKey
						Deleted int `json:"deleted"`
					}{keyOf(key), n}, nil); err != nil {
						return err
					}
				}
				if c.Bool("json") {
					return nil
				}
				return answer(c, nil, text("deleted %d", total))
			})
		},
	}
}
