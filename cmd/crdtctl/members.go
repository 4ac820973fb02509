package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
	pb "github.com/atolldb/atoll/proto"
)

func membersCommand() *cli.Command {
	return &cli.Command{
		Name: "members", ArgsUsage: "[MEMBER]",
		Usage: "list the members of the cluster, and who can be reached",
		Description: `The table of members is the cluster's own data, and the same everywhere. How they
are is what one member sees: the one connected to, or MEMBER.

   STATE   alive; suspect: silent for longer than its rhythm explains; down: a
           majority of members suspects it; left: it has stopped as it was told;
           leaving: it hands over what it has, see member decommission
   PHI     how sure the silence makes that it is gone: at 8, it happens by chance
           once in 10^8 times
   SILENT  time since its last heartbeat`,
		Before: takes(0, 1),
		Action: reading(func(c *cli.Context) error {
			return connected(c, func(ctx context.Context, cl *client.Client) error {
				member := c.Args().First()
				views, err := cl.Members(ctx, member)
				if err != nil {
					return err
				}
				rings, err := cl.Rings(ctx, member)
				if err != nil {
					return err
				}
				m := membersOf(views)
				for _, region := range rings.Regions {
					if len(region.Awaited) > 0 {
						m.Awaited[region.Region] = region.Awaited
					}
				}
				return answer(c, m, m.print)
			})
		}),
	}
}

func memberCommand() *cli.Command {
	return &cli.Command{
		Name:  "member",
		Usage: "change the table of members",
		Subcommands: []*cli.Command{decommissionCommand(), {
			Name: "remove", ArgsUsage: "NAME",
			Usage: "take a member that is not coming back out of the table",
			Description: `It owns nothing from then on, and no majority counts it. A member that can be
reached is not removed: stop it first. What only it had is lost with it; what
others have of it stays. If it is started again, it is in the table again.`,
			Before: takes(1, 1),
			Action: func(c *cli.Context) error {
				return connected(c, func(ctx context.Context, cl *client.Client) error {
					views, err := cl.RemoveMember(ctx, c.Args().First())
					if err != nil {
						return err
					}
					m := membersOf(views)
					return answer(c, m, m.print)
				})
			},
		}},
	}
}

func decommissionCommand() *cli.Command {
	return &cli.Command{
		Name: "decommission", ArgsUsage: "NAME",
		Usage: "have a member hand over all it has, so that it can be stopped",
		Description: `Other members of its region take over its shards; then it owns nothing any more,
and keeps nothing. Nothing is lost, and requests are served all the while. This
command shows how far the others are and ends when all is done; interrupted, that
goes on without it, and the same command shows it again. After it, stop the member
and remove it from the table. The last one that stays in the cluster is refused.`,
		Before: takes(1, 1),
		Action: func(c *cli.Context) error {
			return connected(c, func(ctx context.Context, cl *client.Client) error {
				name := c.Args().First()
				if _, err := cl.Decommission(ctx, name); err != nil {
					return err
				}
				d, err := handedOver(ctx, cl, name, newProgress(c))
				if err != nil {
					return err
				}
				return answer(c, d, d.print)
			})
		},
	}
}

type membersAnswer struct {
	Members []memberView `json:"members"`
	// Awaited are members that are not there, and that the change of owners in a
	// region waits for, by region.
	Awaited map[string][]string `json:"awaited"`
}

type memberView struct {
	Name       string  `json:"name"`
	Region     string  `json:"region"`
	Zone       string  `json:"zone"`
	Weight     uint32  `json:"weight"`
	Version    string  `json:"version"`
	Protocol   uint32  `json:"protocol"`
	State      string  `json:"state"`
	Leaving    bool    `json:"leaving"`
	Phi        float64 `json:"phi"`
	Silent     float64 `json:"silent_seconds"`
	Suspicions uint32  `json:"suspicions"`
	Observers  uint32  `json:"observers"`
	Client     string  `json:"client"`
	Route      string  `json:"route"`
	Gateway    string  `json:"gateway"`
}

func membersOf(views []*pb.MemberView) membersAnswer {
	m := membersAnswer{Members: []memberView{}, Awaited: map[string][]string{}}
	for _, v := range views {
		is := v.GetMember()
		m.Members = append(m.Members, memberView{
			Name: is.GetName(), Region: is.GetRegion(), Zone: is.GetZone(), Weight: is.GetWeight(), Version: is.GetVersion(),
			Protocol: max(1, is.GetProtocol()), State: v.GetState(), Leaving: is.GetLeaving(), Phi: math.Round(100*v.GetPhi()) / 100, Silent: seconds(ms(v.GetSilentMs())),
			Suspicions: v.GetSuspicions(), Observers: v.GetObservers(),
			Client: is.GetClient(), Route: is.GetRoute(), Gateway: is.GetGateway(),
		})
	}
	return m
}

func (m membersAnswer) print(w io.Writer) {
	fmt.Fprintln(w, "MEMBER\tREGION\tSTATE\tPHI\tSILENT\tVERSION\tPROTOCOL\tCLIENTS\tROUTES\tGATEWAYS")
	for _, v := range m.Members {
		state := v.State
		if v.Leaving {
			state += ", leaving"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.1f\t%.1fs\t%s\t%d\t%s\t%s\t%s\n",
			v.Name, v.Region, state, v.Phi, v.Silent, v.Version, v.Protocol, v.Client, v.Route, v.Gateway)
	}
	if len(m.Awaited) > 0 {
		fmt.Fprintln(w)
	}
	for _, region := range slices.Sorted(maps.Keys(m.Awaited)) {
		printAwaited(w, "the change of owners in "+region, m.Awaited[region])
	}
}
