package main

import (
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"

	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/replica"
	"github.com/atolldb/atoll/server"
)

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:   "version",
		Usage:  "print the version of this program, and which protocols and directories it knows",
		Before: takes(0, 0),
		Action: func(c *cli.Context) error {
			return answer(c, struct {
				Version  string `json:"version"`
				Go       string `json:"go"`
				Protocol int    `json:"protocol"`
				Format   int    `json:"disk_format"`
			}{server.Version, runtime.Version(), pb.Protocol, replica.Format},
				text("crdtctl %s (%s), protocol %s, disk format %s", server.Version, runtime.Version(),
					span(pb.OldestProtocol, pb.Protocol), span(replica.OldestFormat, replica.Format)))
		},
	}
}

func span(from, to int) string {
	if from == to {
		return fmt.Sprint(to)
	}
	return fmt.Sprintf("%d to %d", from, to)
}
