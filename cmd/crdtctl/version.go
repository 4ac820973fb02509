package main

import (
	"runtime"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/server"
)

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:   "version",
		Usage:  "print the version of this program; that of a member is in its status",
		Before: takes(0, 0),
		Action: func(c *cli.Context) error {
			return answer(c, struct {
				Version string `json:"version"`
				Go      string `json:"go"`
			}{server.Version, runtime.Version()}, text("crdtctl %s (%s)", server.Version, runtime.Version()))
		},
	}
}
