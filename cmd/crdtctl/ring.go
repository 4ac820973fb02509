package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/ring"
)

func ringCommand() *cli.Command {
	return &cli.Command{
		Name: "ring", ArgsUsage: "[KEY]",
		Usage: "say who owns what: how many shards each member, or who owns KEY",
		Description: `Owners follow from the table of members as a pure function. While a region changes
them, those who gain shards take them over first, and nobody waits for that:

   OWNS      shards of which the member is an owner, and its share of the region's
   FAIR      the share that its weight asks for
   BECOMES   shards that it owns then
   MOVED     of how many of those that it gains it has all, and what it took over

With --watch it shows how fast they move, and ends when the owners are others.
Interrupted, they move all the same.`,
		Before: takes(0, 1),
		Flags:  []cli.Flag{watchFlag()},
		Action: reading(func(c *cli.Context) error {
			return connected(c, func(ctx context.Context, cl *client.Client) error {
				rings, err := cl.Rings(ctx, "")
				if err == nil && c.Bool("watch") {
					rings, err = watch(ctx, cl, 0, newProgress(c))
				}
				if err != nil {
					return err
				}
				if c.NArg() == 0 {
					r := ringsOf(rings, cl.Moves(ctx, rings))
					return answer(c, r, r.print)
				}
				r := ownersOf(rings, c.Args().First())
				return answer(c, r, r.print)
			})
		}),
	}
}

func settingsCommand() *cli.Command {
	return &cli.Command{
		Name:  "settings",
		Usage: "show or change the settings of the cluster",
		Description: `Without flags, shows them. Changed owners have shards move, in the background:
--watch, or crdtctl ring at any time, shows how far that is. Interrupted, they move
all the same; crdtctl ring --watch goes on showing it.`,
		Before: takes(0, 0),
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "owners", Usage: "let `N` members of each region own a shard, as far as there are so many", DefaultText: "as it is"},
			&cli.StringFlag{Name: "default-consistency", Usage: "take `LEVEL` for reads and writes that do not say --consistency"},
			watchFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.IsSet("owners") || c.IsSet("default-consistency") {
				return settings(c)
			}
			return reading(settings)(c)
		},
	}
}

func settings(c *cli.Context) error {
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		var rings *client.Rings
		var err error
		if c.IsSet("default-consistency") {
			rings, err = cl.SetConsistency(ctx, client.Consistency(c.String("default-consistency")))
		}
		if err == nil && c.IsSet("owners") {
			rings, err = cl.SetOwners(ctx, c.Int("owners"))
		}
		if err == nil && rings == nil { // nothing is to be changed
			rings, err = cl.Rings(ctx, "")
		}
		if err == nil && c.Bool("watch") {
			rings, err = watch(ctx, cl, c.Int("owners"), newProgress(c))
		}
		if err != nil {
			return err
		}
		s := settingsAnswer{Owners: rings.Owners, Consistency: string(rings.Consistency), Shards: rings.Shards, Changing: changing(rings)}
		return answer(c, s, s.print)
	})
}

type settingsAnswer struct {
	Owners      int    `json:"owners"`              // of a shard, in each region
	Consistency string `json:"default_consistency"` // of what does not say --consistency
	Shards      int    `json:"shards"`
	// Changing names the regions in which owners change at the moment.
	Changing []string `json:"changing"`
}

// changing names the regions the owners of which are about to be others.
func changing(rings *client.Rings) []string {
	names := []string{}
	for _, region := range rings.Regions {
		if region.Changing {
			names = append(names, region.Region)
		}
	}
	return names
}

func (s settingsAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "owners\t%d\tof each shard, in every region\n", s.Owners)
	fmt.Fprintf(w, "default consistency\t%s\tof what does not say --consistency\n", s.Consistency)
	fmt.Fprintf(w, "shards\t%d\tfixed\n", s.Shards)
	if len(s.Changing) > 0 {
		fmt.Fprintf(w, "\nthe owners change in %s; crdtctl ring --watch shows how far that is\n", strings.Join(s.Changing, ", "))
	}
}

type ringsAnswer struct {
	Owners  int            `json:"owners"`
	Shards  int            `json:"shards"`
	Regions []regionAnswer `json:"regions"`
}

type regionAnswer struct {
	Region   string       `json:"region"`
	Changing bool         `json:"changing"`
	Awaited  []string     `json:"awaited"` // members that are not there, and that the change waits for
	Members  []seatAnswer `json:"members"`
}

type seatAnswer struct {
	Name    string  `json:"name"`
	Zone    string  `json:"zone"`
	Weight  int     `json:"weight"`
	Owned   int     `json:"owned"`
	Becomes int     `json:"becomes"`
	Gains   int     `json:"gains"`       // of those that it becomes an owner of
	Moved   int     `json:"moved"`       // of these, those that it has taken over
	Bytes   uint64  `json:"moved_bytes"` // that it has taken over of these
	Share   float64 `json:"share"`       // of the region's copies
	Fair    float64 `json:"fair"`
}

func ringsOf(rings *client.Rings, moves []*client.Move) ringsAnswer {
	r := ringsAnswer{Owners: rings.Owners, Shards: rings.Shards, Regions: []regionAnswer{}}
	for _, region := range rings.Regions {
		a := regionAnswer{Region: region.Region, Changing: region.Changing, Awaited: append([]string{}, region.Awaited...), Members: []seatAnswer{}}
		copies, weights := 0, 0
		for _, m := range region.Members {
			copies += m.Owned
			weights += m.Weight
		}
		for _, m := range region.Members {
			seat := seatAnswer{
				Name: m.Name, Zone: m.Zone, Weight: m.Weight, Owned: m.Owned, Becomes: m.Becomes, Gains: m.Gains,
				Share: ratio(m.Owned, copies), Fair: ratio(m.Weight, weights),
			}
			for _, move := range moves {
				if move.Region == region.Region && move.Member == m.Name {
					seat.Moved, seat.Bytes = move.Taken, move.Bytes
				}
			}
			a.Members = append(a.Members, seat)
		}
		r.Regions = append(r.Regions, a)
	}
	return r
}

func ratio(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

func (r ringsAnswer) print(w io.Writer) {
	fmt.Fprintln(w, "REGION\tMEMBER\tZONE\tWEIGHT\tOWNS\tSHARE\tFAIR\tBECOMES\tMOVED")
	changing := []string{}
	for _, region := range r.Regions {
		if region.Changing {
			changing = append(changing, region.Region)
		}
		for _, m := range region.Members {
			becomes, gained := "-", "-"
			if region.Changing {
				becomes = fmt.Sprint(m.Becomes)
			}
			if m.Gains > 0 {
				gained = fmt.Sprintf("%d of %d, %s", m.Moved, m.Gains, mebibytes(m.Bytes))
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%.1f%%\t%.1f%%\t%s\t%s\n",
				region.Region, m.Name, dash(m.Zone), m.Weight, m.Owned, 100*m.Share, 100*m.Fair, becomes, gained)
		}
	}
	fmt.Fprintf(w, "\n%d shards, %s of each in every region", r.Shards, plural(r.Owners, "owner"))
	if len(changing) > 0 {
		fmt.Fprintf(w, "; the owners change in %s", strings.Join(changing, ", "))
	}
	fmt.Fprintln(w)
	for _, region := range r.Regions {
		printAwaited(w, "the change of owners in "+region.Region, region.Awaited)
	}
}

// printAwaited says what waits for members that are not there, and what to do.
func printAwaited(w io.Writer, what string, names []string) {
	if len(names) > 0 {
		fmt.Fprintf(w, "%s waits for %s: start what is down again, or take it out with crdtctl member remove NAME\n", what, strings.Join(names, ", "))
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

type ownersAnswer struct {
	jsonKey
	Tag     string         `json:"tag"`
	Shard   int            `json:"shard"`
	Regions []regionOwners `json:"regions"`
}

type regionOwners struct {
	Region  string   `json:"region"`
	Owners  []string `json:"owners"`
	Becomes []string `json:"becomes,omitempty"` // while the owners change
}

func ownersOf(rings *client.Rings, key string) ownersAnswer {
	shard := ring.Shard(key, rings.Shards)
	a := ownersAnswer{jsonKey: keyOf(key), Tag: ring.Tag(key), Shard: shard, Regions: []regionOwners{}}
	for _, region := range rings.Regions {
		o := regionOwners{Region: region.Region, Owners: region.Owners(shard)}
		if region.Changing {
			o.Becomes = region.Becomes(shard)
		}
		a.Regions = append(a.Regions, o)
	}
	return a
}

func (a ownersAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "shard %d\n\nREGION\tOWNERS\tBECOMES\n", a.Shard)
	for _, r := range a.Regions {
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.Region, dash(strings.Join(r.Owners, " ")), dash(strings.Join(r.Becomes, " ")))
	}
}
